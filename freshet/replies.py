"""Hold what ranking answers as plain values: lists, states, explanations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import msgspec

from freshet.contract.position_tokens import PositionToken
from freshet.contract.users import User, user_of_message
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
    rank: int | None = None  # by score, from 0; of recommend: diversity, pins and caps rearrange


class Versions(msgspec.Struct, frozen=True, gc=False):
    """The versions of everything that made a list."""

    space: str = ""
    snapshot: str = ""  # empty: none loaded
    ranker: str = ""


class StageStep(msgspec.Struct, frozen=True, gc=False):
    """What one source or filter did within a stage."""

    name: str
    added: int = 0
    removed: int = 0


class StageTrace(msgspec.Struct, frozen=True, gc=False):
    """What one stage did with the candidates of a list."""

    stage: str  # admit, state, candidates, filter, rank, arrange, answer
    ms: float
    candidates: int | None = None  # that there are after it; None where a stage has none
    steps: tuple[StageStep, ...] = ()
    degraded: tuple[str, ...] = ()  # what this stage had to leave out


class ItemFate(msgspec.Struct, frozen=True, gc=False):
    """What became of an item on the way to a list."""

    stage: str  # where it fell: candidates, filter, rank or arrange; empty: it is listed
    cause: str  # protos/freshet/v1/recommender.proto has them by stage
    position: int | None  # in the list, from 0
    rank: int | None  # by score, from 0; None where it was not ranked
    ranked: int  # how many candidates were
    lowest_listed_score: float


class MissingItem(msgspec.Struct, frozen=True, gc=False):
    """A candidate of the caller's that is not in the list, and why."""

    item_id: str
    fate: ItemFate


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
    trace: tuple[StageTrace, ...] = ()  # filled where asked for
    missing: tuple[MissingItem, ...] = ()  # of `candidates`: those that no larger k would list
    picture_missing: str = (
        ""  # of Similar: why the picture of the item asked about could not be had
    )

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

    item_id: str  # as sent; `key:HEX` where that is not known any more
    type: str
    time_ms: int  # whole seconds
    value: float = 0.0
    starts_session: bool = False
    title: str = ""  # of the item, empty where the catalogue does not know it


class State(msgspec.Struct, frozen=True, gc=False):
    """All that is kept of a user; of an unknown one nothing is."""

    user_id: str
    known: bool
    history: tuple[HistoryEntry, ...] = ()  # oldest first, at most 200
    space: str = ""  # that the vectors belong to
    session_vector: tuple[float, ...] = ()
    long_term_vector: tuple[float, ...] = ()
    interests: tuple[tuple[float, ...], ...] = ()  # at most 3 vectors
    excluded: tuple[str, ...] = ()  # hidden or disliked items, each once
    disliked: tuple[str, ...] = ()  # those of them that are disliked, hidden too or not
    purchased: tuple[str, ...] = ()
    positions: tuple[str, ...] = ()  # tokens: how far the user's events are in here
    forgotten_at_ms: int | None = None
    # Of hidden, disliked and purchased the lists from which the next item drops the oldest.
    full: tuple[str, ...] = ()
    user: User | None = None  # what the shop says of the user beside events

    def __repr__(self) -> str:
        """Show what fits a line: vectors are hundreds of numbers."""
        events = f"{len(self.history)} events, {len(self.interests)} interests"
        return (
            f"<State of {self.user_id!r}: {events}, at {', '.join(self.positions) or 'no event'}>"
        )


class Explanation(msgspec.Struct, frozen=True):
    """One item's score for a user, taken apart, and what became of it."""

    item: RankedItem  # listed or not, with the score that it has or would have
    versions: Versions
    features: dict[str, float]  # the ranker's inputs by name
    fate: ItemFate


def list_of(
    reply: pb.RecommendResponse | pb.SimilarResponse | pb.SearchResponse,
) -> RankedList:
    """Return a reply's list."""
    recommended = reply if isinstance(reply, pb.RecommendResponse) else pb.RecommendResponse()
    return RankedList(
        items=tuple(map(_item_of, reply.items)),
        request_id=reply.request_id,
        degraded=tuple(reply.degraded),
        versions=_versions_of(reply.versions),
        state_positions=_positions_of(recommended.state_position),
        timings={timing.stage: timing.ms for timing in reply.timings},
        trace=tuple(map(_stage_of, recommended.trace)),
        missing=tuple(
            MissingItem(each.item_id, _fate_of(each.fate)) for each in recommended.missing
        ),
        picture_missing=reply.picture_missing if isinstance(reply, pb.SimilarResponse) else "",
    )


def state_of(reply: pb.StateResponse) -> State:
    """Return a reply's state."""
    state = reply.state
    return State(
        user_id=state.user_id,
        known=reply.known,
        history=tuple(
            HistoryEntry(
                item_id=entry.item_id,
                type=entry.type,
                time_ms=entry.time_ms,
                value=entry.value,
                starts_session=entry.starts_session,
                title=entry.title,
            )
            for entry in state.history
        ),
        space=state.space,
        session_vector=tuple(state.session_vector),
        long_term_vector=tuple(state.long_term_vector),
        interests=tuple(tuple(interest.vector) for interest in state.interests),
        excluded=tuple(state.excluded),
        disliked=tuple(state.disliked),
        purchased=tuple(state.purchased),
        positions=_positions_of(state.offsets),
        forgotten_at_ms=state.forgotten_at_ms or None,
        full=tuple(state.full),
        user=user_of_message(state.user) if state.HasField("user") else None,
    )


def explanation_of(reply: pb.ExplainResponse) -> Explanation:
    """Return a reply's explanation."""
    return Explanation(
        item=_item_of(reply.item),
        versions=_versions_of(reply.versions),
        features={feature.name: feature.value for feature in reply.features},
        fate=_fate_of(reply.fate),
    )


def _item_of(item: pb.RankedItem) -> RankedItem:
    return RankedItem(
        item_id=item.item_id,
        score=item.score,
        title=item.title,
        reason=item.reason,
        sources=tuple(item.sources),
        contributions=tuple(Contribution(part.name, part.value) for part in item.contributions),
        rank=item.rank if item.HasField("rank") else None,
    )


def _stage_of(trace: pb.StageTrace) -> StageTrace:
    return StageTrace(
        stage=trace.stage,
        ms=trace.ms,
        candidates=trace.candidates if trace.HasField("candidates") else None,
        steps=tuple(StageStep(step.name, step.added, step.removed) for step in trace.steps),
        degraded=tuple(trace.degraded),
    )


def _fate_of(fate: pb.ItemFate) -> ItemFate:
    return ItemFate(
        stage=fate.stage,
        cause=fate.cause,
        position=fate.position if fate.HasField("position") else None,
        rank=fate.rank if fate.HasField("rank") else None,
        ranked=fate.ranked,
        lowest_listed_score=fate.lowest_listed_score,
    )


def _versions_of(versions: impression_pb2.Versions) -> Versions:
    return Versions(versions.space, versions.snapshot, versions.ranker)


def _positions_of(offsets: Sequence[state_pb2.PartitionOffset]) -> tuple[str, ...]:
    return tuple(str(PositionToken(each.partition, each.offset)) for each in offsets)


Sequence.register(RankedList)
