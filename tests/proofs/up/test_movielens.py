"""Real input: MovieLens 100K with posters, through the command that imports it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.system import Up

pytestmark = [pytest.mark.proof, pytest.mark.shared, pytest.mark.timeout(600)]

STAR_WARS, EMPIRE_STRIKES_BACK, RETURN_OF_THE_JEDI = "50", "172", "181"


@pytest.fixture(scope="module")
def imported(shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Run a system that holds MovieLens 100K."""
    data = shared_folder / "data"
    with Up(tmp_path_factory.mktemp("movielens")) as system:
        system.start()
        counts = system.json(
            "import", "movielens", str(data / "ml-100k"), "--posters", str(data / "posters")
        )
        assert (counts["items"], counts["events"]) == (1682, 100_000)
        yield system


def test_everything_is_in_effect_when_the_import_ends(imported: Up) -> None:
    services = imported.json("status")["services"]

    assert services["ranking"]["catalogue"]["items"] == 1682
    assert services["sessions"]["lag"] == {"clicks": 0}
    assert imported.json("dead-letters")["total"] == 0


def test_a_real_user_gets_a_full_list_of_what_was_not_seen(imported: Up) -> None:
    seen = {entry["item_id"] for entry in imported.json("state", "405")["state"]["history"]}

    listed = [item["item_id"] for item in imported.json("recommend", "405")["items"]]

    assert len(seen) > 40
    assert len(listed) == 10
    assert not seen & set(listed)


def test_who_saw_a_film_went_on_to_its_sequels(imported: Up) -> None:
    similar = imported.json("similar", STAR_WARS, "--by", "behaviour", "-k", "20")["items"]

    assert {EMPIRE_STRIKES_BACK, RETURN_OF_THE_JEDI} <= {item["item_id"] for item in similar}


def test_posters_and_titles_are_searched(imported: Up) -> None:
    by_poster = imported.json("similar", STAR_WARS, "--by", "visual", "-k", "5")["items"]
    by_text = imported.json("search", "--text", "space adventure", "-k", "10")["items"]

    assert len(by_poster) == 5
    assert any("Space" in item["title"] or "Star" in item["title"] for item in by_text)
