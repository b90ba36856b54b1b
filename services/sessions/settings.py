"""Read the settings of sessions from the environment into one frozen value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from freshet.kafka_clients import KafkaSettings
from freshet.prefix import PrefixSettings
from freshet.settings import setting
from services.sessions.fold.settings import FoldSettings
from shared.access.settings import DoorSettings
from shared.catalogue import stores
from shared.catalogue.active_bundle import SpaceSettings
from shared.runtime.logs import LogSettings
from shared.runtime.redis_client import RedisSettings

NAME: Final = "sessions"


@dataclass(frozen=True)
class SessionsSettings:
    """How the worker runs; what events mean is in `fold`."""

    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    redis: RedisSettings = field(default_factory=RedisSettings)
    names: PrefixSettings = field(default_factory=PrefixSettings)
    logs: LogSettings = field(default_factory=LogSettings)
    door: DoorSettings = field(default_factory=DoorSettings)
    fold: FoldSettings = field(default_factory=FoldSettings)
    space: SpaceSettings = field(default_factory=SpaceSettings)
    group: str = setting("FRESHET_SESSIONS_GROUP", "sessions", help="consumer group on Kafka")
    instance_id: str = setting(
        "FRESHET_INSTANCE_ID",
        "",
        help="name of this worker, unique and the same after a restart: no rebalance then",
    )
    health_port: int = setting(
        "FRESHET_SESSIONS_HEALTH_PORT", 9101, at_least=0, at_most=65_535, help="0: a free one"
    )
    snapshots: str = setting(
        "FRESHET_SNAPSHOTS",
        ".freshet/snapshots",
        form=stores.FORM,
        help="a folder, or a URL such as s3://bucket/snapshots",
    )
    segments: tuple[str, ...] = setting(
        "FRESHET_SEGMENTS",
        (),
        help="the segments that trending is kept for; empty: the first that events name",
    )
    segments_at_most: int = setting(
        "FRESHET_SEGMENTS_AT_MOST",
        250,
        at_least=0,
        at_most=100_000,
        help="of segments that events name: more than countries; up to 100 KB of Redis each",
    )
    unknown_ids_at_most: int = setting(
        "FRESHET_UNKNOWN_IDS_AT_MOST",
        10_000,
        at_least=0,
        at_most=10_000_000,
        help="ids of items that no catalogue knows, for State to show, about 100 bytes each",
    )
    session_timeout_s: float = setting(
        "FRESHET_SESSIONS_SESSION_TIMEOUT_S",
        10.0,
        at_least=1,
        at_most=1_800,
        help="s until the partitions of a silent worker go to others",
    )
    heartbeat_s: float = setting(
        "FRESHET_SESSIONS_HEARTBEAT_S", 3.0, at_least=0.1, at_most=600, help="a third of it"
    )
    fetch_wait_ms: int = setting(
        "FRESHET_SESSIONS_FETCH_WAIT_MS",
        100,
        at_least=1,
        at_most=10_000,
        help="ms the broker holds a fetch that finds nothing; one that finds records never waits",
    )
    batch_records: int = setting(
        "FRESHET_SESSIONS_BATCH_RECORDS",
        4_096,
        at_least=1,
        at_most=100_000,
        help="records of one fetch at most: about 0.2 s of work",
    )
    slice_events: int = setting(
        "FRESHET_SESSIONS_SLICE_EVENTS",
        512,
        at_least=1,
        at_most=100_000,
        help="events folded while the slice before is being written to Redis",
    )
    cache_users: int = setting(
        "FRESHET_SESSIONS_CACHE_USERS",
        50_000,
        at_least=2,
        at_most=10_000_000,
        help="states held in memory, about 2 KB each",
    )
    redis_timeout_s: float = setting(
        "FRESHET_SESSIONS_REDIS_TIMEOUT_S",
        5.0,
        at_least=0.05,
        at_most=60,
        help="s until a silent Redis counts as gone",
    )
    attempt_timeout_s: float = setting(
        "FRESHET_SESSIONS_ATTEMPT_TIMEOUT_S",
        30.0,
        at_least=0.1,
        at_most=600,
        help="s that one attempt at a batch may take before it is made anew",
    )
    stall_s: float = setting(
        "FRESHET_SESSIONS_STALL_S",
        120.0,
        at_least=5,
        at_most=3_600,
        help="s with a lag and no progress, Kafka and Redis being there, after which it ends",
    )
