"""What the server answers from, once it is ready."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freshet.v1 import impression_pb2
from services.ranking.listing import Serving
from services.ranking.live.embedding_client import Embedding
from services.ranking.live.forget import Producer
from services.ranking.live.impressions import Impressions
from services.ranking.live.title_words import TitleWords
from services.ranking.pipeline import Pipeline
from shared.users.session_vectors import VectorSettings


@dataclass(frozen=True)
class Engine:
    """All parts, wired together."""

    serving: Serving
    pipeline: Pipeline
    impressions: Impressions
    embedding: Embedding
    producer: Producer  # of forget events
    titles: TitleWords
    blend_weights: NDArray[np.float32]
    vectors: VectorSettings
    snapshot: Callable[[], str]  # name of the one that is served; empty: none

    def versions(self) -> impression_pb2.Versions:
        """Return the versions of everything that makes a list."""
        return impression_pb2.Versions(
            space=self.serving.catalogue.space,
            snapshot=self.snapshot(),
            ranker=self.pipeline.ranker.name,
        )
