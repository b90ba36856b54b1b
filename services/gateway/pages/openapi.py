"""Describe the API as OpenAPI 3.1, from the endpoints and the contract's own types."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Set
from typing import Any, Final

import msgspec

import freshet
from freshet.contract.events import EVENT_BYTES
from services.gateway.access.callers import KEY
from services.gateway.api import decoding
from services.gateway.api.endpoint import (
    JSON,
    NDJSON,
    PICTURE,
    TEXT,
    Endpoint,
    Parameter,
)
from services.gateway.http.problems import PROBLEM, Problem

COMPONENTS: Final = "#/components/schemas/{name}"
FAILURES: Final = {
    400: "A field outside its bound; trying again changes nothing.",
    401: "No key that is known was sent.",
    403: "The key is not for this, or the page may not call.",
    404: "The item asked about is unknown.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body is of a type that is not read here.",
    429: "More calls than can be answered in time, or than one caller may make.",
    502: "Ranking or Kafka failed, or let the gateway itself not in.",
    503: "What an answer needs is away now; Retry-After says when to ask again.",
    504: "No answer in time; what was to be published may be published all the same.",
}
AGAIN: Final = {429, 503}
OF_BODIES: Final = {408, 413, 415}
HEADERS: Final = {
    "X-Request-Id": {
        "description": "The call's id: the caller's own, or a new one.",
        "schema": {"type": "string"},
    },
    "Server-Timing": {
        "description": "What each stage took, in ms.",
        "schema": {"type": "string"},
    },
}
RETRY_AFTER: Final = {
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}
}


def document(api: Iterable[Endpoint]) -> dict[str, Any]:
    """Return the whole document."""
    endpoints = tuple(api)
    schemas = _Schemas(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = endpoint.path.replace(":id}", "}")
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, path, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Freshet",
            "version": freshet.__version__,
            "summary": "Events and items in, lists out; a click changes the next list.",
            "description": "Fields, bounds and forms are the contract's (protos/README.md). An id"
            " in a path is percent-encoded.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}, {}],
        "tags": [{"name": "publish"}, {"name": "read"}, {"name": "people"}],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of the shop's (`freshet token`). Where the gateway has no"
                    " FRESHET_TOKENS_FILE, none is asked for.",
                },
                "page": {
                    "type": "apiKey",
                    "in": "query",
                    "name": KEY,
                    "description": "A public key, of a web page (`freshet public-key`).",
                },
            },
        },
    }


class _Schemas:
    """Finds the schema of each type that the endpoints name, as JSON Schema 2020-12."""

    def __init__(self, api: tuple[Endpoint, ...]) -> None:
        kinds: list[Any] = [Problem]
        for endpoint in api:
            kinds += [endpoint.reply, *endpoint.bodies.values()]
            kinds += [each.kind for each in endpoint.parameters]
            if endpoint.asked is not None:
                kinds += decoding.of_query(endpoint.asked).values()
        schemas, self.components = msgspec.json.schema_components(kinds, ref_template=COMPONENTS)
        self._schemas = list(zip(kinds, schemas, strict=True))

    def without(self, schema: dict[str, Any], names: Set[str]) -> dict[str, Any]:
        """Return a message's schema that need not have these fields."""
        message = self.components.get(schema.get("$ref", "").rpartition("/")[2], {})
        required = [name for name in message.get("required", ()) if name not in names]
        return schema if not names else {**message, "required": required}

    def of(self, kind: Any) -> dict[str, Any]:
        """Return a type's schema."""
        return next(schema for known, schema in self._schemas if known is kind or known == kind)


def _operation(endpoint: Endpoint, path: str, schemas: _Schemas) -> dict[str, Any]:
    """Return one method of one path."""
    noun = re.sub(r"\W+", "-", path.removeprefix("/v1/")).strip("-").replace("_", "-")
    operation: dict[str, Any] = {
        "operationId": f"{endpoint.method.lower()}-{noun}",
        "summary": endpoint.summary,
        "description": " ".join(
            filter(None, [endpoint.what, f"Takes the scope `{endpoint.scope}`."])
        ),
        "tags": [str(endpoint.scope)],
        "parameters": list(_parameters(endpoint, schemas)),
        "responses": dict(_responses(endpoint, schemas)),
    }
    if endpoint.bodies:
        content = {
            media_type: _body(media_type, endpoint, schemas) for media_type in endpoint.bodies
        }
        operation["requestBody"] = {"required": True, "content": content}
    if endpoint.browsers:
        operation["security"] = [{"key": []}, {"page": []}, {}]
    return operation


def _parameters(endpoint: Endpoint, schemas: _Schemas) -> Iterator[dict[str, Any]]:
    """Yield what stands in the path and the query."""
    values = endpoint.example.values
    for each in endpoint.parameters:
        yield _parameter(each, schemas, each.where == "path", values.get(each.name, each.example))
    if endpoint.asked is None:
        return
    of_picture = endpoint.method != "GET"
    what = "Of a picture; a JSON body has it as its field." if of_picture else ""
    required = {each.name for each in msgspec.structs.fields(endpoint.asked) if each.required}
    for name, kind in decoding.of_query(endpoint.asked).items():
        parameter = Parameter(name, "query", kind, what)
        needed = name in required and not of_picture
        yield _parameter(parameter, schemas, needed, None if of_picture else values.get(name))


def _parameter(each: Parameter, schemas: _Schemas, required: bool, example: Any) -> dict[str, Any]:
    shown = {"name": each.name, "in": each.where, "required": required}
    if each.what:
        shown["description"] = each.what
    if example is not None:
        shown["example"] = example
    return shown | {"schema": schemas.of(each.kind)}


def _body(media_type: str, endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    """Return one of the forms that a body may have."""
    if media_type == PICTURE:
        return {}  # bytes have no schema
    example = endpoint.example.body
    if media_type in (NDJSON, TEXT):
        text = msgspec.json.encode(example).decode()
        what = {
            TEXT: "As application/json.",
            NDJSON: f"One event a line, each of at most {EVENT_BYTES} bytes.",
        }
        return {
            "schema": {"type": "string", "description": what[media_type]},
            "example": f"{text}\n{text}\n" if media_type == NDJSON else text,
        }
    schema = schemas.of(endpoint.bodies[media_type])
    in_path = {each.name for each in endpoint.parameters if each.where == "path"}
    return {"schema": schemas.without(schema, in_path), "example": example}


def _responses(endpoint: Endpoint, schemas: _Schemas) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield how a call may end, by status."""
    yield (
        str(endpoint.status),
        {
            "description": "Published." if endpoint.status == 202 else "The answer.",
            "headers": HEADERS,
            "content": {JSON: {"schema": schemas.of(endpoint.reply)}},
        },
    )
    unfit = set() if endpoint.bodies else OF_BODIES
    unfit = unfit | (set() if endpoint.not_found else {404})
    for status, description in FAILURES.items():
        if status not in unfit:
            yield (
                str(status),
                {
                    "description": description,
                    "headers": HEADERS | (RETRY_AFTER if status in AGAIN else {}),
                    "content": {PROBLEM: {"schema": schemas.of(Problem)}},
                },
            )
