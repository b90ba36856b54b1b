"""What ranking answers, as people and programs see it."""

from __future__ import annotations

import json

import pytest
from rich.console import RenderableType

from freshet.contract.users import User, user_message
from freshet.v1 import recommender_pb2 as pb
from freshet.v1 import state_pb2
from services.cli import lists
from services.cli.terminal import Terminal

ITEMS = [pb.RankedItem(item_id="lamp", title="A lamp", score=1.5, reason="new")]
TRACE = [
    pb.StageTrace(stage="state", ms=1.25, degraded=["trending_stale"]),
    pb.StageTrace(
        stage="candidates",
        candidates=512,
        steps=[pb.StageStep(name="session", added=180), pb.StageStep(name="covisits", added=140)],
    ),
    pb.StageTrace(
        stage="filter", candidates=459, steps=[pb.StageStep(name="in_stock", removed=41)]
    ),
]


def shown(what: RenderableType, width: int = 200) -> list[str]:
    """Return the lines that people see, runs of spaces as one."""
    console = Terminal()
    console.width = width
    with console.capture() as captured:
        console.print(what)
    return [" ".join(line.split()) for line in captured.get().splitlines()]


def test_a_trace_shows_stage_by_stage_what_was_proposed_removed_and_left() -> None:
    lines = shown(lists.ranked(pb.RecommendResponse(items=ITEMS, trace=TRACE)))
    assert "state 1.2 left out: trending_stale" in lines
    assert "candidates 0.0 session 180 · covisits 140 512" in lines
    assert "filter 0.0 in_stock −41 459" in lines


def test_a_list_of_similar_items_says_why_a_picture_is_missing() -> None:
    reply = pb.SimilarResponse(items=ITEMS, picture_missing="bad-picture: cut off")
    assert "the item's picture is missing: bad-picture: cut off" in shown(lists.ranked(reply))


def test_an_arranged_list_shows_what_each_item_gained_or_lost_by_it() -> None:
    items = [
        pb.RankedItem(item_id=name, score=score, rank=rank, reason="popular")
        for name, score, rank in (("lamp", 3, 0), ("rug", 1, 2), ("chair", 2, 1))
    ]
    lines = shown(lists.ranked(pb.RecommendResponse(items=items)))
    assert lines[0] == "item title score by score why"
    assert lines[1:4] == [
        "1 lamp 3.000 1 popular",
        "2 rug 1.000 3 (+1) popular",
        "3 chair 2.000 2 (-1) popular",
    ]
    assert lines[4].startswith("arranged for diversity")


def test_a_list_in_the_order_of_its_scores_says_nothing_of_arranging() -> None:
    items = [pb.RankedItem(item_id="lamp", score=3, rank=0)]
    for reply in (pb.RecommendResponse(items=items), pb.SearchResponse(items=ITEMS)):
        lines = shown(lists.ranked(reply))
        assert not any("by score" in line for line in lines)


def test_candidates_that_cannot_be_listed_are_named_with_why() -> None:
    fate = pb.ItemFate(stage="filter", cause="seen")
    reply = pb.RecommendResponse(missing=[pb.MissingItem(item_id="[/rug]", fate=fate)])
    assert "not listed: [/rug] (fell at filter, seen)" in shown(lists.ranked(reply))


def test_without_a_trace_timings_stay_one_line() -> None:
    timings = [pb.StageTiming(stage="state", ms=1.26), pb.StageTiming(stage="rank", ms=0.5)]
    lines = shown(lists.ranked(pb.RecommendResponse(items=ITEMS, timings=timings)))
    assert "ms: state 1.3 · rank 0.5" in lines


def test_programs_see_the_field_of_a_trace_only_where_it_was_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reply = pb.RecommendResponse(items=ITEMS)
    lists.show(reply, lambda: "", as_json=True, hidden=("trace",))
    assert list(json.loads(capsys.readouterr().out)) == [
        "items",
        "request_id",
        "degraded",
        "state_position",
        "timings",
        "missing",
    ]
    lists.show(reply, lambda: "", as_json=True)
    assert json.loads(capsys.readouterr().out)["trace"] == []


def test_a_state_shows_types_by_name_and_which_lists_are_full() -> None:
    history = [state_pb2.HistoryEntry(item_id="lamp", type="swipe", time_ms=0)]
    state = state_pb2.UserState(user_id="ann", history=history, full=["hidden", "purchased"])
    lines = shown(lists.user_state(pb.StateResponse(state=state, known=True)))
    assert lines[1] == "1970-01-01 00:00:00 swipe lamp"
    assert lines[-1] == "full: hidden, purchased; the next item there drops the oldest"


def test_a_state_shows_what_the_shop_says() -> None:
    user = User(
        user_id="ann",
        country="JP",
        segments=("vip",),
        attributes={"age": "25-34", "orders": 12.0, "newsletter": False},
    )
    state = state_pb2.UserState(user_id="ann", user=user_message(user))
    said = shown(lists.user_state(pb.StateResponse(state=state, known=True)))[-1]
    assert said == (
        "the shop says: segment vip · country JP · age 25-34 · newsletter no · orders 12"
    )


def test_an_explanation_shows_the_score_taken_apart_and_where_the_item_fell() -> None:
    parts = [pb.Contribution(name="new", value=0.5), pb.Contribution(name="dislike", value=-0.75)]
    item = pb.RankedItem(item_id="lamp", title="A lamp", score=-0.25, contributions=parts)
    fate = pb.ItemFate(stage="rank", cause="score", rank=36, ranked=459, lowest_listed_score=0.5)
    lines = shown(lists.explanation(pb.ExplainResponse(item=item, fate=fate)))
    assert lines[0] == "lamp A lamp"
    assert lines[2:5] == ["dislike -0.750", "new +0.500", "score -0.250"]
    said = "not listed: fell at rank, score (rank 37 of 459; lowest listed score 0.500)"
    assert lines[5] == said
    listed = pb.ItemFate(position=2, rank=0, ranked=459)
    last = shown(lists.explanation(pb.ExplainResponse(item=item, fate=listed)))[-1]
    assert last == "listed at 3 (rank 1 of 459)"


def test_a_list_with_its_scores_taken_apart_fits_80_columns() -> None:
    parts = [pb.Contribution(name=f"part-{number}", value=0.125) for number in range(12)]
    item = pb.RankedItem(
        item_id="a-rather-long-item-id-1234",
        title="Blue garden hose with a title that goes on for quite some time",
        reason="like “Green garden rake with a title that goes on, too”",
        contributions=parts,
    )
    lines = shown(lists.ranked(pb.RecommendResponse(items=[item]), explain=True), width=80)

    text = " ".join(lines)
    for part in parts:
        assert part.name in text.replace("- ", "-")


def test_a_state_shows_what_its_items_are_called() -> None:
    entry = state_pb2.HistoryEntry(item_id="lamp", type="click", time_ms=0, title="A lamp")
    state = state_pb2.UserState(user_id="u", history=[entry])

    lines = shown(lists.user_state(pb.StateResponse(state=state, known=True)))

    assert lines[1] == "1970-01-01 00:00:00 click lamp A lamp"
