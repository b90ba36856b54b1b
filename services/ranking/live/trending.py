"""Keep trending at hand: what lists are made of without a read, and while Redis is gone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from freshet.errors import Unavailable
from services.ranking.live.state_reader import Reader
from services.ranking.stages import signals
from services.ranking.stages.features import NO_TREND, Trend, trend_of
from services.ranking.stages.signals import ALL_AT_MOST, SCOPE_AT_MOST, Weighted
from shared.catalogue.catalogue import Applied, Catalogue
from shared.users.keys import ALL_SCOPE, POPULAR_SCOPE

RENEW_EVERY_S: Final = 1.0
AWAIT_EVERY_S: Final = 0.1  # before the first event, so that the first list shows what it says
STALE_AFTER_S: Final = 5.0  # trending halves in 6 hours: some seconds are no difference
TIMEOUT_S: Final = 0.5
SCOPES_AT_MOST: Final = 256  # categories and segments in use; about 1 KB each
FORGET_AFTER_S: Final = 300.0  # a scope that nobody asked for
LOOKED_UP_AT_MOST: Final = 512  # scopes whose rows are kept
SCOPES_AT_ONCE: Final = 8  # so that reading replies does not hold requests up

log = logging.getLogger(__name__)


class LocalTrending:
    """Trending for all and for the scopes in use, renewed each second, sooner while it is empty."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._scopes: dict[str, Weighted] = {}
        self._used_at_s: dict[str, float] = {}
        self._renewed_at_s: float | None = None

    @property
    def scopes(self) -> Mapping[str, Weighted]:
        """The copy; scopes without an item are there and empty."""
        return self._scopes

    @property
    def loaded(self) -> bool:
        """Whether the copy was read at least once."""
        return self._renewed_at_s is not None

    def stale(self, now_s: float) -> bool:
        """Whether the copy is older than it should ever be."""
        return self._renewed_at_s is None or now_s - self._renewed_at_s > STALE_AFTER_S

    def missing(self, scopes: list[str], now_s: float) -> list[tuple[str, int]]:
        """Note that scopes are in use; return those to read now, with how many of their items."""
        for scope in scopes:
            self._used_at_s.pop(scope, None)  # so that the dict's order is that of the last use
            self._used_at_s[scope] = now_s
        while len(self._used_at_s) > SCOPES_AT_MOST:
            self._drop(next(iter(self._used_at_s)))
        return [(scope, SCOPE_AT_MOST) for scope in scopes if scope not in self._scopes]

    def put(self, scope: str, items: Weighted) -> None:
        """Take a scope in that a request has read, if it is still in use."""
        if scope in self._used_at_s:
            self._scopes[scope] = items

    async def renew(self) -> None:
        """Read all scopes in use again. Raises Unavailable."""
        now_s = time.monotonic()
        for scope, used_at_s in list(self._used_at_s.items()):
            if now_s - used_at_s > FORGET_AFTER_S:
                self._drop(scope)
        in_use = [(ALL_SCOPE, ALL_AT_MOST), (POPULAR_SCOPE, ALL_AT_MOST)]
        in_use += [(scope, SCOPE_AT_MOST) for scope in self._used_at_s]
        for start in range(0, len(in_use), SCOPES_AT_ONCE):
            part = in_use[start : start + SCOPES_AT_ONCE]
            _, read = await self._reader.sets([], part, TIMEOUT_S)
            for (scope, _), items in zip(part, read, strict=True):
                before = self._scopes.get(scope)
                if before is None or not signals.equal(before, items):
                    self._scopes[scope] = items  # what stays the same object is not looked up anew
        self._renewed_at_s = now_s

    async def run(self) -> None:
        """Renew until cancelled."""
        lost = False
        while True:
            try:
                await self.renew()
                if lost:
                    log.info("trending is read from Redis again")
                lost = False
            except Unavailable as error:
                if not lost:
                    log.warning("trending stays as it was: %s", error)
                lost = True
            await asyncio.sleep(AWAIT_EVERY_S if self._empty and not lost else RENEW_EVERY_S)

    @property
    def _empty(self) -> bool:
        return not any(len(items.keys) for items in self._scopes.values())

    def _drop(self, scope: str) -> None:
        self._used_at_s.pop(scope, None)
        self._scopes.pop(scope, None)


class TrendRows:
    """Looks scopes up in a catalogue once, until their items or the catalogue's rows change."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._rows: dict[str, tuple[Weighted, Trend]] = {}
        catalogue.listen(self._note)

    def of(self, scopes: Mapping[str, Weighted]) -> Callable[[str], Trend]:
        """Return the function that gives a scope's trend."""

        def of_scope(name: str) -> Trend:
            items = scopes.get(name)
            if items is None or not len(items.keys):
                return NO_TREND
            known = self._rows.get(name)
            if known is None or known[0] is not items:
                if len(self._rows) >= LOOKED_UP_AT_MOST:
                    self._rows.clear()
                known = self._rows[name] = (items, trend_of(items, self._catalogue))
            return known[1]

        return of_scope

    def _note(self, applied: Applied) -> None:
        if applied.added or applied.died:
            self._rows.clear()
