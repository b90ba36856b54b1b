"""Real input: MovieLens 100K with posters through Kafka, and lists that make sense after it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import pytest

from services.cli.inputs import movielens
from tests.e2e.system import Up

pytestmark = [pytest.mark.e2e, pytest.mark.shared, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def cinema(
    tmp_path_factory: pytest.TempPathFactory, shared_folder: Path, own_redis: dict[str, str]
) -> Iterator[Up]:
    """Run a system of its own with all of MovieLens 100K in it."""
    del own_redis  # real input once, on the server that the project brings along
    up = Up(tmp_path_factory.mktemp("cinema"))
    up.start()
    data = shared_folder / "data"
    done = up.json("import", "movielens", str(data / "ml-100k"), "--posters", str(data / "posters"))
    assert (done["items"], done["events"]) == (1682, 100_000)
    yield up
    up.stop()


@pytest.fixture(scope="module")
def genres(shared_folder: Path) -> dict[str, set[str]]:
    movies = movielens.read_movies(shared_folder / "data" / "ml-100k")
    return {str(movie.movie): set(movie.genres) for movie in movies}


def test_lists_follow_the_genres_of_each_viewer(cinema: Up, genres: dict[str, set[str]]) -> None:
    """More of a viewer's list has the viewer's genres than of the list that everybody gets."""
    unknown = [item["item_id"] for item in cinema.json("recommend", "nobody")["items"]]
    own, common = [], []
    for user in range(1, 16):
        history = cinema.json("state", str(user))["state"]["history"]
        seen = Counter(genre for entry in history for genre in genres[entry["item_id"]])
        liked = {genre for genre, _ in seen.most_common(3)}
        listed = [item["item_id"] for item in cinema.json("recommend", str(user))["items"]]
        assert len(listed) == 10
        assert not {entry["item_id"] for entry in history} & set(listed)
        own.append(mean(len(genres[movie] & liked) for movie in listed))
        common.append(mean(len(genres[movie] & liked) for movie in unknown))
    assert mean(own) > 1.1 * mean(common)


def test_search_finds_space_adventures(cinema: Up, genres: dict[str, set[str]]) -> None:
    found = [
        item["item_id"] for item in cinema.json("search", "--text", "space adventure")["items"]
    ]
    chance = mean(bool(kinds & {"Sci-Fi", "Adventure"}) for kinds in genres.values())
    share = mean(bool(genres[movie] & {"Sci-Fi", "Adventure"}) for movie in found)
    assert share > 2 * chance


def test_posters_that_look_alike_share_genres_above_chance(
    cinema: Up, genres: dict[str, set[str]]
) -> None:
    movies = [str(movie) for movie in range(1, 41)]
    alike, chance = [], []
    for movie in movies:
        done = cinema.freshet("similar", movie, "--by", "visual", "--json", exit_code=None)
        if done.returncode:
            continue  # a movie without a poster has no look
        for item in json.loads(done.stdout)["items"]:
            alike.append(bool(genres[item["item_id"]] & genres[movie]))
        chance.append(mean(bool(kinds & genres[movie]) for kinds in genres.values()))
    assert len(chance) > 20
    assert mean(alike) > mean(chance)
