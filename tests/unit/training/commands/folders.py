"""Write small MovieLens folders."""

from __future__ import annotations

import random
from pathlib import Path


def movielens(folder: Path, users: int = 12, items: int = 15, events: int = 8) -> Path:
    """Write a folder of 100K's form: everybody rates some movies, a day apart."""
    folder.mkdir(exist_ok=True)
    chance = random.Random(0)
    ratings = [
        f"{user}\t{item}\t{chance.randint(1, 5)}\t{day * 86_400 + user}\n"
        for user in range(1, users + 1)
        for day, item in enumerate(chance.sample(range(1, items + 1), events), start=1)
    ]
    (folder / "u.data").write_text("".join(ratings))
    movies = [f"{item}|Film {item} (1995)|||" + "|0" * 18 + "|1\n" for item in range(1, items + 1)]
    (folder / "u.item").write_text("".join(movies))
    return folder
