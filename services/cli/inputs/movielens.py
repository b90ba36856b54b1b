"""Read MovieLens folders: 100K (u.data, u.item), 1M (ratings.dat, movies.dat) and ml-1m.txt.

ml-1m.txt is the order-only form of 1M that sequence models are measured on: `user item` a line,
oldest first within each user, numbers of its own with tables back to MovieLens' ids beside it.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from freshet.contract.events import Event
from freshet.contract.items import Item
from services.cli.inputs.rows import BadInput

MINUTE_MS: Final = 60_000
GENRES_100K: Final = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_ARTICLE = re.compile(r"^(?P<name>.+), (?P<article>The|A|An)(?P<rest> \(.*)?$")
_YEAR = re.compile(r"\((\d{4})\)\s*$")

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Interactions:
    """All interactions by time: (n,) each; ratings 1-5, None where the file has none."""

    users: Ints
    movies: Ints
    times_ms: Ints
    ratings: Ints | None

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


def read_interactions(folder: Path, *, now_ms: int, keep_times: bool) -> Interactions:
    """Read the folder's interactions, oldest first, the last one now unless times are kept.

    Raises BadInput when the folder holds none of the known files.
    """
    if (folder / "ml-1m.txt").exists():
        return _order_only(folder, now_ms)
    for name, separator in (("ratings.dat", "::"), ("u.data", "\t")):
        if (folder / name).exists():
            return _timed(folder / name, separator, None if keep_times else now_ms)
    raise BadInput(f"{folder}: must hold ml-1m.txt, ratings.dat or u.data")


def read_movies(folder: Path) -> list[Movie]:
    """Read titles and genres. Raises BadInput when the folder has no table of movies."""
    if (folder / "movies.dat").exists():
        rows = (line.split("::") for line in _lines(folder / "movies.dat"))
        return [Movie(int(row[0]), readable(row[1]), tuple(row[2].split("|"))) for row in rows]
    if (folder / "u.item").exists():
        return [_movie_100k(line.split("|")) for line in _lines(folder / "u.item")]
    raise BadInput(f"{folder}: must hold movies.dat or u.item")


def poster_names(folder: Path) -> dict[int, int]:
    """Return the poster's number by movie, for folders whose posters bear other numbers."""
    table = folder / "item_to_ml1m_poster.tsv"
    return _pairs(table) if table.exists() else {}


def item_of(movie: Movie, picture: bytes | None) -> Item:
    """Make the item of a movie, which is as old as its year: importing makes nothing new."""
    year = _YEAR.search(movie.title)
    return Item(
        item_id=str(movie.movie),
        title=movie.title,
        categories=movie.genres,
        attributes={"year": float(year[1])} if year else {},
        image_bytes=picture,
        updated_ms=_begin_of(int(year[1])) if year else None,
    )


def _begin_of(year: int) -> int:
    begin = datetime.datetime(year, 1, 1, tzinfo=datetime.UTC)
    return max(0, int(begin.timestamp() * 1000))


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
    table = np.loadtxt(folder / "ml-1m.txt", dtype=np.int64)  # (n, 2)
    users = _renumbered(table[:, 0], folder / "user_to_original.txt")
    movies = _renumbered(table[:, 1], folder / "item_to_movie.txt")
    return _by_time(users, movies, spaced_times(users, now_ms), None)


def _timed(file: Path, separator: str, last_ms: int | None) -> Interactions:
    rows = [[int(word) for word in line.split(separator)[:4]] for line in _lines(file)]
    table = np.array(rows, dtype=np.int64)  # (n, 4): user, movie, rating, seconds
    times_ms = table[:, 3] * 1000
    if last_ms is not None:
        times_ms += last_ms - times_ms.max()
    return _by_time(table[:, 0], table[:, 1], times_ms, table[:, 2])


def _by_time(users: Ints, movies: Ints, times_ms: Ints, ratings: Ints | None) -> Interactions:
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
    lookup = np.zeros(max(pairs) + 1, dtype=np.int64)
    lookup[list(pairs)] = list(pairs.values())
    return lookup[numbers]


def _pairs(table: Path) -> dict[int, int]:
    return {int(a): int(b) for a, b in (line.split() for line in _lines(table))}


def _movie_100k(row: list[str]) -> Movie:
    genres = [name for name, flag in zip(GENRES_100K, row[5:], strict=False) if flag == "1"]
    return Movie(int(row[0]), readable(row[1]), tuple(genres))


def _lines(file: Path) -> Iterator[str]:
    with file.open(encoding="latin-1") as lines:
        yield from (line.rstrip("\n") for line in lines if line.strip())
