"""Measure the blend's ranking on MovieLens 1M: `python -m tests.bench.blend --help`. JSON.

Leave-last-out, strict: co-visits and popularity of all but each user's last two events; the weights
are looked at on the second last (`--split validation`), reported on the last (`--split test`) with
the input up to the one before. The whole catalogue is ranked, the user's own history removed; the
movies' vectors are those of their titles and genres. Order only, without time: so nothing is new.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from freshet.contract.items import Item
from services.embedding.encode.bundle import Bundle
from services.embedding.encode.content import text_of
from services.embedding.encode.encoders import Encoders
from services.embedding.encode.fusion import Fusion
from services.ranking.live.trending import TrendRows
from services.ranking.stages import blend
from services.ranking.stages.blend import BlendSettings
from services.ranking.stages.features import FeatureSettings, covisited, features, trends_for
from services.ranking.stages.signals import Signals, Weighted
from services.ranking.stages.user_profile import UserProfile, profile_of
from shared.catalogue.catalogue import Catalogue, Change
from shared.catalogue.item_vectors import ItemVector
from shared.users import event_types, keys, log2_weights, states
from shared.users.log2_weights import HalfLives
from shared.users.session_vectors import VectorSettings, session_vectors
from tests import servers
from tests.unit.shared.users.makers import state_of

NOW_MS = 1_800_000_000_000
LONG_AGO_MS = NOW_MS - 3650 * 86_400_000
FOLLOWERS = 30  # as ranking reads them
REACH = 5  # as sessions folds them
VARIANTS = {
    "blend": BlendSettings(),
    "less of covisits": BlendSettings(covisits=2.4, trending=0.3, popularity=0.3),
    "without covisits": BlendSettings(covisits=0),
    "covisits alone": BlendSettings(0, 0, 0, 1, 0, 0, 0, 0, 0, 0),
    "popularity alone": BlendSettings(0, 0, 0, 0, 1, 0, 0, 1, 0, 0),
}


class Data(NamedTuple):
    """What is ranked, and from what."""

    catalogue: Catalogue
    sequences: dict[str, list[str]]  # user → items, oldest first
    signals: Signals  # of the training events


def read(folder: Path, bundle: str) -> Data:
    """Read and encode the movies, and count the training events."""
    sequences: dict[str, list[str]] = defaultdict(list)
    for line in (folder / "ml-1m.txt").read_text().splitlines():
        user, item = line.split()
        sequences[user].append(item)
    catalogue = catalogue_of(folder, Bundle.load(bundle))
    counts: dict[str, float] = defaultdict(float)
    pairs: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for sequence in sequences.values():
        train = sequence[:-2]
        for index, item in enumerate(train):
            counts[item] += 1
            for distance in range(1, min(REACH, index) + 1):
                pairs[train[index - distance]][item] += 1 / distance
    covisits = {keys.item_key(item): weighted(after, FOLLOWERS) for item, after in pairs.items()}
    return Data(catalogue, sequences, Signals(covisits, {"all": weighted(counts, 1000)}))


def catalogue_of(folder: Path, bundle: Bundle) -> Catalogue:
    """Encode titles and genres."""
    movies = {}
    for line in (folder / "movies.dat").read_text("latin-1").splitlines():
        movie, title, genres = line.split("::")
        movies[movie] = Item(item_id=movie, title=title, categories=tuple(genres.split("|")))
    numbers = (folder / "item_to_movie.txt").read_text().splitlines()
    known = dict(line.split() for line in numbers)
    items = [renamed(movies[movie], item) for item, movie in known.items()]
    fusion, encoders = Fusion.load(bundle.files["fusion.npz"]), Encoders(bundle, threads=1)
    embeddings = encoders.encode_texts([text_of(item) or item.title for item in items])
    vectors = fusion.fuse(None, embeddings).vector.astype(np.float16)
    empty = np.empty(0, np.float16)
    catalogue = Catalogue(bundle.space, bundle.dim)
    catalogue.apply(
        Change(
            item.item_id,
            1,
            ItemVector(
                item_id=item.item_id,
                space=bundle.space,
                vector=vector,
                image_vector=empty,
                text_vector=empty,
                content_hash=b"",
                item=item,
                version=1,
                arrived_ms=LONG_AGO_MS,
                encoded_ms=LONG_AGO_MS,
            ),
        )
        for item, vector in zip(items, vectors, strict=True)
    )
    return catalogue


def renamed(item: Item, item_id: str) -> Item:
    """Return the item under another id."""
    return Item(item_id=item_id, title=item.title, categories=item.categories)


def weighted(counts: dict[str, float], at_most: int) -> Weighted:
    """Return counts as weights given now, the heaviest first."""
    ordered = sorted(counts.items(), key=lambda entry: -entry[1])[:at_most]
    return Weighted(
        np.array([keys.item_key(item) for item, _ in ordered], np.uint64),
        np.array([log2_weights.score_of(w, NOW_MS, HalfLives().covisits_s) for _, w in ordered]),
    )


def profile(data: Data, history: list[str], settings: VectorSettings) -> UserProfile:
    """Return the profile of a user whose last 50 events were clicks, a minute apart."""
    last = history[-states.HISTORY_AT_MOST :]
    first_s = NOW_MS // 1000 - 60 * len(last)
    entries = [
        (keys.item_key(item), first_s + 60 * n, 0, 0.0, event_types.CLICK, 0)
        for n, item in enumerate(last)
    ]
    state = state_of(history=entries)
    vectors = session_vectors([state.history_bytes], data.catalogue, settings)[0]
    state = state_of(history=entries, vectors=vectors)
    prices = data.catalogue.terms.price
    return profile_of(state, data.catalogue, prices, settings)


def rank_of(target: int, scores: NDArray[np.float32]) -> float:
    """Return the target's rank from 0; ties at the middle."""
    better = np.count_nonzero(scores > scores[target])
    return float(better + (np.count_nonzero(scores == scores[target]) - 1) / 2)


