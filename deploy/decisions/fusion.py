"""Measure fusions of the day-zero encoders on posters and on the demo shop: the table of fusion.md.

    python -m deploy.decisions.fusion ../shared/data

About two minutes on two cores. Needs the extras `cli` and `models`, and fetches the pinned weights.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deploy.models.export.build import fusion_texts
from deploy.models.export.fuse import learn_fusion
from deploy.models.export.sources import Sources
from services.cli.demo import catalogue
from shared.bundles.bundle import Bundle
from shared.bundles.encoders import Encoders
from shared.bundles.fusion import Fusion
from shared.bundles.picture import MOMENTS, decode

BUNDLE = Path(__file__).parents[1] / "models" / "day-zero"
CHOSEN = (0.6, 0.5, 0.25, 1.0)  # a, b, c, t of shared/bundles/fusion.py
FUSIONS = [  # (common columns, own columns, weights); six more columns are the colours
    (64, 26, CHOSEN),
    (40, 18, CHOSEN),
    (72, 18, CHOSEN),
    (64, 58, CHOSEN),
    (80, 42, CHOSEN),
    (64, 26, (0.6, 0.0, 0.0, 1.0)),
    (64, 26, (0.6, 0.5, 0.0, 1.0)),
    (64, 26, (0.5, 0.3, 0.2, 1.0)),
    (64, 26, (1.0, 1.0, 0.4, 1.0)),
]

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Items:
    """Encoded items and what there is to find: g queries (genres, or kinds of things)."""

    features: Floats  # (n, F)
    texts: Floats  # (n, E)
    queries: Floats  # (g, E)
    matches: Bools  # (g, n): what a query should find
    styles: Bools  # (n, n), pairs of one style; of posters none is known

    @property
    def alike(self) -> Bools:
        """Return (n, n): pairs with a genre or kind in common."""
        return (self.matches.astype(np.float32).T @ self.matches.astype(np.float32)) > 0


def main(data: Path) -> None:
    encoders = Encoders(Bundle.load(BUNDLE))
    posters, shop = read_posters(data, encoders), read_shop(encoders)
    print_row(
        "fusion", "poster pictures P@5", "poster titles P@5", "poster both P@5", "mixed P@10",
        "text-only share", "genre → posters P@20", "shop pictures P@10", "shop both P@10",
        "shop both, style P@10", "kind → pictures P@10",
    )  # fmt: skip
    print_row(
        "chance", *[posters.alike.mean()] * 4, 1 / 3, posters.matches.mean(),
        *[shop.alike.mean()] * 2, shop.styles.mean(), shop.matches.mean(),
    )  # fmt: skip
    print_row(
        "unfused", nearest(unit(posters.features[:, :-MOMENTS]), posters.alike, 5),
        nearest(posters.texts, posters.alike, 5), *[""] * 4,
        nearest(unit(shop.features[:, :-MOMENTS]), shop.alike, 10),
    )  # fmt: skip
    sources = Sources.fetch()
    classifier, texts = sources.cnn()["_fc.weight"], fusion_texts(encoders, sources)
    for common, own, weights in FUSIONS:
        npz = learn_fusion(
            classifier, *texts, common_columns=common, own_columns=own, weights=weights
        )
        print_row(
            f"{common} + {own} + {MOMENTS}, {weights}",
            *measured(Fusion.load(npz), posters, shop),
        )


def measured(fusion: Fusion, posters: Items, shop: Items) -> list[float]:
    """Return the figures of one fusion."""
    figures = []
    fused = fusion.fuse(posters.features, posters.texts)
    assert fused.image_vector is not None
    assert fused.text_vector is not None
    for vectors in (fused.image_vector, fused.text_vector, fused.vector):
        figures.append(nearest(vectors, posters.alike, 5))
    figures += mixed(fused.image_vector, fused.text_vector, fused.vector, posters.alike)
    figures.append(found_by_words(fusion, posters, fused.image_vector, 20))
    fused = fusion.fuse(shop.features, shop.texts)
    assert fused.image_vector is not None
    figures.append(nearest(fused.image_vector, shop.alike, 10))
    figures.append(nearest(fused.vector, shop.alike, 10))
    figures.append(nearest(fused.vector, shop.styles, 10))
    figures.append(found_by_words(fusion, shop, fused.image_vector, 10))
    return figures


def nearest(vectors: Floats, alike: Bools, k: int) -> float:
    """Return the share of the k nearest that are alike, leaving the item itself out."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return float(np.take_along_axis(alike, top(scores, k), axis=1).mean())


