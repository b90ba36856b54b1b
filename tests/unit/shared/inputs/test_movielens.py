"""MovieLens folders in all their forms become items, users and events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from freshet.contract import bounds
from freshet.contract.items import encode_item
from freshet.contract.users import encode_user
from shared.inputs import movielens
from shared.inputs.refusals import BadInput

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
    assert str(found.times) == (
        "events of 1997-12-04 to 1997-12-04 (0 days) count as if the last were now;"
        " --keep-times leaves their times"
    )


def test_ratings_that_are_too_early_for_the_contract_count_as_of_2000(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("1::8::4::1697000000\n1::9::4::789652009\n")

    found = movielens.read_interactions(tmp_path, now_ms=NOW_MS, keep_times=False)

    early, late = found.events()
    assert (early.item_id, early.time_ms) == ("9", bounds.EARLIEST_MS)
    assert late.time_ms == NOW_MS


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


def test_a_movie_that_the_table_of_posters_lacks_is_given_no_other_ones(
    timed: Path, tmp_path: Path
) -> None:
    assert movielens.poster_names(timed, [3, 4]) == {3: 18}  # 18 is another movie there
    assert movielens.poster_names(tmp_path / "none", [3, 4]) == {3: 3, 4: 4}


def test_an_item_holds_year_and_poster() -> None:
    item = movielens.item_of(movielens.Movie(1, "Toy Story (1995)", ("Comedy",)), b"jpeg")

    assert item.item_id == "1"
    assert item.attributes == {"year": 1995.0}
    assert item.image_bytes == b"jpeg"
    assert encode_item(item)  # the contract takes it, though it is of before 2000


def test_an_item_without_year_and_poster_is_whole_all_the_same() -> None:
    item = movielens.item_of(movielens.Movie(2, "Shopping", ("Drama",)), None)

    assert item.attributes == {}
    assert item.image_bytes is None


def test_another_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"must hold ml-1m\.txt, ratings\.csv, ratings\.dat or"):
        movielens.read_interactions(tmp_path, now_ms=NOW_MS, keep_times=False)
    with pytest.raises(BadInput, match=r"must hold movies\.csv, movies\.dat or u\.item"):
        movielens.read_movies(tmp_path)


def test_the_10m_form_has_half_stars_utf_8_and_tags(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("1::122::4.5::838985046\n1::185::0.5::838983525\n")
    (tmp_path / "movies.dat").write_text("122::Amélie (2001)::Comedy|Romance\n", encoding="utf-8")
    (tmp_path / "tags.dat").write_text(
        "1::122::paris::1\n2::122::whimsical::2\n3::122::whimsical::3\n"
    )

    found = movielens.read_interactions(tmp_path, now_ms=NOW_MS, keep_times=True)

    assert [(e.item_id, e.value, e.time_ms) for e in found.events()] == [
        ("185", 0.5, 838_983_525_000),
        ("122", 4.5, 838_985_046_000),
    ]
    assert movielens.read_movies(tmp_path) == [
        movielens.Movie(122, "Amélie (2001)", ("Comedy", "Romance"), ("whimsical", "paris"))
    ]


def test_the_csv_sets_have_quoted_titles_tags_and_links(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n1,11,3.5,964982703\n1,4,5.0,964982931\n"
    )
    (tmp_path / "movies.csv").write_text(
        "movieId,title,genres\n"
        '11,"American President, The (1995)",Comedy|Drama\n'
        "4,Untitled,(no genres listed)\n"
    )
    (tmp_path / "links.csv").write_text("movieId,imdbId,tmdbId\n11,0112346,9087\n4,0114885,\n")
    (tmp_path / "tags.csv").write_text(
        f'userId,movieId,tag,timestamp\n1,11,"witty, warm",1\n1,11,{"long " * 30},2\n'
    )

    found = movielens.read_interactions(tmp_path, now_ms=NOW_MS, keep_times=True)
    president, untitled = (
        movielens.item_of(movie, None) for movie in movielens.read_movies(tmp_path)
    )

    assert [(e.user_id, e.item_id, e.type, e.value) for e in found.events()] == [
        ("1", "11", "rate", 3.5),
        ("1", "4", "rate", 5.0),
    ]
    assert president.title == "The American President (1995)"
    assert president.categories == ("Comedy", "Drama")
    assert president.tags == ("witty, warm",)
    assert president.attributes == {"year": 1995.0, "imdb_id": "0112346", "tmdb_id": "9087"}
    assert untitled.categories == ()
    assert untitled.attributes == {"imdb_id": "0114885"}


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        (
            "users.dat",
            "3::M::25::15::55117",
            {"gender": "M", "age": "25-34", "occupation": "scientist", "zip_code": "55117"},
        ),
        (
            "users.dat",
            "3::F::1::10::48067",
            {"gender": "F", "age": "under 18", "occupation": "K-12 student", "zip_code": "48067"},
        ),
        (
            "u.user",
            "3|24|M|technician|T8H1N",
            {"gender": "M", "age": 24.0, "occupation": "technician", "zip_code": "T8H1N"},
        ),
    ],
)
def test_users_have_what_their_table_says_as_attributes(
    tmp_path: Path, name: str, line: str, said: dict[str, object]
) -> None:
    assert movielens.read_users(tmp_path) == []  # newer sets have no such table
    (tmp_path / name).write_text(f"{line}\n")
    (user,) = movielens.read_users(tmp_path)
    assert (user.user_id, user.attributes) == ("3", said)
    assert encode_user(user)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("users.dat", "1::F::2::10::48067\n", r"users\.dat:1: must be a line of users\.dat"),
        ("users.dat", "1::F::1::21::48067\n", r"users\.dat:1: must be a line of users\.dat"),
        ("u.user", "1|24|M\n", r"u\.user:1: must be a line of u\.user"),
        ("ratings.csv", "user,movie,stars\n1,2,3\n", r"ratings\.csv: Column 'userId'"),
        ("ratings.dat", "1::2::x::4\n", r"ratings\.dat: .*Row #1.* invalid value 'x'"),
        ("ratings.dat", "", r"ratings\.dat: Empty CSV file"),
        ("u.data", "1\t2\t3\n", r"u\.data: .*Row #1: Expected 4 columns, got 3"),
        ("ml-1m.txt", "1 x\n", r"ml-1m\.txt: not `user item` a line"),
        ("ml-1m.txt", "1\n", r"ml-1m\.txt: not `user item` a line"),
        ("movies.dat", "1::2\n", r"movies\.dat:1: must be a line of movies\.dat, was '1::2'"),
        ("movies.csv", "movieId,title\nx,y,z\n", r"movies\.csv:2: must be a line of movies\.csv"),
        ("movies.csv", "movieId,title\n1,a\rb,z\n", r"movies\.csv:2: must be a line of"),
        ("u.item", "a|b\n", r"u\.item:1: must be a line of u\.item"),
    ],
)
def test_damaged_files_are_refused_with_the_place(
    tmp_path: Path, name: str, content: str, told: str
) -> None:
    (tmp_path / name).write_text(content)

    def read() -> object:
        if name.startswith(("movies", "u.item")):
            return movielens.read_movies(tmp_path)
        if name.startswith("u") and name != "u.data":
            return movielens.read_users(tmp_path)
        return movielens.read_interactions(tmp_path, now_ms=NOW_MS, keep_times=True)

    with pytest.raises(BadInput, match=told):
        read()


def test_a_number_that_the_table_does_not_name_is_refused(order_only: Path) -> None:
    (order_only / "item_to_movie.txt").write_text("1 1198\n2 3552\n")

    with pytest.raises(BadInput, match=r"item_to_movie\.txt: must name each .*has none for 3"):
        movielens.read_interactions(order_only, now_ms=NOW_MS, keep_times=False)
