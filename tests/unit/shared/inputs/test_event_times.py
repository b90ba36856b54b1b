from __future__ import annotations

from functools import partial

import pytest

from freshet.contract.events import Event
from shared.inputs.event_times import EventTimes, last_ms
from shared.inputs.refusals import BadInput
from shared.inputs.rows import Fields, Row

DAY_MS = 86_400_000
SPRING_2014_MS = 1_396_310_400_000  # 2014-04-01
NOW_MS = 1_800_000_000_000


def click(time_ms: int | None) -> Event:
    return Event(user_id="ada", item_id="lamp", type="click", time_ms=time_ms)


def test_old_clicks_count_as_if_the_last_were_now_in_their_order_and_distance() -> None:
    times = EventTimes(NOW_MS - SPRING_2014_MS - 3 * DAY_MS)
    old = [click(SPRING_2014_MS + 3 * DAY_MS), click(SPRING_2014_MS), click(None)]
    moved = [times.moved(event).time_ms for event in old]
    assert moved == [NOW_MS, NOW_MS - 3 * DAY_MS, None]
    assert str(times) == (
        "events of 2014-04-01 to 2014-04-04 (3 days) count as if the last were now; "
        "--keep-times leaves their times"
    )


def test_kept_times_are_said_to_count_less_the_longer_ago_they_are() -> None:
    times = EventTimes(0)
    assert times.moved(click(SPRING_2014_MS)) == click(SPRING_2014_MS)
    assert str(times) == (
        "events of 2014-04-01 to 2014-04-01 (0 days) keep their times: "
        "the longer ago, the less they count"
    )


def test_events_without_times_happen_now_and_nothing_is_said_of_them() -> None:
    times = EventTimes(0)
    assert times.moved(click(None)) == click(None)
    assert str(times) == ""


def test_the_last_time_is_found_among_rows_that_cannot_be_used() -> None:
    def make(fields: Fields) -> Event:
        if "time_ms" not in fields:
            raise BadInput("no event")
        return click(fields["time_ms"])

    times: list[Fields] = [{"time_ms": SPRING_2014_MS + 5}, {}, {"time_ms": 1}, {"time_ms": None}]
    rows = [Row(f"clicks.csv:{n}", partial(Fields, fields)) for n, fields in enumerate(times)]
    assert last_ms(rows, make) == SPRING_2014_MS + 5
    assert last_ms(rows[1:2], make) is None


@pytest.mark.parametrize("moved_ms", [-DAY_MS, DAY_MS])
def test_events_are_moved_either_way(moved_ms: int) -> None:
    assert EventTimes(moved_ms).moved(click(NOW_MS)).time_ms == NOW_MS + moved_ms
