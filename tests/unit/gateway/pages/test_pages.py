"""The API's page says what the API does, to people and to programs, and asks no other host."""

from __future__ import annotations

import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from openapi_spec_validator import validate

from freshet.contract.events import Event
from services.gateway.pages import pages
from tests.unit.gateway.kit import GatewayKit

SNIPPET_BYTES = 2048


@pytest.fixture
async def document(gateway: GatewayKit) -> dict[str, Any]:
    body: dict[str, Any] = (await gateway("GET", "/openapi.json")).body
    return body


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


async def test_the_document_is_openapi(document: dict[str, Any]) -> None:
    validate(document)
    assert document["openapi"].startswith("3.1")


async def test_the_linter_would_refuse_a_mistake(document: dict[str, Any]) -> None:
    del document["paths"]["/v1/items/{item_id}"]["put"]["responses"]
    document["paths"]["/v1/items/{item_id}"]["put"]["inputs"] = []

    with pytest.raises(Exception, match="inputs"):
        validate(document)


async def test_every_operation_has_an_id_of_its_own_a_summary_and_its_failures(
    document: dict[str, Any],
) -> None:
    shown = [operation for _, _, operation in operations(document)]
    ids = [operation["operationId"] for operation in shown]

    assert len(set(ids)) == len(ids) == 17
    assert all(operation["summary"].endswith(".") for operation in shown)
    for operation in shown:
        assert {"400", "401", "403", "429", "503", "504"} <= set(operation["responses"])
        for status in ("429", "503"):
            assert "Retry-After" in operation["responses"][status]["headers"]


async def test_every_example_is_answered_as_the_document_says(
    gateway: GatewayKit, document: dict[str, Any]
) -> None:
    for method, path, operation in operations(document):
        values = {each["name"]: each.get("example") for each in operation["parameters"]}
        places = {each["name"]: each["in"] for each in operation["parameters"]}
        filled = path.format(**{name: values[name] for name in places if places[name] == "path"})
        query = {n: v for n, v in values.items() if v is not None and places[n] == "query"}
        bodies = operation.get("requestBody", {"content": {"": {}}})["content"]
        for media_type, body in bodies.items():
            if media_type == "image/*":
                continue
            example = body.get("example")
            sent: dict[str, Any] = {"data": example} if isinstance(example, str) else {}
            sent |= {"json": example} if isinstance(example, dict) else {}
            headers = {"content-type": media_type} if media_type else {}

            got = await gateway(method, filled, params=query, headers=headers, **sent)

            assert str(got.status) in operation["responses"], (method, path, got)
            assert got.status in (200, 202), (method, path, got)
            schema = operation["responses"][str(got.status)]["content"]["application/json"]
            check(document, schema["schema"], got.body)
            if isinstance(example, dict):
                check(document, body["schema"], example)


def check(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    whole = {**schema, "components": document["components"]}
    Draft202012Validator(whole).validate(value)


async def test_bounds_of_the_contract_stand_in_the_document(document: dict[str, Any]) -> None:
    parameters = document["paths"]["/v1/recommendations"]["get"]["parameters"]
    schemas = document["components"]["schemas"]
    by_name = {each["name"]: each["schema"] for each in parameters}

    assert (by_name["k"]["minimum"], by_name["k"]["maximum"]) == (1, 500)
    assert by_name["also_user_ids"]["maxItems"] == 3
    assert "filters" not in by_name, "no query can hold it"
    assert set(schemas["Event"]["properties"]) == set(Event.__struct_fields__)
    assert schemas["Filters"]["properties"]["tags_any"]["maxItems"] == 64
    assert schemas["Filters"]["additionalProperties"] is False
    item = document["paths"]["/v1/items/{item_id}"]["put"]["requestBody"]["content"]
    assert item["application/json"]["schema"]["required"] == [], "its id stands in the path"


async def test_the_page_takes_everything_from_here(gateway: GatewayKit) -> None:
    page = await gateway("GET", "/docs")
    html = page.body.decode()
    named = re.findall(r'(?:src|href)="([^"#]+)"', html)

    assert page.headers["content-type"].startswith("text/html")
    assert named
    for name in named:
        if name != "data:,":
            assert (await gateway("GET", f"/{name}")).status == 200, name
    assert "<script>" not in html
    assert " style=" not in html
    policy = dict(
        part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"


async def test_every_answer_says_what_browsers_must_not_do(gateway: GatewayKit) -> None:
    for path in ("/v1/search?text=a", "/v1/search", "/nowhere", "/docs", "/freshet.js"):
        headers = (await gateway("GET", path)).headers

        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-request-id"]
        assert "server" not in headers


async def test_what_is_no_page_is_a_problem(gateway: GatewayKit) -> None:
    unknown = await gateway("GET", "/v1/recommendation")
    method = await gateway("DELETE", "/v1/search")

    assert (unknown.status, unknown.body["title"]) == (404, "Not Found")
    assert method.status == 405
    assert set(method.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
    assert method.headers["content-type"] == "application/problem+json"


async def test_pages_are_asked_for_again_only_when_they_changed(gateway: GatewayKit) -> None:
    first = await gateway("GET", "/freshet.js")
    again = await gateway("GET", "/freshet.js", headers={"If-None-Match": first.headers["etag"]})

    assert (again.status, again.body) == (304, b"")
    assert first.headers["cross-origin-resource-policy"] == "cross-origin", "other hosts load it"


def test_the_snippet_is_below_2_kb() -> None:
    assert len((pages.OWN / "freshet.js").read_bytes()) < SNIPPET_BYTES
