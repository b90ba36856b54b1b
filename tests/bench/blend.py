"""Measure lists after an import: `python -m tests.bench.blend --help`. JSON, a line a set.

MovieLens 1M and 100K and 20 % and 5 % of the users of both, read as `freshet import movielens`
reads them with no help, so with its times and its ratings, and folded, kept and ranked by the
functions that serve. Leave-last-out, strict: co-visits, trending and popularity are those of all
but each user's last two events; numbers are chosen on the second last (`--split validation`),
reported on the last (`--split test`), which the user's state reaches up to. The user's own history
is removed.

`served` is the list of ten as Recommend gives it; `blend` ranks the whole catalogue by the scores
alone, the others by one part alone, with ties at the middle. The movies' vectors are those of their
titles and genres.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from freshet.contract.events import Event
from freshet.contract.items import Item
from freshet.contract.records import Origin
from freshet.contract.topics import ITEMS_BACKFILL
from services.embedding.items.arrivals import Arrivals
from services.ranking.models.serving_models import ServingModels
from services.ranking.recommend import rank, recommend
from services.ranking.requests import RecommendQuery
from services.ranking.serving_space import ServingSpace
from services.ranking.settings import RankingSettings
from services.ranking.stages.blend import PARTS, Ranked
from services.ranking.stages.recommendation import RankingInput, Recommendation
from services.ranking.stages.sources import Candidates
from services.sessions.fold.fold import FoldEvent, fold
from services.sessions.fold.settings import FoldSettings
from shared.bundles.bundle import Bundle
from shared.bundles.candidates import FeatureColumn
from shared.bundles.content import text_of
from shared.bundles.encoders import Encoders
from shared.bundles.fusion import Fusion
from shared.bundles.towers import OnnxItemTower
from shared.catalogue.catalogue import Catalogue, Change
from shared.catalogue.item_vectors import NO_VECTOR, ItemVector
from shared.inputs import movielens
from shared.runtime.deadline import Costs, Deadline
from shared.users.keys import item_key
from shared.users.states import UserState
from tests import servers
from tests.bench.offline import Offline

NOW_MS: Final = 1_800_000_000_000  # of the import, and of the lists
AT_MOST: Final = 10  # places of a list
DAY_ZERO: Final = Path("deploy/models/day-zero")
SAMPLES: Final = {"20 %": 0.2, "5 %": 0.05}
ALONE: Final = tuple(name for name in PARTS if name != "dislike")  # which proposes nothing


class Encoded(NamedTuple):
    """Movies with their vectors, of one space."""

    bundle: Bundle
    items: Mapping[str, Item]
    vectors: Mapping[str, NDArray[np.float16]]
    tower_vectors: Mapping[str, NDArray[np.float16]]  # of those that the bundle's tower knows


@dataclass(frozen=True)
class Imported:
    """A set as it is served after its import."""

    space: ServingSpace
    states: Mapping[str, UserState]  # up to the event before the second last
    sequences: Mapping[str, Sequence[FoldEvent]]  # user → all events, oldest first


def encoded(folder: Path, bundle: Bundle) -> Encoded:
    """Encode titles and genres of all movies of a folder."""
    items = [movielens.item_of(movie, None) for movie in movielens.read_movies(folder)]
    fusion, encoders = Fusion.load(bundle.files["fusion.npz"]), Encoders(bundle, threads=1)
    texts = encoders.encode_texts([text_of(item) or item.title for item in items])
    vectors = fusion.fuse(None, texts).vector
    ids = [item.item_id for item in items]
    towers = np.zeros((len(ids), 0), np.float32)
    if bundle.tower is not None:
        keys = np.array([item_key(item_id) for item_id in ids], np.uint64)
        towers = OnnxItemTower(bundle).vectors(keys, vectors)
    return Encoded(
        bundle,
        dict(zip(ids, items, strict=True)),
        dict(zip(ids, vectors.astype(np.float16), strict=True)),
        {
            item_id: tower
            for item_id, tower in zip(ids, towers.astype(np.float16), strict=True)
            if tower.any()
        },
    )


def events_of(folder: Path, share: float, seed: int) -> list[FoldEvent]:
    """Read the import's events of a share of the users, drawn by the seed, in the log's order."""
    interactions = movielens.read_interactions(folder, now_ms=NOW_MS, keep_times=False)
    users = np.unique(interactions.users)
    drawn = np.random.default_rng(seed).permutation(users)[: round(share * len(users))]
    chosen = set(map(str, drawn.tolist()))
    events: list[Event] = [event for event in interactions.events() if event.user_id in chosen]
    return [FoldEvent(event, 0, offset, NOW_MS) for offset, event in enumerate(events)]


def imported(
    events: Sequence[FoldEvent],
    movies: Encoded,
    settings: RankingSettings,
    models: ServingModels | None = None,
) -> Imported:
    """Fold and keep all but each user's last two events, and build what serves."""
    sequences: dict[str, list[FoldEvent]] = defaultdict(list)
    for event in events:
        sequences[event.event.user_id].append(event)
    last = {event.offset for sequence in sequences.values() for event in sequence[-2:]}
    train = [event for event in events if event.offset not in last]
    catalogue = catalogue_of({event.event.item_id for event in events}, movies)
    system = Offline(catalogue, settings, lambda: NOW_MS, models)
    system.fold(train)
    return Imported(system.space, dict(system.states), sequences)


