"""Read MovieLens folders: 100K (u.data), 1M and 10M (ratings.dat), the CSV sets, and ml-1m.txt.

100K and 1M say who their users are; newer sets do not.

Ratings are 1-5, from 10M on .5-5 in steps of a half. Files of before 10M are Latin-1, newer ones
UTF-8, so each line is read as UTF-8 where it is that. The CSV sets (ratings.csv, movies.csv,
tags.csv, links.csv) are 20M, 25M, 32M and ml-latest.

ml-1m.txt is the order-only form of 1M that sequence models are measured on: `user item` a line,
oldest first within each user, numbers of its own with tables back to MovieLens' ids beside it.
"""

from __future__ import annotations

import csv
import datetime
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from freshet.contract import bounds
from freshet.contract.events import Event
from freshet.contract.items import Item
from freshet.contract.records import shorten
from freshet.contract.users import User
from shared.inputs.event_times import EventTimes
from shared.inputs.refusals import BadInput

MINUTE_MS: Final = 60_000
GENRES_100K: Final = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_ARTICLE = re.compile(r"^(?P<name>.+), (?P<article>The|A|An)(?P<rest> \(.*)?$")
_YEAR = re.compile(r"\((\d{4})\)\s*$")

_ORDER_ONLY: Final = "ml-1m.txt"
_TIMED: Final = {"ratings.csv": ",", "ratings.dat": ":", "u.data": "\t"}  # what separates columns
INTERACTIONS: Final = (_ORDER_ONLY, *_TIMED)
_NO_GENRES: Final = "(no genres listed)"
TAGS_AT_MOST: Final = 16  # of a movie, the ones given most often: each is encoded with its title
_SEPARATORS: Final = {
    **dict.fromkeys(("movies.dat", "tags.dat", "users.dat"), "::"),
    **dict.fromkeys(("u.item", "u.user"), "|"),
}
# What 1M's codes mean: the README of the set has both tables.
AGES_1M: Final = {
    "1": "under 18",
    "18": "18-24",
    "25": "25-34",
    "35": "35-44",
    "45": "45-49",
    "50": "50-55",
    "56": "56+",
}
OCCUPATIONS_1M: Final = (
    *("other", "academic/educator", "artist", "clerical/admin", "college/grad student"),
    *("customer service", "doctor/health care", "executive/managerial", "farmer", "homemaker"),
    *("K-12 student", "lawyer", "programmer", "retired", "sales/marketing", "scientist"),
    *("self-employed", "technician/engineer", "tradesman/craftsman", "unemployed", "writer"),
)
_RATINGS: Final = ("userId", "movieId", "rating", "timestamp")  # as the CSV sets name them

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Line = TypeVar("Line")


@dataclass(frozen=True, slots=True)
class Interactions:
    """All interactions by time: (n,) each; ratings .5-5, None where the file has none."""

    users: Ints
    movies: Ints
    times_ms: Ints
    ratings: Floats | None
    times: EventTimes | None = None  # how far they were moved, None where the file has none

    def __len__(self) -> int:
        return len(self.users)

    def events(self) -> Iterator[Event]:
        """Make the events: a rating where there is one, else a click."""
        for row in range(len(self)):
            yield Event(
                user_id=str(self.users[row]),
                item_id=str(self.movies[row]),
                type="click" if self.ratings is None else "rate",
                time_ms=int(self.times_ms[row]),
                value=None if self.ratings is None else float(self.ratings[row]),
            )


@dataclass(frozen=True, slots=True)
class Movie:
    """One movie as the tables have it."""

    movie: int
    title: str
    genres: tuple[str, ...]
    tags: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)  # ids elsewhere, as text


def read_interactions(folder: Path, *, now_ms: int, keep_times: bool) -> Interactions:
    """Read the folder's interactions, oldest first, the last one now unless times are kept.

    Raises BadInput when the folder holds none of the known files.
    """
    if (folder / _ORDER_ONLY).exists():
        return _order_only(folder, now_ms)
    for name, separator in _TIMED.items():
        if (folder / name).exists():
            return _timed(folder / name, separator, None if keep_times else now_ms)
    raise BadInput(f"{folder}: must hold {', '.join(INTERACTIONS[:-1])} or {INTERACTIONS[-1]}")


