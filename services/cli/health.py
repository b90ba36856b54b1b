"""Gather what `freshet status` shows: every service's own word, and its lag as Kafka has it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from freshet.access import Access
from freshet.settings import without_password
from services.cli import endpoints, lag
from services.cli.addresses import SERVICES, Addresses, read_running
from services.cli.endpoints import EndpointUnavailable

ANSWER_WITHIN_S = 3.0  # how long Kafka and Redis may take to answer


async def gather(data: Path) -> dict[str, Any]:
    """Return the state of everything; what does not answer has `error`."""
    where = endpoints.addresses(data)
    running = read_running(data)
    shown = endpoints.access(where)
    lags, pages = await asyncio.gather(
        _lags(where),
        asyncio.gather(*(asyncio.to_thread(_page, where.health[name], shown) for name in SERVICES)),
    )
    return {
        "kafka": {"address": where.kafka, **lags["kafka"]},
        "redis": {"address": without_password(where.redis), **lags["redis"]},
        "services": {
            name: {
                "address": where.health[name],
                "process": running.processes.get(name) if running else None,
                "lag": lags["services"].get(name),
                **page,
            }
            for name, page in zip(SERVICES, pages, strict=True)
        },
    }


def all_well(report: dict[str, Any]) -> bool:
    """Return whether everything answers and every service is ready."""
    servers = [report["kafka"], report["redis"]]
    return all("error" not in server for server in servers) and all(
        service.get("ready", False) for service in report["services"].values()
    )


def _page(address: str, shown: Access) -> dict[str, Any]:
    try:
        page: dict[str, Any] = endpoints.health_page(address, "status", shown)
    except EndpointUnavailable as error:
        return {"ready": False, "error": str(error)}
    return page


async def _lags(where: Addresses) -> dict[str, dict[str, Any]]:
    from aiokafka.errors import KafkaError
    from redis.exceptions import RedisError

    from freshet.kafka_clients import cluster_id
    from shared.runtime import redis_client

    report: dict[str, dict[str, Any]] = {"kafka": {}, "redis": {}, "services": {}}
    settings = endpoints.kafka_settings(where)
    client = redis_client.connect(endpoints.redis_settings(where), socket_timeout_s=ANSWER_WITHIN_S)
    space = None
    try:
        memory = await client.info("memory")
        report["redis"]["memory_bytes"] = int(memory["used_memory"])
        report["redis"]["keys"] = int(await client.dbsize())
        space = await lag.active_space(client)
    except RedisError as error:
        report["redis"]["error"] = str(error)
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            cluster = report["kafka"]["cluster_id"] = await cluster_id(settings)
        if "error" not in report["redis"]:
            report["services"]["sessions"] = await lag.sessions_lag(settings, client, cluster)
        if space is not None:
            report["services"]["embedding"] = await lag.embedding_lag(settings, space)
    except (KafkaError, OSError) as error:
        report["kafka"]["error"] = str(error) or type(error).__name__
    finally:
        await client.aclose()
    return report