def measure(data: Data, users: list[str], held_out: int) -> dict[str, dict[str, float]]:
    """Rank the whole catalogue for each user; held_out: 1 the last event, 2 the one before."""
    catalogue, settings = data.catalogue, VectorSettings()
    of_scope = TrendRows(catalogue).of(data.signals.trending)
    rows = np.arange(len(catalogue))
    ranks: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for user_id in users:
        sequence = data.sequences[user_id]
        history, target = sequence[:-held_out], sequence[-held_out]
        user = profile(data, history, settings)
        table = features(
            user,
            covisited(user, data.signals, catalogue, NOW_MS, FeatureSettings()),
            trends_for(user, "", of_scope),
            catalogue,
            catalogue.terms.price,
            rows,
            NOW_MS,
            FeatureSettings(),
        )
        seen = [catalogue.row(item) for item in history]
        for name, weights in VARIANTS.items():
            scores = blend.contributions(table, blend.weights(weights)).sum(axis=1)
            scores[seen] = -np.inf
            ranks[name].append(rank_of(catalogue.row(target), scores))
    return {name: figures(np.array(each)) for name, each in ranks.items()}


def figures(ranks: NDArray[np.float64]) -> dict[str, float]:
    """Return HR@10 with its standard error, and NDCG@10."""
    hit = ranks < 10
    rate = float(hit.mean())
    return {
        "hr@10": round(rate, 4),
        "standard_error": round(float(np.sqrt(rate * (1 - rate) / len(ranks))), 4),
        "ndcg@10": round(float((hit / np.log2(ranks + 2)).mean()), 4),
    }


def main() -> int:
    """Parse the command line, measure, print one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.blend", description=__doc__)
    default = servers.shared_folder_path() / "data" / "ml-1m"
    parser.add_argument("--data", type=Path, default=default, help="folder of ml-1m")
    parser.add_argument("--bundle", default="deploy/models/day-zero", help="folder of the bundle")
    parser.add_argument("--users", type=int, default=2_000, help="measured, drawn by the seed")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--seed", type=int, default=0, help="of the users drawn")
    options = parser.parse_args()
    data = read(options.data, options.bundle)
    drawn = np.random.default_rng(options.seed).permutation(sorted(data.sequences))
    users = [str(user) for user in drawn[: options.users]]
    measured = measure(data, users, 1 if options.split == "test" else 2)
    shown = {"users": len(users), "split": options.split, "seed": options.seed, **measured}
    sys.stdout.write(json.dumps(shown, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