def read_movies(folder: Path) -> list[Movie]:
    """Read titles, genres and, of newer sets, tags and links.

    Raises BadInput when the folder has no table of movies, or one that cannot be read.
    """
    tags, links = _tags(folder), _links(folder)

    def movie(row: list[str]) -> Movie:
        number, title, genres = int(row[0]), readable(row[1]), row[2]
        listed = () if genres == _NO_GENRES else tuple(genres.split("|"))
        return Movie(number, title, listed, tags.get(number, ()), links.get(number, {}))

    for name in ("movies.csv", "movies.dat"):
        if (folder / name).exists():
            return list(_parsed(folder / name, movie))
    if (folder / "u.item").exists():
        return list(_parsed(folder / "u.item", _movie_100k))
    raise BadInput(f"{folder}: must hold movies.csv, movies.dat or u.item")


def read_users(folder: Path) -> list[User]:
    """Read gender, age, occupation and zip code of users; none where the folder has no table.

    Raises BadInput for one that cannot be read.
    """
    for name, parse in (("users.dat", _user_1m), ("u.user", _user_100k)):
        if (folder / name).exists():
            return list(_parsed(folder / name, parse))
    return []


def poster_names(folder: Path, movies: Iterable[int]) -> dict[int, int]:
    """Return the poster's number by movie: its own, or the one in a table of other numbers.

    What such a table lacks has no poster: its own number would be another movie's.
    """
    table = folder / "item_to_ml1m_poster.tsv"
    return _pairs(table) if table.exists() else {movie: movie for movie in movies}


def item_of(movie: Movie, picture: bytes | None) -> Item:
    """Make the item of a movie, which is as old as its year: importing makes nothing new.

    Those of before 2000 are of 2000, the earliest that the contract takes.
    """
    year = _YEAR.search(movie.title)
    return Item(
        item_id=str(movie.movie),
        title=movie.title,
        categories=movie.genres,
        tags=movie.tags,
        attributes={**({"year": float(year[1])} if year else {}), **movie.links},
        image_bytes=picture,
        created_ms=_begin_of(int(year[1])) if year else None,
    )


def _begin_of(year: int) -> int:
    """Return when a year began, of the years that a client may state."""
    begin = datetime.datetime(max(1, year), 1, 1, tzinfo=datetime.UTC)
    return min(max(bounds.EARLIEST_MS, int(begin.timestamp() * 1000)), bounds.LATEST_MS)


def readable(title: str) -> str:
    """Move an article to the front: `Matrix, The (1999)` is The Matrix (1999)."""
    match = _ARTICLE.match(title)
    if match is None:
        return title
    return f"{match['article']} {match['name']}{match['rest'] or ''}"


def spaced_times(users: Ints, now_ms: int) -> Ints:
    """Give each user's interactions, which stand in order, times a minute apart, the last now."""
    order = np.argsort(users, kind="stable")
    grouped = users[order]
    ends = np.searchsorted(grouped, grouped, side="right")  # (n,) one past the user's last row
    steps_before_last = ends - 1 - np.arange(len(users))
    times = np.empty(len(users), dtype=np.int64)
    times[order] = now_ms - steps_before_last * MINUTE_MS
    return times


def _order_only(folder: Path, now_ms: int) -> Interactions:
    file = folder / _ORDER_ONLY
    try:
        table = np.loadtxt(file, dtype=np.int64, ndmin=2).reshape(-1, 2)
    except ValueError as error:
        raise BadInput(f"{file}: not `user item` a line: {error}") from None
    users = _renumbered(table[:, 0], folder / "user_to_original.txt")
    movies = _renumbered(table[:, 1], folder / "item_to_movie.txt")
    return _by_time(users, movies, spaced_times(users, now_ms), None)


def _timed(file: Path, separator: str, last_ms: int | None) -> Interactions:
    users, movies, ratings, seconds = _ratings(file, separator)
    times_ms = seconds * 1000
    span_ms = int(times_ms.min()), int(times_ms.max())
    moved_ms = 0 if last_ms is None else last_ms - span_ms[1]
    found = _by_time(users, movies, times_ms + moved_ms, ratings)
    if last_ms is not None:  # 32M spans 29 years, and begins too early for the contract even so
        np.maximum(found.times_ms, bounds.EARLIEST_MS, out=found.times_ms)
    return replace(found, times=EventTimes(moved_ms, span_ms))


