"""Ask ranking why items score as they do, and hand that to what splits scores from outside."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from freshet.contract.items import Attribute
from freshet.contract.users import user_of_message
from freshet.v1.impression_pb2 import Versions
from freshet.v1.recommender_pb2 import (
    ExplainRequest,
    ExplainResponse,
    RecommendRequest,
    StateRequest,
)
from services.cli import endpoints
from services.cli.addresses import Addresses
from services.cli.failures import Failed
from services.cli.training import command_of
from shared.bundles.bundle import RANKER
from shared.bundles.store import BundleStore
from shared.scored_item import ScoredItem


def listed(where: Addresses, user: str, k: int) -> list[str]:
    """Return the ids of a user's list."""
    request = RecommendRequest(user_id=user, k=k)
    reply = endpoints.ask_ranking(where, lambda stub: stub.Recommend, request)
    return [item.item_id for item in reply.items]


def ask(where: Addresses, user: str, item: str, k: int, others: int = 0) -> ExplainResponse:
    """Return what ranking says of an item's score; others: candidates to compare it with."""
    request = ExplainRequest(user_id=user, item_id=item, k=k, others=others)
    return endpoints.ask_ranking(where, lambda stub: stub.Explain, request)


def split(
    where: Addresses,
    user: str,
    replies: Sequence[ExplainResponse],
    ranker: Path | None,
    options: Sequence[str],
    *,
    one: bool,
) -> int:
    """Let the training command split scores; return its exit code.

    ranker: the model's file, None: that of the bundle which is served. one: a single item, no list.
    Raises Failed where ranking scores by a model that is not to be found.
    """
    with _model_of(where, replies, ranker) as file:
        items = [_scored_item(where, user, reply, file) for reply in replies]
        command, environ = command_of("explain", options, os.environ)
        given = msgspec.json.encode(items[0] if one else items)
        return subprocess.run(command, env=environ, input=given, check=False).returncode


def _attributes(where: Addresses, user: str) -> dict[str, Attribute]:
    """Return what a model may know of a user."""
    request = StateRequest(user_id=user)
    state = endpoints.ask_ranking(where, lambda stub: stub.State, request).state
    return user_of_message(state.user).features if state.HasField("user") else {}


def _by_model(reply: ExplainResponse) -> bool:
    return not any(feature.HasField("weight") for feature in reply.features)


@contextmanager
def _model_of(
    where: Addresses, replies: Sequence[ExplainResponse], named: Path | None
) -> Iterator[Path | None]:
    """Lend the file of the model that scored, None where the blend did."""
    versions = next((reply.versions for reply in replies if _by_model(reply)), None)
    if versions is None or named is not None:
        yield named
    else:
        with _published(where, versions) as file:
            yield file


@contextmanager
def _published(where: Addresses, versions: Versions) -> Iterator[Path]:
    store = BundleStore(endpoints.bundles_url(where))
    publication = store.find(versions.space)
    if publication is None or RANKER not in publication.files:
        raise Failed(
            f"ranking scores by {versions.ranker}, which no published bundle of {versions.space}"
            " brings: name the model's file with --ranker"
        )
    with store.lent(publication) as folder:
        yield folder / RANKER


def _scored_item(
    where: Addresses, user: str, reply: ExplainResponse, ranker: Path | None
) -> ScoredItem:
    by_model = _by_model(reply)
    return ScoredItem(
        user_id=user,
        item_id=reply.item.item_id,
        title=reply.item.title,
        score=reply.item.score,
        ranker=reply.versions.ranker if by_model else "blend",
        names=tuple(feature.name for feature in reply.features),
        values=tuple(feature.value for feature in reply.features),
        others=tuple(tuple(row.values) for row in reply.others),
        weights=None if by_model else tuple(feature.weight for feature in reply.features),
        ranker_file=str(ranker) if by_model and ranker is not None else "",
        attributes=_attributes(where, user) if by_model else {},
    )
