"""Real input: MovieLens 100K with posters, through the command that imports it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import pytest

from shared.inputs import movielens
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


@pytest.fixture(scope="module")
def genres(shared_folder: Path) -> dict[str, set[str]]:
    movies = movielens.read_movies(shared_folder / "data" / "ml-100k")
    return {str(movie.movie): set(movie.genres) for movie in movies}


def test_everything_is_in_effect_when_the_import_ends(imported: Up) -> None:
    services = imported.json("status")["services"]

    assert services["ranking"]["catalogue"]["items"] == 1682
    assert services["sessions"]["lag"] == {"clicks": 0, "users": 0}
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


def test_lists_follow_the_genres_of_each_viewer(imported: Up, genres: dict[str, set[str]]) -> None:
    """More of a viewer's list has the viewer's genres than of the list that everybody gets."""
    unknown = [item["item_id"] for item in imported.json("recommend", "nobody")["items"]]
    own, common = [], []
    for user in range(1, 16):
        history = imported.json("state", str(user))["state"]["history"]
        seen = Counter(genre for entry in history for genre in genres[entry["item_id"]])
        liked = {genre for genre, _ in seen.most_common(3)}
        listed = [item["item_id"] for item in imported.json("recommend", str(user))["items"]]
        assert len(listed) == 10
        assert not {entry["item_id"] for entry in history} & set(listed)
        own.append(mean(len(genres[movie] & liked) for movie in listed))
        common.append(mean(len(genres[movie] & liked) for movie in unknown))
    assert mean(own) > 1.1 * mean(common)


def test_search_finds_space_adventures(imported: Up, genres: dict[str, set[str]]) -> None:
    found = [
        item["item_id"] for item in imported.json("search", "--text", "space adventure")["items"]
    ]
    chance = mean(bool(kinds & {"Sci-Fi", "Adventure"}) for kinds in genres.values())
    share = mean(bool(genres[movie] & {"Sci-Fi", "Adventure"}) for movie in found)
    assert share > 2 * chance


def test_posters_that_look_alike_share_genres_above_chance(
    imported: Up, genres: dict[str, set[str]]
) -> None:
    movies = [str(movie) for movie in range(1, 41)]
    alike, chance = [], []
    for movie in movies:
        done = imported.freshet("similar", movie, "--by", "visual", "--json", exit_code=None)
        if done.returncode:
            continue  # a movie without a poster has no look
        for item in json.loads(done.stdout)["items"]:
            alike.append(bool(genres[item["item_id"]] & genres[movie]))
        chance.append(mean(bool(kinds & genres[movie]) for kinds in genres.values()))
    assert len(chance) > 20
    assert mean(alike) > mean(chance)