def _ratings(file: Path, separator: str) -> tuple[Ints, Ints, Floats, Ints]:
    """Read users, movies, ratings and seconds: 33 million rows take a gigabyte, not ten."""
    import pyarrow
    from pyarrow import csv as arrow_csv

    names: list[str] = []  # none: the header has them
    if separator == "\t":
        names = list(_RATINGS)
    elif separator == ":":  # `::` is one colon and an empty column behind it
        names = [name for each in _RATINGS for name in (each, f"behind {each}")][:-1]
    kinds = dict.fromkeys(_RATINGS, pyarrow.int64()) | {"rating": pyarrow.float64()}
    try:
        table = arrow_csv.read_csv(
            file,
            arrow_csv.ReadOptions(column_names=names, use_threads=False),  # errors then name rows
            arrow_csv.ParseOptions(delimiter=separator),
            arrow_csv.ConvertOptions(
                include_columns=list(_RATINGS), column_types=kinds, null_values=[]
            ),
        )
    except pyarrow.ArrowException as error:
        raise BadInput(f"{file}: {str(error).strip()}") from None
    if not len(table):
        raise BadInput(f"{file}: must hold ratings, has none")
    users, movies, ratings, seconds = (table[name].to_numpy() for name in _RATINGS)
    return users, movies, ratings, seconds


def _by_time(users: Ints, movies: Ints, times_ms: Ints, ratings: Floats | None) -> Interactions:
    order = np.argsort(times_ms, kind="stable")
    return Interactions(
        users[order],
        movies[order],
        times_ms[order],
        None if ratings is None else ratings[order],
    )


def _renumbered(numbers: Ints, table: Path) -> Ints:
    if not table.exists():
        return numbers
    pairs = _pairs(table)
    if unnamed := set(numbers.tolist()) - pairs.keys():
        raise BadInput(f"{table}: must name each number of ml-1m.txt, has none for {min(unnamed)}")
    return np.array([pairs[number] for number in numbers.tolist()], dtype=np.int64)


def _pairs(table: Path) -> dict[int, int]:
    def pair(words: list[str]) -> tuple[int, int]:
        first, second = map(np.int64, words)
        return int(first), int(second)

    return dict(_parsed(table, pair))


def _tags(folder: Path) -> dict[int, tuple[str, ...]]:
    """Read the tags that users gave, by movie, the most frequent first."""
    given: dict[int, Counter[str]] = defaultdict(Counter)
    for name in ("tags.csv", "tags.dat"):
        if (folder / name).exists():
            for movie, tag in _parsed(folder / name, lambda row: (int(row[1]), row[2].strip())):
                if bounds.plain(tag):  # a few are whole sentences
                    given[movie][tag] += 1
            break
    return {
        movie: tuple(tag for tag, _ in counts.most_common(TAGS_AT_MOST))
        for movie, counts in given.items()
    }


def _links(folder: Path) -> dict[int, dict[str, str]]:
    """Read the movies' ids at IMDb and TMDB, where they have one."""

    def link(row: list[str]) -> tuple[int, dict[str, str]]:
        elsewhere = {"imdb_id": row[1], "tmdb_id": row[2]}
        return int(row[0]), {name: text for name, text in elsewhere.items() if text}

    file = folder / "links.csv"
    return dict(_parsed(file, link)) if file.exists() else {}


def _movie_100k(row: list[str]) -> Movie:
    genres = [name for name, flag in zip(GENRES_100K, row[5:], strict=False) if flag == "1"]
    return Movie(int(row[0]), readable(row[1]), tuple(genres))


def _user_1m(row: list[str]) -> User:
    number, gender, age, occupation, zip_code = row
    if age not in AGES_1M:
        raise ValueError(age)
    return _user(number, gender, AGES_1M[age], OCCUPATIONS_1M[int(occupation)], zip_code)


def _user_100k(row: list[str]) -> User:
    number, age, gender, occupation, zip_code = row
    return _user(number, gender, float(age), occupation, zip_code)


def _user(number: str, gender: str, age: str | float, occupation: str, zip_code: str) -> User:
    said = {"gender": gender, "age": age, "occupation": occupation, "zip_code": zip_code}
    return User(user_id=str(int(number)), attributes=said)


def _parsed(file: Path, parse: Callable[[list[str]], Line]) -> Iterator[Line]:
    """Parse each line's words, a CSV's header left out. Raises BadInput for one that is none."""
    is_csv = file.suffix == ".csv"
    separator = _SEPARATORS.get(file.name)  # None: blanks
    with file.open("rb") as lines:
        for number, encoded in enumerate(lines, start=1):
            line = _text(encoded.rstrip(b"\r\n"))
            if not line.strip() or (number == 1 and is_csv):
                continue
            try:
                yield parse(next(csv.reader([line])) if is_csv else line.split(separator))
            except (ValueError, IndexError, OverflowError, csv.Error):
                raise BadInput(
                    f"{file}:{number}: must be a line of {file.name}, was {shorten(line)}"
                ) from None


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")