def catalogue_of(item_ids: set[str], movies: Encoded) -> Catalogue:
    """Make the catalogue of an import, as embedding publishes what comes by backfill."""
    bundle, empty, arrivals = movies.bundle, np.empty(0, np.float16), Arrivals({})
    origin = Origin(ITEMS_BACKFILL.name, 0, 0, NOW_MS)
    catalogue = Catalogue(bundle.space, bundle.dim)
    catalogue.apply(
        Change(
            item_id,
            1,
            ItemVector(
                item_id=item_id,
                space=bundle.space,
                vector=movies.vectors[item_id],
                image_vector=empty,
                text_vector=empty,
                content_hash=b"",
                item=movies.items[item_id],
                version=1,
                arrived_ms=arrivals.since_ms(movies.items[item_id], origin, None, 0),
                encoded_ms=NOW_MS,
                tower_vector=movies.tower_vectors.get(item_id, NO_VECTOR),
            ),
        )
        for item_id in sorted(item_ids)
    )
    return catalogue


class Question(NamedTuple):
    """A list that is wanted, and what its user came to next."""

    query: RecommendQuery
    target: int  # row
    seen: Sequence[int]  # rows of the user's own history


async def questions(
    served: Imported, users: Sequence[str], held_out: int
) -> AsyncIterator[Question]:
    """Yield what each user is asked; 1: for the last event, 2: for the one before.

    Until the next one, readers find that user's state as it is before the held-out event.
    """
    space, catalogue = served.space, served.space.catalogue
    await space.trending.renew()
    for user in users:
        sequence, state = served.sequences[user], served.states[user]
        for event in sequence[-2 : len(sequence) - held_out]:
            state, _, _ = fold(state, [event], catalogue, FoldSettings())
        space.reader.users[user] = state  # type: ignore[attr-defined]
        history = tuple(event.event.item_id for event in sequence[:-held_out])
        yield Question(
            RecommendQuery((user,), k=AT_MOST, exclude=history),
            catalogue.row(sequence[-held_out].event.item_id),
            [catalogue.row(item_id) for item_id in history],
        )


def unhurried() -> Deadline:
    """Return a deadline for which nothing is left out."""
    return Deadline(time.monotonic() + 60, time.monotonic, Costs())


def place_of(made: Recommendation, target: int) -> float:
    """Return where a list has the target, from 0; infinity where it has not."""
    place = np.flatnonzero(made.listed.rows == target)
    return float(place[0]) if len(place) else np.inf