def mixed(pictures: Floats, texts: Floats, both: Floats, alike: Bools) -> list[float]:
    """Compare complete items with items of which a third has no text and a third no picture.

    Returns the share of its 10 nearest that are alike, and the share that are text-only.
    """
    has = np.random.default_rng(3).integers(0, 3, len(both))
    stock = np.choose(has[:, None], (pictures, texts, both))
    scores = both @ stock.T
    np.fill_diagonal(scores, -np.inf)
    near = top(scores, 10)
    alike_share = np.take_along_axis(alike, near, axis=1).mean()
    return [float(alike_share), float((has[near] == 1).mean())]


def found_by_words(fusion: Fusion, items: Items, pictures: Floats, k: int) -> float:
    """Return the share of the k pictures nearest to a word that show what it means."""
    near = top(fusion.query_text(items.queries) @ pictures.T, k)
    return float(np.take_along_axis(items.matches, near, axis=1).mean())


def top(scores: Floats, k: int) -> NDArray[np.intp]:
    return np.argpartition(-scores, k, axis=1)[:, :k]


def unit(vectors: Floats) -> Floats:
    lengths: Floats = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / lengths


def read_posters(data: Path, encoders: Encoders) -> Items:
    """Encode MovieLens posters and titles; movies are alike when they share a genre."""
    lines = (data / "ml-1m" / "movies.dat").read_text("latin-1").splitlines()
    movies = [line.split("::") for line in lines]
    movies = [movie for movie in movies if (data / "posters" / f"{movie[0]}.jpg").exists()]
    genres = sorted({genre for *_, own in movies for genre in own.split("|")})
    files = [data / "posters" / f"{movie}.jpg" for movie, *_ in movies]
    return Items(
        features=encoders.encode_images(np.stack([decode(file.read_bytes()) for file in files])),
        texts=encoders.encode_texts([plain_title(title) for _, title, _ in movies]),
        queries=encoders.encode_texts([f"{genre} movie" for genre in genres]),
        matches=np.array([[genre in own.split("|") for *_, own in movies] for genre in genres]),
        styles=np.zeros((0, 0), np.bool_),
    )


def plain_title(title: str) -> str:
    """Turn `Matrix, The (1999)` into `The Matrix`."""
    title = re.sub(r"\s*\(.*\)$", "", title)
    return re.sub(r"^(.*), (The|A|An|Les|La|Le|Das|Die|Der|El|Il)$", r"\2 \1", title)


def read_shop(encoders: Encoders) -> Items:
    """Encode the demo shop; things are alike when they are of one kind."""
    items = list(catalogue.items(now_ms=0))
    kinds = sorted({item.categories[1] for item in items})
    styles = np.array([item.categories[2] for item in items])
    pictures = np.stack([decode(item.image_bytes or b"") for item in items])
    return Items(
        features=encoders.encode_images(pictures),
        texts=encoders.encode_texts([f"{item.title}. {item.description}" for item in items]),
        queries=encoders.encode_texts([kind.lower() for kind in kinds]),
        matches=np.array([[item.categories[1] == kind for item in items] for kind in kinds]),
        styles=styles[:, None] == styles,
    )


def print_row(*cells: object) -> None:
    texts = [f"{cell:.3f}".lstrip("0") if isinstance(cell, float) else str(cell) for cell in cells]
    sys.stdout.write(f"| {' | '.join(texts)} |\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
