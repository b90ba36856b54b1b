"""Hold what ranking answers as plain values: lists, states, explanations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import msgspec

from freshet.contract.position_tokens import PositionToken
from freshet.v1 import impression_pb2, state_pb2
from freshet.v1 import recommender_pb2 as pb

SHOWN = 3  # items of a list that its repr names


class Contribution(msgspec.Struct, frozen=True, gc=False):
    """One additive part of a score."""

    name: str  # session, interests, covisits, trending, new, popularity, … or rule:NAME
    value: float


class RankedItem(msgspec.Struct, frozen=True, gc=False):
    """An item of a list."""

    item_id: str
    score: float  # the sum of the contributions
    title: str = ""
    reason: str = ""
    sources: tuple[str, ...] = ()
    contributions: tuple[Contribution, ...] = ()  # filled where asked for


class Versions(msgspec.Struct, frozen=True, gc=False):
    """The versions of everything that made a list."""

    space: str = ""
    snapshot: str = ""  # empty: none loaded
    ranker: str = ""


class RankedList(msgspec.Struct, frozen=True):
    """A list, best first: iterate it, index it, take its length.

    An empty one is false, as any empty sequence.
    """

    items: tuple[RankedItem, ...]
    request_id: str = ""  # give it to the events that the list leads to
    degraded: tuple[str, ...] = ()  # what had to be left out
    versions: Versions = Versions()
    state_positions: tuple[str, ...] = ()  # tokens: how far the user's events are in this list
    timings: dict[str, float] = {}  # stage → ms

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[RankedItem]:
        return iter(self.items)

    def __contains__(self, item: object) -> bool:
        return item in self.items

    def __reversed__(self) -> Iterator[RankedItem]:
        return reversed(self.items)

    @overload
    def __getitem__(self, index: int) -> RankedItem: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[RankedItem, ...]: ...
    def __getitem__(self, index: int | slice) -> RankedItem | tuple[RankedItem, ...]:
        return self.items[index]

    def __repr__(self) -> str:
        """Show what fits a line: how many items, the first ones, what was left out."""
        first = ", ".join(f"{item.item_id} {item.score:.3f}" for item in self.items[:SHOWN])
        more = ", …" if len(self.items) > SHOWN else ""
        left_out = f", degraded: {', '.join(self.degraded)}" if self.degraded else ""
        return f"<RankedList of {len(self.items)}: {first}{more}{left_out}>"


class HistoryEntry(msgspec.Struct, frozen=True, gc=False):
    """One event of a user's history."""

    item_id: str  # `key:HEX` where the catalogue does not know the item
    type: str
    time_ms: int  # whole seconds
    value: float = 0.0
    starts_session: bool = False


class State(msgspec.Struct, frozen=True, gc=False):
    """All that is kept of a user; of an unknown one nothing is."""

    user_id: str
    known: bool
    history: tuple[HistoryEntry, ...] = ()  # oldest first, at most 50
    space: str = ""  # that the vectors belong to
    session_vector: tuple[float, ...] = ()
    long_term_vector: tuple[float, ...] = ()
    interests: tuple[tuple[float, ...], ...] = ()  # at most 3 vectors
    excluded: tuple[str, ...] = ()  # hidden or disliked items
    purchased: tuple[str, ...] = ()
    positions: tuple[str, ...] = ()  # tokens: how far the user's events are in here
    forgotten_at_ms: int | None = None


class Explanation(msgspec.Struct, frozen=True):
    """One item's score for a user, taken apart."""

    item: RankedItem
    versions: Versions
    features: dict[str, float]  # the ranker's inputs by name


def list_of(
    reply: pb.RecommendResponse | pb.SimilarResponse | pb.SearchResponse,
) -> RankedList:
    """Return a reply's list."""
    offsets = reply.state_position if isinstance(reply, pb.RecommendResponse) else ()
    return RankedList(
        items=tuple(map(_item_of, reply.items)),
        request_id=reply.request_id,
        degraded=tuple(reply.degraded),
        versions=_versions_of(reply.versions),
        state_positions=_positions_of(offsets),
        timings={timing.stage: timing.ms for timing in reply.timings},
    )


def state_of(reply: pb.StateResponse) -> State:
    """Return a reply's state."""
    state = reply.state
    return State(
        user_id=state.user_id,
        known=reply.known,
        history=tuple(
            HistoryEntry(
                entry.item_id, entry.type, entry.time_ms, entry.value, entry.starts_session
            )
            for entry in state.history
        ),
        space=state.space,
        session_vector=tuple(state.session_vector),
        long_term_vector=tuple(state.long_term_vector),
        interests=tuple(tuple(interest.vector) for interest in state.interests),
        excluded=tuple(state.excluded),
        purchased=tuple(state.purchased),
        positions=_positions_of(state.offsets),
        forgotten_at_ms=state.forgotten_at_ms or None,
    )


def explanation_of(reply: pb.ExplainResponse) -> Explanation:
    """Return a reply's explanation."""
    return Explanation(
        item=_item_of(reply.item),
        versions=_versions_of(reply.versions),
        features={feature.name: feature.value for feature in reply.features},
    )


def _item_of(item: pb.RankedItem) -> RankedItem:
    return RankedItem(
        item_id=item.item_id,
        score=item.score,
        title=item.title,
        reason=item.reason,
        sources=tuple(item.sources),
        contributions=tuple(Contribution(part.name, part.value) for part in item.contributions),
    )


def _versions_of(versions: impression_pb2.Versions) -> Versions:
    return Versions(versions.space, versions.snapshot, versions.ranker)


def _positions_of(offsets: Sequence[state_pb2.PartitionOffset]) -> tuple[str, ...]:
    return tuple(str(PositionToken(each.partition, each.offset)) for each in offsets)


Sequence.register(RankedList)
