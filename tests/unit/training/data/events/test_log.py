"""Events are collected as what was chosen; a forget undoes those of its user before it."""

from __future__ import annotations

from freshet.contract.events import Event
from services.training.data.events.log import EventLog, collect


def collected(*told: tuple[str, str, str]) -> EventLog:
    return collect(Event(user_id=user, item_id=item, type=type) for user, item, type in told)


def pairs(log: EventLog) -> list[tuple[str, str]]:
    return [
        (log.user_ids[user], log.item_ids[item])
        for user, item in zip(log.users, log.items, strict=True)
    ]


def test_what_says_no_is_left_out_with_its_user_and_item() -> None:
    log = collected(("b", "y", "click"), ("a", "x", "like"), ("c", "z", "hide"))

    assert pairs(log) == [("b", "y"), ("a", "x")]
    assert log.user_ids == ("a", "b")
    assert log.item_ids == ("x", "y")


def test_what_a_user_did_before_a_forget_never_was() -> None:
    log = collected(
        ("a", "gone", "click"),
        ("b", "y", "click"),
        ("a", "", "forget"),
        ("a", "x", "click"),
        ("nobody", "", "forget"),
    )

    assert pairs(log) == [("b", "y"), ("a", "x")]
    assert log.item_ids == ("x", "y")


def test_no_event_is_an_empty_log() -> None:
    assert len(collected()) == 0
    assert len(collected(("a", "x", "click"), ("a", "", "forget"))) == 0