async def ranked_all(user: RankingInput, space: ServingSpace) -> Ranked:
    """Rank the whole catalogue, whoever would propose it."""
    rows = np.arange(len(space.catalogue))
    return await rank(Candidates(rows, np.zeros(len(rows), np.int64)), user, space, unhurried())


async def measure(served: Imported, users: Sequence[str], held_out: int) -> dict[str, list[float]]:
    """Return each user's rank of the held-out item, from 0; held_out: 1 the last event, 2 before.

    Ranks are by what ranked: the list as served, the blend, and each part alone.
    """
    ranks: dict[str, list[float]] = {name: [] for name in ("served", "blend", *ALONE)}
    async for question in questions(served, users, held_out):
        made = await recommend(question.query, served.space, unhurried())
        ranks["served"].append(place_of(made, question.target))
        ranked = await ranked_all(made.input, served.space)
        kept = ~np.isin(ranked.rows, question.seen)
        at = int(np.flatnonzero(ranked.rows[kept] == question.target)[0])
        ranks["blend"].append(rank_of(at, ranked.scores[kept]))
        for name in ALONE:
            values = ranked.features[kept, FeatureColumn[name.upper()]]
            ranks[name].append(rank_of(at, values))
    return ranks


def rank_of(target: int, scores: NDArray[np.float32]) -> float:
    """Return the target's rank from 0; ties at the middle."""
    better = np.count_nonzero(scores > scores[target])
    return float(better + (np.count_nonzero(scores == scores[target]) - 1) / 2)


def figures(ranks: Sequence[float]) -> dict[str, float]:
    """Return HR@10 and NDCG@10, each with its standard error."""
    places = np.array(ranks)
    hit = places < AT_MOST
    gain = hit / np.log2(np.where(hit, places, 0) + 2)
    return {
        "hr@10": round(float(hit.mean()), 4),
        "hr_error": round(float(hit.std() / np.sqrt(len(hit))), 4),
        "ndcg@10": round(float(gain.mean()), 4),
        "ndcg_error": round(float(gain.std() / np.sqrt(len(gain))), 4),
    }


def holds(measured: Mapping[str, Mapping[str, float]]) -> bool:
    """Say whether the served list is at least the best single part less one standard error."""
    return all(
        measured["served"][name]
        >= max(measured[part][name] for part in ALONE) - measured["served"][error]
        for name, error in (("hr@10", "hr_error"), ("ndcg@10", "ndcg_error"))
    )


def main() -> int:
    """Parse the command line, measure, print one JSON object a set."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.blend", description=__doc__)
    default = servers.shared_folder_path() / "data"
    parser.add_argument("--data", type=Path, default=default, help="folder of ml-1m and ml-100k")
    parser.add_argument("--sets", nargs="+", default=["ml-1m", "ml-100k"], help="folders there")
    parser.add_argument("--bundle", type=Path, default=DAY_ZERO, help="folder of the bundle")
    parser.add_argument("--users", type=int, default=10_000, help="measured of a set, at most")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--seed", type=int, default=0, help="of the users drawn")
    options = parser.parse_args()
    bundle, models = Bundle.load(options.bundle), ServingModels.load(options.bundle)
    for name in options.sets:
        folder = options.data / name
        movies = encoded(folder, bundle)
        for sample, share in {"all": 1.0, **SAMPLES}.items():
            events = events_of(folder, share, options.seed)
            served = imported(events, movies, RankingSettings(), models)
            drawn = np.random.default_rng(options.seed).permutation(sorted(served.sequences))
            users = drawn[: options.users].tolist()
            held_out = 1 if options.split == "test" else 2
            ranks = asyncio.run(measure(served, users, held_out))
            measured = {part: figures(places) for part, places in ranks.items()}
            shown = {
                "set": f"{name} {sample}",
                "split": options.split,
                "seed": options.seed,
                "users": len(users),
                "holds": holds(measured),
                **measured,
            }
            sys.stdout.write(json.dumps(shown) + "\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
