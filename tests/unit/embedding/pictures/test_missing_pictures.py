"""Which items lack their picture, and when each is tried again."""

from __future__ import annotations

from services.embedding.pictures.missing_pictures import FIRST_S, LATEST_S, MissingPictures

GONE = "picture-not-fetched: picture cannot be fetched: cdn.example.com answered 404"
BAD = "bad-picture: not a picture but a page in HTML or XML"


def test_missing_picture_is_due_after_a_while_and_then_ever_more_seldom() -> None:
    missing = MissingPictures()
    missing.note("a", GONE, True, 0.0)
    assert list(missing.due(FIRST_S - 1)) == []
    dues, now_s = [], 0.0
    while now_s < 4 * LATEST_S:
        now_s += 1.0
        dues += [now_s for _ in missing.due(now_s)]
    waits = [later - earlier for earlier, later in zip(dues, dues[1:], strict=False)]
    assert dues[0] == FIRST_S
    assert waits[:3] == [2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S]
    assert waits[-1] == LATEST_S


def test_picture_that_is_there_or_whose_item_is_gone_is_due_no_more() -> None:
    missing = MissingPictures()
    missing.note("a", GONE, True, 0.0)
    missing.note("a", "", True, 1.0)
    assert list(missing.due(LATEST_S)) == []
    assert not +missing.counts


def test_update_without_its_picture_makes_one_due_and_not_two() -> None:
    missing = MissingPictures()
    missing.note("a", GONE, True, 0.0)
    missing.note("a", BAD, True, 1.0)
    assert list(missing.due(LATEST_S)) == ["a"]
    assert +missing.counts == {"bad-picture": 1}


def test_picture_within_its_item_is_counted_and_never_tried_again() -> None:
    missing = MissingPictures()
    missing.note("a", BAD, False, 0.0)
    assert list(missing.due(10 * LATEST_S)) == []
    assert +missing.counts == {"bad-picture": 1}


def test_what_waits_is_bounded() -> None:
    missing = MissingPictures(at_most=2)
    for item_id in "abc":
        missing.note(item_id, GONE, True, 0.0)
    missing.note("a", GONE, True, 1.0)
    assert sorted(missing.due(LATEST_S)) == ["a", "b"]
    assert missing.left_out == 1
