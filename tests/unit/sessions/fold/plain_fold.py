"""Fold once more, for the reader and not for speed: one event at a time, in plain values.

Read `PlainFold.apply` before services/sessions/fold: it follows the table in
services/sessions/README.md line by line. Tests compare the two, which share nothing but the
settings' numbers and the hash of an item id.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from math import log2

import numpy as np
from numpy.typing import NDArray

from services.sessions.fold.fold import FoldEvent
from services.sessions.fold.settings import FoldSettings
from shared.catalogue.catalogue import Items
from shared.users import keys

EPOCH_S = 946_684_800  # 2000-01-01
ANCHOR_S = 1_796_083_200  # 2026-12-01, until when co-visits had 30 days
MONTH_S = 30 * 86_400
FOR = {"view": 0.5, "click": 1.0, "like": 3.0, "share": 3.0, "cart": 3.0, "purchase": 5.0}
AGAINST = {"dislike": -3.0, "hide": -5.0, "remove": -1.0}
UNDOES = {"unhide": "hide", "undislike": "dislike", "like": "dislike", "refund": "purchase"}
WEIGHTS = {"unhide": 0.0, "undislike": 0.0, "refund": 0.0} | FOR | AGAINST


@dataclass(frozen=True)
class Entry:
    item: int
    type: str
    second: int
    event_id: str | None
    weight: float
    starts_session: bool
    came_with: float  # its weight before it was undone
    known: bool  # whether the catalogue had the item when it came
    repeats: bool = False

    @property
    def came(self) -> bool:
        """Whether the user came to the item, undone since or not."""
        return self.came_with > 0 or self.type == "rate"

    @property
    def visit(self) -> bool:
        """Whether the user came to the item."""
        return self.weight > 0 or self.type == "rate"


@dataclass
class User:
    guard: dict[int, int] = field(default_factory=dict)
    forgotten_at_ms: int = 0
    session_id: str | None = None
    history: list[Entry] = field(default_factory=list)
    # Items by the type of event that put them there, newest last.
    lists: dict[str, list[int]] = field(
        default_factory=lambda: {"hide": [], "dislike": [], "purchase": []}
    )


class PlainFold:
    """Users, and co-visits and trending as weights at the year 2000's scale, in log2 at the end."""

    def __init__(self, items: Items, settings: FoldSettings) -> None:
        self.items, self.settings = items, settings
        self.users: defaultdict[str, User] = defaultdict(User)
        self._covisits: defaultdict[tuple[int, int], list[float]] = defaultdict(list)
        self._trends: defaultdict[tuple[str, int], list[float]] = defaultdict(list)

    @property
    def covisits(self) -> dict[tuple[int, int], float]:
        return {pair: _together(scores) for pair, scores in self._covisits.items()}

    @property
    def trends(self) -> dict[tuple[str, int], float]:
        return {member: _together(scores) for member, scores in self._trends.items()}

    def apply(self, record: FoldEvent) -> None:
        """Give one event its effect."""
        event, user = record.event, self.users[record.event.user_id]
        if record.offset <= user.guard.get(record.partition, -1):
            return  # redelivered
        user.guard[record.partition] = record.offset
        if event.type == "forget":
            if record.record_time_ms > user.forgotten_at_ms:
                self.users[event.user_id] = User(user.guard, record.record_time_ms)
            return
        own_ms = record.record_time_ms if event.time_ms is None else event.time_ms
        time_ms = min(own_ms, record.record_time_ms + self.settings.future_ms)
        if user.forgotten_at_ms and min(time_ms, record.record_time_ms) <= user.forgotten_at_ms:
            return  # forgotten
        if event.event_id and event.event_id in [entry.event_id for entry in user.history]:
            return  # sent twice
        item, weight = keys.item_key(event.item_id), _weight(record)
        known = self._row(item) >= 0
        entry = Entry(
            item, event.type, time_ms // 1000, event.event_id, weight, False, weight, known
        )
        half_life_s = self.settings.half_lives.trending_s
        near = [
            other
            for other in user.history
            if other.item == item and other.came and other.known
            if other.second // half_life_s == entry.second // half_life_s
        ]
        entry = replace(entry, repeats=bool(near) and entry.visit and known)
        before = self._put(user, entry, event.session_id)
        if before is None:
            return  # older than a full history reaches
        if entry.visit and known:
            counted = max(0, *(other.came_with for other in near)) if entry.repeats else 0.0
            share = 1.0
            if len(user.history) == self.settings.vectors.history:
                share = min(
                    1, max(1, user.history[-1].second - user.history[0].second) / half_life_s
                )
            gained = (weight - counted) * share
            self._count(event.context.get("segment"), entry, gained, time_ms / 1000, before)
        self._undo(user, entry, len(before))
        self._exclude(user, entry, len(before))

    def _put(self, user: User, entry: Entry, session_id: str | None) -> list[Entry] | None:
        """Put an entry into the history; return those before it, None when it is too old."""
        history = user.history
        index = sum(other.second <= entry.second for other in history)
        if index == len(history) and session_id and session_id != user.session_id:
            user.session_id = session_id
            entry = replace(entry, starts_session=True)
        history.insert(index, entry)
        if len(history) > self.settings.vectors.history:
            del history[0]
            index -= 1
        return None if index < 0 else history[:index]

    def _undo(self, user: User, entry: Entry, index: int) -> None:
        """Let an event at an index undo what was said of its item before."""
        undone = UNDOES.get(entry.type)
        if undone is None:
            return
        same = [n for n, e in enumerate(user.history) if (e.item, e.type) == (entry.item, undone)]
        for n in same:
            if n < index:
                user.history[n] = _undone(user.history[n])
        if not any(n > index for n in same) and entry.item in user.lists[undone]:
            user.lists[undone].remove(entry.item)

    def _exclude(self, user: User, entry: Entry, index: int) -> None:
        """Put an event's item on the list of its type, unless a later event undid it already."""
        if entry.type not in user.lists:
            return
        for later in user.history[index + 1 :]:
            if later.item == entry.item and UNDOES.get(later.type) == entry.type:
                user.history[index] = _undone(user.history[index])
                return
        keys_ = [key for key in user.lists[entry.type] if key != entry.item]
        user.lists[entry.type] = [*keys_, entry.item][-self.settings.exclusions.at_most :]

    def _count(
        self, segment: str | None, entry: Entry, gained: float, at_s: float, before: list[Entry]
    ) -> None:
        lives, item = self.settings.half_lives, entry.item
        scopes = {"all"} | {f"c:{name}" for name in self.items.categories[self._row(item)]}
        for scope in scopes | ({f"s:{segment}"} if segment else set()):
            if gained > 0:
                score = log2(gained) + (at_s - EPOCH_S) / lives.trending_s
                self._trends[scope, item].append(score)
        if entry.repeats:
            return
        halvings = (ANCHOR_S - EPOCH_S) / MONTH_S + (at_s - ANCHOR_S) / lives.covisits_s
        self._trends["popular", item].append(halvings)
        others = [
            other.item
            for other in before[::-1]
            if other.visit
            and not other.repeats
            and other.item != item
            and self._row(other.item) >= 0
        ]
        nearest = list(dict.fromkeys(others))[: self.settings.covisit_reach]
        for distance, other in enumerate(nearest, start=1):
            self._covisits[other, item].append(halvings - log2(distance) / 2)

    def _row(self, item: int) -> int:
        return int(self.items.rows(np.array([item], np.uint64))[0])

    def vectors(self, user_id: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return session and long-term vector, zero where there is none."""
        history, settings = self.users[user_id].history, self.settings.vectors
        begin = 0
        for n in range(1, len(history)):
            gap = history[n].second - history[n - 1].second > settings.session_gap_s
            if gap or history[n].starts_session:
                begin = n
        return (
            self._unit(history[begin:], settings.session_half_life_s),
            self._unit(history, settings.long_term_half_life_s),
        )

    def _unit(self, entries: list[Entry], half_life_s: float) -> NDArray[np.float64]:
        weights: defaultdict[int, list[float]] = defaultdict(list)
        for entry in entries:
            decay = 2.0 ** (-(entries[-1].second - entry.second) / half_life_s)
            weights[entry.item].append(entry.weight * decay)
        total = np.zeros(self.items.dim)
        for item, given in weights.items():
            row = self._row(item)
            if row >= 0 and sum(given) > 1e-5 * sum(weight for weight in given if weight > 0):
                total += sum(given) * self.items.vectors[row].astype(np.float64)
        norm = float(np.linalg.norm(total))
        return total / norm if norm > 1e-5 else total * 0


def _undone(entry: Entry) -> Entry:
    return replace(entry, type=f"{entry.type} (undone)", weight=0.0)


def _weight(record: FoldEvent) -> float:
    event = record.event
    if event.type != "rate":
        return WEIGHTS.get(event.type, 0.5)
    if event.value is None:
        return 0.0
    return max(-5.0, min(5.0, float(np.float16(min(event.value, 60_000))) - 3))


def _together(scores: list[float]) -> float:
    top = max(scores)
    return top + log2(sum(2 ** (score - top) for score in scores))
