// Show the API's document by Swagger UI; no validator of another host is asked.
SwaggerUIBundle({ url: 'openapi.json', dom_id: '#api', deepLinking: true, validatorUrl: null, defaultModelsExpandDepth: 0 });
