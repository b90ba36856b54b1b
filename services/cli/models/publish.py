"""Publish a model bundle into the running system, and follow it until it is served."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis

from services.cli import endpoints, lag
from services.cli.addresses import Addresses
from services.cli.failures import Failed
from services.cli.models.gate import Evaluation, refusal
from shared.bundles.bundle import MANIFEST, BadBundle, Bundle
from shared.bundles.golden import started
from shared.bundles.store import AlreadyPublished, BundleStore, Publication
from shared.catalogue import active_bundle
from shared.catalogue.active_bundle import Standing
from shared.clock import now_ms
from shared.runtime import redis_client

ASK_AGAIN_S: Final = 0.5


def tried(folder: Path) -> Bundle:
    """Load a bundle as services do and run its models over the golden inputs. Raises Failed."""
    try:
        bundle = Bundle.load(folder)
        started(bundle)
    except BadBundle as error:
        raise Failed(f"{folder} cannot be served: {error}") from None
    return bundle


def publish(where: Addresses, folder: Path, *, tolerance: float, force: bool) -> Publication:
    """Try a bundle, ask the gate, put it into the store and order it. Raises Failed, OSError."""
    store, bundle = BundleStore(endpoints.bundles_url(where)), tried(folder)
    standing = asyncio.run(standing_of(where))
    active = store.find(standing.active.space) if standing.active else None
    why = refusal(bundle.evaluation, active.evaluation if active else {}, tolerance)
    if why and not force:
        raise Failed(f"{bundle.space} is not published: {why}; --force publishes it all the same")
    publication = Publication(
        space=bundle.space,
        dim=bundle.dim,
        published_ms=now_ms(),
        files=(MANIFEST, *bundle.files),
        evaluation=bundle.evaluation,
        forced=bool(why),
    )
    if publication.space in standing.orders:
        raise Failed(f"{publication.space} was there before; give the bundle another space")
    try:
        store.publish(folder, publication)
    except AlreadyPublished as error:
        raise Failed(str(error)) from None
    try:
        asyncio.run(order(where, publication.space, new=True))
    except BaseException:  # else the same command would find the space taken
        store.withdraw(publication.space)
        raise
    return publication


async def standing_of(where: Addresses) -> Standing:
    """Return which bundles were and are to be served. Raises RedisError."""
    async with _redis(where) as redis:
        return await active_bundle.standing(redis)


async def order(where: Addresses, space: str, *, new: bool = False) -> int:
    """Order a space; return the number, 0 where it must have been there and was not."""
    async with _redis(where) as redis:
        return await active_bundle.order(redis, space, new=new)


async def until_active(where: Addresses, space: str, progress: Callable[[int], None]) -> None:
    """Wait until a space is served; `progress` hears how many items are not encoded yet.

    Raises Failed where embedding refuses the bundle, or another was ordered meanwhile.
    """
    kafka, shown = endpoints.kafka_settings(where), endpoints.access(where)
    async with _redis(where) as redis:
        while True:
            standing = await active_bundle.standing(redis)
            if standing.active is not None and standing.active.space == space:
                return
            if standing.ordered != space:
                raise Failed(f"{standing.ordered} was ordered after {space}")
            status = await asyncio.to_thread(
                endpoints.health_page, where.health["embedding"], "status", shown
            )
            if why := status.get("refused", {}).get(space):
                raise Failed(f"embedding cannot encode in {space}: {why}")
            progress(sum((await lag.embedding_lag(kafka, space)).values()))
            await asyncio.sleep(ASK_AGAIN_S)


def listed(where: Addresses) -> list[dict[str, Any]]:
    """Return every bundle that was published or ordered, in the order of the last orders."""
    standing = asyncio.run(standing_of(where))
    store = BundleStore(endpoints.bundles_url(where))
    known = {one.space: one for one in store.publications()}
    states = {standing.ordered: "ordered"}
    if standing.previous is not None:
        states[standing.previous.space] = "previous"
    if standing.active is not None:
        states[standing.active.space] = "active"
    spaces = sorted({*known, *standing.orders}, key=lambda space: standing.orders.get(space, 0))
    return [
        {
            "space": space,
            "state": states.get(space, ""),
            "order": standing.orders.get(space),
            **_figures(known.get(space)),
        }
        for space in spaces
    ]


def _figures(publication: Publication | None) -> dict[str, Any]:
    evaluation: Evaluation = publication.evaluation if publication else {}
    day_zero = evaluation.get("day_zero")
    return {
        "published_ms": publication.published_ms if publication else None,
        "forced": publication.forced if publication else False,
        "evaluation": dict(evaluation),
        "beside_day_zero": _gain(evaluation, day_zero if isinstance(day_zero, Mapping) else {}),
    }


def _gain(evaluation: Evaluation, day_zero: Evaluation) -> float | None:
    """Return by which share NDCG@10 is above day zero's, None where either is not known."""
    ours, theirs = evaluation.get("ndcg@10"), day_zero.get("ndcg@10")
    return ours / theirs - 1 if ours is not None and theirs else None


@contextlib.asynccontextmanager
async def _redis(where: Addresses) -> AsyncIterator[Redis]:
    redis = redis_client.connect(endpoints.redis_settings(where))
    try:
        yield redis
    finally:
        await redis.aclose()
