"""MovieLens folders in all their forms become items and events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.cli.inputs import movielens
from services.cli.inputs.rows import BadInput

NOW_MS = 1_800_000_000_000


@pytest.fixture
def order_only(tmp_path: Path) -> Path:
    (tmp_path / "ml-1m.txt").write_text("1 1\n1 2\n2 2\n2 1\n2 3\n")
    (tmp_path / "item_to_movie.txt").write_text("1 1198\n2 3552\n3 356\n")
    (tmp_path / "user_to_original.txt").write_text("1 5988\n2 5989\n")
    (tmp_path / "movies.dat").write_bytes(
        "356::Forrest Gump (1994)::Comedy|Drama\n"
        "1198::Misérables, Les (1995)::Drama\n"
        "3552::Net, The (1995)::Sci-Fi|Thriller\n".encode("latin-1")
    )
    return tmp_path


@pytest.fixture
def timed(tmp_path: Path) -> Path:
    (tmp_path / "u.data").write_text("7\t3\t5\t881250949\n8\t4\t1\t881250900\n")
    flags = ["0"] * 19
    flags[1] = flags[5] = "1"
    (tmp_path / "u.item").write_text(f"3|Four Rooms (1995)|01-Jan-1995||url|{'|'.join(flags)}\n")
    (tmp_path / "item_to_ml1m_poster.tsv").write_text("3\t18\n")
    return tmp_path


def test_order_only_events_are_a_minute_apart_and_end_now(order_only: Path) -> None:
    found = movielens.read_interactions(order_only, now_ms=NOW_MS, keep_times=False)

    events = list(found.events())
    of_user = {user: [e for e in events if e.user_id == user] for user in ("5988", "5989")}
    assert [event.item_id for event in of_user["5989"]] == ["3552", "1198", "356"]
    assert [event.time_ms for event in of_user["5989"]] == [
        NOW_MS - 120_000,
        NOW_MS - 60_000,
        NOW_MS,
    ]
    assert of_user["5988"][-1].time_ms == NOW_MS
    assert {event.type for event in events} == {"click"}


def test_events_are_published_oldest_first(order_only: Path) -> None:
    found = movielens.read_interactions(order_only, now_ms=NOW_MS, keep_times=False)

    assert np.all(np.diff(found.times_ms) >= 0)


def test_ratings_keep_their_distances_and_the_last_one_is_now(timed: Path) -> None:
    found = movielens.read_interactions(timed, now_ms=NOW_MS, keep_times=False)

    first, last = found.events()
    assert (first.user_id, first.type, first.value) == ("8", "rate", 1.0)
    assert last.time_ms == NOW_MS
    assert first.time_ms == NOW_MS - 49_000


def test_keep_times_leaves_them(timed: Path) -> None:
    found = movielens.read_interactions(timed, now_ms=NOW_MS, keep_times=True)

    assert [event.time_ms for event in found.events()] == [881_250_900_000, 881_250_949_000]


def test_the_dat_form_reads_like_the_tab_form(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("1::1193::5::978300760\n")

    found = movielens.read_interactions(tmp_path, now_ms=NOW_MS, keep_times=False)

    (event,) = found.events()
    assert (event.user_id, event.item_id, event.value, event.time_ms) == ("1", "1193", 5.0, NOW_MS)


def test_movies_have_readable_titles_and_genres(order_only: Path) -> None:
    movies = {movie.movie: movie for movie in movielens.read_movies(order_only)}

    assert movies[3552].title == "The Net (1995)"
    assert movies[3552].genres == ("Sci-Fi", "Thriller")
    assert movies[1198].title == "Misérables, Les (1995)"  # foreign articles stay


def test_the_older_table_names_genres_by_flags(timed: Path) -> None:
    (movie,) = movielens.read_movies(timed)

    assert movie == movielens.Movie(3, "Four Rooms (1995)", ("Action", "Comedy"))
    assert movielens.poster_names(timed) == {3: 18}


def test_an_item_holds_year_and_poster() -> None:
    item = movielens.item_of(movielens.Movie(1, "Toy Story (1995)", ("Comedy",)), b"jpeg")

    assert item.item_id == "1"
    assert item.attributes == {"year": 1995.0}
    assert item.image_bytes == b"jpeg"


def test_an_item_without_year_and_poster_is_whole_all_the_same() -> None:
    item = movielens.item_of(movielens.Movie(2, "Shopping", ("Drama",)), None)

    assert item.attributes == {}
    assert item.image_bytes is None


def test_another_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"must hold ml-1m\.txt, ratings\.dat or u\.data"):
        movielens.read_interactions(tmp_path, now_ms=NOW_MS, keep_times=False)
    with pytest.raises(BadInput, match=r"must hold movies\.dat or u\.item"):
        movielens.read_movies(tmp_path)
