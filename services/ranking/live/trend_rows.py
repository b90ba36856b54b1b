"""Trending scopes looked up in the catalogue once, not with each request. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from services.ranking.stages.features import NO_TREND, Trend, trend_of
from services.ranking.stages.signals import Weighted
from shared.catalogue.catalogue import Applied, Catalogue

SCOPES_AT_MOST: Final = 512


class TrendRows:
    """Keeps each scope's rows until its items change, or rows of the catalogue do."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._kept: dict[str, tuple[Weighted, Trend]] = {}
        catalogue.listen(self._note)

    def of(self, scopes: Mapping[str, Weighted]) -> Callable[[str], Trend]:
        """Return the function that gives a scope's trend."""

        def of_scope(name: str) -> Trend:
            items = scopes.get(name)
            if items is None or not len(items.keys):
                return NO_TREND
            kept = self._kept.get(name)
            if kept is None or kept[0] is not items:
                if len(self._kept) >= SCOPES_AT_MOST:
                    self._kept.clear()
                kept = self._kept[name] = (items, trend_of(items, self._catalogue))
            return kept[1]

        return of_scope

    def _note(self, applied: Applied) -> None:
        if applied.added or applied.died:
            self._kept.clear()
