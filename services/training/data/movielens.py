"""Read MovieLens folders as datasets, by the import's readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from services.training.data.dataset import Dataset
from services.training.data.histories import grouped
from shared.inputs import movielens


def is_there(folder: Path) -> bool:
    """Say whether a folder holds what MovieLens calls interactions."""
    return any((folder / name).exists() for name in movielens.INTERACTIONS)


def read(folder: Path, posters: Path | None = None) -> Dataset:
    """Read a folder: 100K, 1M in both forms, 10M and newer; times as they are in the file.

    posters: a folder of MOVIE_ID.jpg. Raises BadInput.
    """
    found = movielens.read_interactions(folder, now_ms=0, keep_times=True)
    movies, items = np.unique(found.movies, return_inverse=True)
    people, users = np.unique(found.users, return_inverse=True)
    item_ids = tuple(map(str, movies.tolist()))
    times_s = None if found.ratings is None else found.times_ms // 1000  # ml-1m.txt has neither
    values = None if found.ratings is None else found.ratings.astype(np.float32)
    user_ids = tuple(map(str, people.tolist()))
    known, raters = set(item_ids), set(user_ids)
    tables = [movielens.item_of(movie, None) for movie in movielens.read_movies(folder)]
    pictures = {}
    if posters is not None:
        names = movielens.poster_names(folder, movies.tolist())
        paths = {str(movie): posters / f"{name}.jpg" for movie, name in names.items()}
        pictures = {item: path for item, path in paths.items() if item in known and path.exists()}
    return Dataset(
        name=folder.resolve().name,
        item_ids=item_ids,
        user_ids=user_ids,
        events=grouped(users, items, len(people), times_s, values),
        items={item.item_id: item for item in tables if item.item_id in known},
        attributes={
            user.user_id: user.features
            for user in movielens.read_users(folder)
            if user.user_id in raters
        },
        pictures=pictures,
    )
