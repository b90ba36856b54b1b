"""Read the embedding service's settings from the environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from freshet.kafka_clients import KafkaSettings
from freshet.prefix import PrefixSettings
from freshet.settings import Form, setting
from services.embedding.pictures.addresses import private_network
from services.embedding.pictures.storage import check_root
from shared.access.settings import DoorSettings
from shared.bundles.store import BundleStoreSettings
from shared.catalogue import stores
from shared.catalogue.snapshots import HNSW_EF_CONSTRUCTION, HNSW_M
from shared.runtime.logs import LogSettings
from shared.runtime.redis_client import RedisSettings

NAME: Final = "embedding"


@dataclass(frozen=True, slots=True)
class SnapshotSettings:
    """Where snapshots go, when one is made, and how its index is built."""

    url: str = setting(
        "FRESHET_SNAPSHOTS",
        ".freshet/snapshots",
        form=stores.FORM,
        help="a folder, or a URL such as s3://bucket/snapshots",
    )
    every_s: float = setting(
        "FRESHET_SNAPSHOT_EVERY_S",
        3600.0,
        at_least=1,
        help="at most that long between two, if anything changed",
    )
    fresh_ratio: float = setting(
        "FRESHET_SNAPSHOT_FRESH_RATIO",
        0.2,
        at_least=0,
        at_most=10,
        help="changes since the last, over its items",
    )
    fresh_at_least: int = setting(
        "FRESHET_SNAPSHOT_FRESH_AT_LEAST",
        1000,
        at_least=1,
        help="changes that are worth one before the time",
    )
    m: int = setting("FRESHET_HNSW_M", HNSW_M, at_least=4, at_most=64, help="links of a node")
    ef_construction: int = setting(
        "FRESHET_HNSW_EF_CONSTRUCTION",
        HNSW_EF_CONSTRUCTION,
        at_least=16,
        at_most=1000,
        help="candidates while building",
    )
    threads: int = setting(
        "FRESHET_HNSW_THREADS", 1, at_least=1, at_most=64, help="CPUs that may build"
    )
    build_at_most_s: float = setting(
        "FRESHET_SNAPSHOT_AT_MOST_S", 3600.0, at_least=1, help="then the build is given up"
    )


@dataclass(frozen=True, slots=True)
class EmbeddingSettings:
    """All of them."""

    port: int = setting(
        "FRESHET_EMBEDDING_PORT", 50061, at_least=0, at_most=65535, help="gRPC; 0: a free one"
    )
    health_port: int = setting(
        "FRESHET_EMBEDDING_HEALTH_PORT",
        9102,
        at_least=0,
        at_most=65535,
        help="health and metrics; 0: a free one",
    )
    embed_deadline_ms: float = setting(
        "FRESHET_EMBED_DEADLINE_MS",
        30_000.0,
        at_least=1,
        at_most=600_000,
        help="of Embed, where none is set, and the largest of any call",
    )
    query_deadline_ms: float = setting(
        "FRESHET_EMBED_QUERY_DEADLINE_MS",
        2_000.0,
        at_least=1,
        at_most=60_000,
        help="of EmbedQuery, where none is set",
    )
    messages_mib: int = setting(
        "FRESHET_EMBEDDING_MESSAGES_MIB",
        128,
        at_least=32,
        at_most=4096,
        help="requests in memory; one may have 32 MiB",
    )
    bundle: str = setting(
        "FRESHET_BUNDLE",
        "deploy/models/day-zero",
        help="folder of the model bundle that is there without being published",
    )
    encoder_threads: int = setting(
        "FRESHET_EMBEDDING_THREADS",
        0,
        at_least=0,
        at_most=64,
        help="of a model; 0: all usable CPUs",
    )
    decoders: int = setting(
        "FRESHET_EMBEDDING_DECODERS",
        1,
        at_least=1,
        at_most=32,
        help="processes that decode pictures",
    )
    decoder_mib: int = setting(
        "FRESHET_EMBEDDING_DECODER_MIB",
        512,
        at_least=128,
        at_most=8192,
        help="what one picture may take while it is decoded; as much again for a search's picture",
    )
    in_flight_mib: int = setting(
        "FRESHET_EMBEDDING_IN_FLIGHT_MIB",
        32,
        at_least=2,
        at_most=4096,
        help="records under way, in memory",
    )
    image_hosts: tuple[str, ...] = setting(
        "FRESHET_IMAGE_HOSTS", (), help="hosts of image_uri, such as cdn.example.com, *.example.com"
    )
    image_roots: tuple[str, ...] = setting(
        "FRESHET_IMAGE_ROOTS",
        (),
        form=stores.FORM._replace(check=check_root),
        help="storage of image_uri, such as file:///srv/pictures, s3://bucket/pictures",
    )
    image_networks: tuple[str, ...] = setting(
        "FRESHET_IMAGE_NETWORKS",
        (),
        form=Form("private networks such as 10.2.0.0/16", private_network),
        help="private networks that hosts of image_uri may be in, such as 10.2.0.0/16",
    )
    image_mib: int = setting(
        "FRESHET_IMAGE_MIB", 16, at_least=1, at_most=256, help="a picture behind image_uri, in MiB"
    )
    image_megapixels: int = setting(
        "FRESHET_IMAGE_MEGAPIXELS", 64, at_least=1, at_most=170, help="any picture, in millions"
    )
    door: DoorSettings = DoorSettings()
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    names: PrefixSettings = PrefixSettings()
    logs: LogSettings = LogSettings()
    snapshots: SnapshotSettings = SnapshotSettings()
    bundles: BundleStoreSettings = BundleStoreSettings()
