"""docs/tracking.md and its page say what the gateway takes."""

from __future__ import annotations

import re
from typing import Any

from services.gateway.pages import pages
from shared.access.public_keys import sign
from tests.e2e import markdown
from tests.servers import ROOT

PAGE = (ROOT / "docs" / "tracking.md").read_text()
HTML = (ROOT / "docs" / "tracking.html").read_text()
SNIPPET = (pages.OWN / "freshet.js").read_text()


def test_the_signature_of_the_page_is_the_gateways() -> None:
    (block,) = (each.text for each in markdown.blocks(PAGE) if each.language == "python")
    program: dict[str, Any] = {}
    exec(block, program)

    assert program["signature_of"]("jürgen", "s" * 40) == sign("jürgen", "s" * 40)


def test_the_snippet_reads_the_attributes_that_the_page_names() -> None:
    for name in ("key", "user", "signature", "item"):
        assert f" data-{name}=" in HTML
        assert re.search(rf"\b{name}\b.*= me\.dataset", SNIPPET), name
    for name in ("item", "request", "position"):
        assert f" data-freshet-{name}=" in HTML
        assert f"freshet{name.capitalize()}" in SNIPPET


def test_the_page_of_the_docs_loads_the_snippet_from_where_freshet_up_serves_it() -> None:
    assert f'src="http://127.0.0.1:8080{pages.SNIPPET}"' in HTML
