"""Hold all that lists of one space are made from, wired together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from freshet.v1 import impression_pb2
from services.ranking.index import watch
from services.ranking.index.served import IndexSearcher, ServedIndex
from services.ranking.live.filters import ItemFilter
from services.ranking.live.item_words import ItemWords
from services.ranking.live.newest import Newest
from services.ranking.live.offers import Offers
from services.ranking.live.state_reader import Reader
from services.ranking.live.trending import LocalTrending, TrendRows
from services.ranking.models.tower_search import TowerSearch
from services.ranking.settings import RankingSettings
from services.ranking.stages.blend import BlendRanker, Ranker
from services.ranking.stages.features import FeatureSettings
from shared.bundles.towers import OnnxSessionTower
from shared.catalogue.catalogue import Catalogue
from shared.catalogue.snapshots import Snapshot
from shared.clock import now_ms
from shared.users.exclusions import ExclusionSettings
from shared.users.session_vectors import VectorSettings


@dataclass(frozen=True)
class ServingSpace:
    """One space as it is served, in memory; one event loop changes it."""

    catalogue: Catalogue
    index: ServedIndex
    searcher: IndexSearcher  # of the index
    newest: Newest
    offers: Offers  # prices, stock and windows by row, with the items' own
    filter: ItemFilter
    words: ItemWords
    trend_rows: TrendRows
    reader: Reader  # of states and co-visits
    trending: LocalTrending
    tower: TowerSearch | None  # of the bundle's session tower
    ranker: Ranker
    fallback: BlendRanker  # needs nothing but the features
    features: FeatureSettings
    new_share: float  # of a list's places, for new items
    vectors: VectorSettings
    exclusions: ExclusionSettings
    now_ms: Callable[[], int]

    @classmethod
    def build(
        cls,
        catalogue: Catalogue,
        reader: Reader,
        settings: RankingSettings,
        *,
        snapshot: Snapshot | None = None,
        trending: LocalTrending | None = None,
        ranker: Ranker | None = None,
        tower: OnnxSessionTower | None = None,
        now_ms: Callable[[], int] = now_ms,
    ) -> ServingSpace:
        """Wire a space over a catalogue, which nothing may change meanwhile. Blocking.

        snapshot: that the catalogue was begun with. ranker: None for the blend. tower: None where
        the bundle has none.
        """
        index = watch.begin(catalogue, snapshot)
        offers = Offers(catalogue)
        blend = BlendRanker(settings.blend)
        return cls(
            catalogue=catalogue,
            index=index,
            searcher=IndexSearcher(index),
            newest=Newest(catalogue),
            offers=offers,
            filter=ItemFilter(catalogue, offers),
            words=ItemWords(catalogue),
            trend_rows=TrendRows(catalogue),
            reader=reader,
            trending=trending or LocalTrending(reader),
            tower=None if tower is None else TowerSearch(tower, catalogue, snapshot),
            ranker=ranker or blend,
            fallback=blend,
            features=settings.features,
            new_share=settings.new_places.share,
            vectors=settings.vectors,
            exclusions=settings.exclusions,
            now_ms=now_ms,
        )

    def versions(self) -> impression_pb2.Versions:
        """Return the versions of everything that makes a list."""
        return impression_pb2.Versions(
            space=self.catalogue.space, snapshot=self.index.name, ranker=self.ranker.name
        )
