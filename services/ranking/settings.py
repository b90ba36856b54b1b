"""Read what ranking is told by its environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from freshet.access import Access, check_secrecy
from freshet.addresses import ADDRESS
from freshet.kafka_clients import KafkaSettings
from freshet.prefix import PrefixSettings
from freshet.settings import setting
from services.ranking.stages.blend import BlendSettings
from services.ranking.stages.features import FeatureSettings
from services.ranking.stages.new_places import NewPlacesSettings
from shared.access.settings import DoorSettings
from shared.bundles.store import BundleStoreSettings
from shared.catalogue import stores
from shared.catalogue.active_bundle import SpaceSettings
from shared.runtime.logs import LogSettings
from shared.runtime.redis_client import RedisSettings
from shared.users.exclusions import ExclusionSettings
from shared.users.session_vectors import VectorSettings

NAME: Final = "ranking"


@dataclass(frozen=True, slots=True)
class RankingSettings:
    """Addresses, limits, and the numbers that decide."""

    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    redis: RedisSettings = field(default_factory=RedisSettings)
    names: PrefixSettings = field(default_factory=PrefixSettings)
    logs: LogSettings = field(default_factory=LogSettings)
    door: DoorSettings = field(default_factory=DoorSettings)
    access: Access = field(default_factory=Access)
    space: SpaceSettings = field(default_factory=SpaceSettings)
    vectors: VectorSettings = field(default_factory=VectorSettings)
    exclusions: ExclusionSettings = field(default_factory=ExclusionSettings)
    features: FeatureSettings = field(default_factory=FeatureSettings)
    blend: BlendSettings = field(default_factory=BlendSettings)
    new_places: NewPlacesSettings = field(default_factory=NewPlacesSettings)
    bundles: BundleStoreSettings = field(default_factory=BundleStoreSettings)
    port: int = setting(
        "FRESHET_RANKING_PORT", 50051, at_least=0, at_most=65535, help="gRPC; 0: a free one"
    )
    health_port: int = setting(
        "FRESHET_RANKING_HEALTH_PORT",
        9103,
        at_least=0,
        at_most=65535,
        help="health and metrics; 0: a free one",
    )
    embedding_address: str = setting(
        "FRESHET_EMBEDDING_ADDRESS",
        "127.0.0.1:50061",
        form=ADDRESS,
        help="host:port, for Search and pictures",
    )
    impressions_mib: int = setting(
        "FRESHET_IMPRESSIONS_MIB",
        64,
        at_least=1,
        at_most=65_536,
        help="MiB that lists may take which wait for Kafka, about 12 KB each with 50 items",
    )
    snapshots: str = setting(
        "FRESHET_SNAPSHOTS",
        ".freshet/snapshots",
        form=stores.FORM,
        help="a folder, or a URL such as s3://bucket/snapshots",
    )
    ranker: str = setting(
        "FRESHET_RANKER", "", help="an ONNX file; empty: the bundle's, else the blend"
    )
    bundle: str = setting(
        "FRESHET_BUNDLE",
        "deploy/models/day-zero",
        help="folder of the model bundle that is there without being published",
    )
    deadline_ms: float = setting(
        "FRESHET_DEADLINE_MS", 50.0, at_least=1, at_most=60_000, help="of lists, where none is set"
    )
    slow_deadline_ms: float = setting(
        "FRESHET_SLOW_DEADLINE_MS",
        2_000.0,
        at_least=1,
        at_most=60_000,
        help="of the other methods, which may wait for embedding or Kafka, where none is set",
    )
    deadline_at_most_ms: float = setting(
        "FRESHET_DEADLINE_AT_MOST_MS",
        5_000.0,
        at_least=1,
        at_most=60_000,
        help="of any call, whatever its client sets",
    )
    in_flight_at_most: int = setting(
        "FRESHET_IN_FLIGHT_AT_MOST",
        64,
        at_least=1,
        at_most=10_000,
        help="calls at once; beyond it they are refused with push-back",
    )
    after_at_most: int = setting(
        "FRESHET_AFTER_AT_MOST",
        256,
        at_least=0,
        at_most=10_000,
        help="calls beside them that wait for a position (`after`)",
    )
    messages_mib: int = setting(
        "FRESHET_RANKING_MESSAGES_MIB",
        128,
        at_least=8,
        at_most=4096,
        help="requests in memory; a picture may have 4 MiB",
    )

    def __post_init__(self) -> None:
        """Raise BadSetting for a token that others could read on its way to embedding."""
        if self.access.token_source() is not None and not self.door.insecure:
            check_secrecy(self.embedding_address, self.access.tls)
