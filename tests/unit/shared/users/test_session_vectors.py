"""Session, long-term and interests, on items whose directions are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.users.event_types import CODES
from shared.users.session_vectors import VectorSettings, marked, session_vectors
from shared.users.states import ENTRY, LACKS_VECTOR, STARTS_SESSION, UserVectors
from tests.unit.sessions.kit import NOW_S, MemoryItems, key_of

SETTINGS = VectorSettings()
MINUTE, DAY = 60, 86_400
ITEMS = MemoryItems(np.eye(6))


def history(*events: tuple[int, str, int], starts: Sequence[int] = ()) -> bytes:
    """Return entries of (item, type, seconds ago); `starts`: which start a session by their id."""
    return np.array(
        [
            (key_of(item), NOW_S - ago_s, 0, 0, CODES[kind], STARTS_SESSION * (n in starts))
            for n, (item, kind, ago_s) in enumerate(events)
        ],
        ENTRY,
    ).tobytes()


def vectors_of(entries: bytes, items: MemoryItems = ITEMS) -> UserVectors:
    (found,) = session_vectors([entries], items, SETTINGS)
    return found


def unit(*numbers: float) -> NDArray[np.float64]:
    padded = np.array([*numbers, *[0.0] * (6 - len(numbers))])
    scaled: NDArray[np.float64] = padded / np.linalg.norm(padded)
    return scaled


def test_session_halves_after_twenty_minutes() -> None:
    found = vectors_of(history((0, "click", 20 * MINUTE), (1, "click", 0)))
    assert found.session == pytest.approx(unit(0.5, 1), abs=0.005)


def test_long_term_halves_after_fourteen_days() -> None:
    found = vectors_of(history((0, "click", 14 * DAY), (1, "click", 0)))
    assert found.long_term == pytest.approx(unit(0.5, 1), abs=0.005)


def test_a_gap_over_half_an_hour_starts_the_session_anew() -> None:
    whole = history((0, "click", 30 * MINUTE), (1, "click", 0))
    parted = history((0, "click", 30 * MINUTE + 1), (1, "click", 0))
    assert vectors_of(whole).session == pytest.approx(unit(0.354, 1), abs=0.005)
    assert vectors_of(parted).session == pytest.approx(unit(0, 1), abs=0.005)


def test_a_new_session_id_starts_the_session_anew() -> None:
    found = vectors_of(history((0, "click", 60), (1, "click", 30), (2, "click", 30), starts=[1]))
    assert found.session == pytest.approx(unit(0, 1, 1), abs=0.005)
    assert found.long_term == pytest.approx(unit(1, 1, 1), abs=0.005)


def test_a_session_may_last_longer_than_its_gap() -> None:
    found = vectors_of(history(*[(0, "click", n * 25 * MINUTE) for n in range(9, -1, -1)]))
    assert found.session == pytest.approx(unit(1), abs=0.005)


def test_weights_count_and_what_is_disliked_has_no_part() -> None:
    found = vectors_of(history((0, "purchase", 0), (1, "click", 0), (2, "dislike", 0)))
    assert found.session == pytest.approx(unit(5, 1), abs=0.005)
    assert found.long_term == pytest.approx(unit(5, 1), abs=0.005)


def test_what_is_taken_back_counts_for_that_much_less() -> None:
    found = vectors_of(
        history((0, "cart", 0), (1, "click", 0), (0, "remove", 0), (2, "like", 0), (2, "hide", 0))
    )
    assert found.session == pytest.approx(unit(2, 1), abs=0.005)
    assert found.interests == pytest.approx(np.eye(6)[[0, 1]], abs=0.005)


def test_age_counts_from_the_last_event_not_from_now() -> None:
    events = [(0, "click", 20 * MINUTE), (1, "click", 0)]
    old = [(item, kind, ago + 300 * DAY) for item, kind, ago in events]
    assert vectors_of(history(*old)).data == vectors_of(history(*events)).data


def test_interests_are_led_by_the_weightiest_then_the_newest() -> None:
    found = vectors_of(
        history((0, "click", 9), (1, "click", 9), (2, "like", 9), (3, "view", 0), (1, "click", 8))
    )
    assert found.interests == pytest.approx(np.eye(6)[[2, 1, 0]], abs=0.005)


def test_of_equal_weights_at_one_second_the_later_entry_leads() -> None:
    found = vectors_of(history(*[(n, "click", 0) for n in range(4)]))
    assert found.interests == pytest.approx(np.eye(6)[[3, 2, 1]], abs=0.005)


def test_an_interest_takes_in_what_is_close_to_its_leader() -> None:
    leaning = np.eye(6)
    leaning[1] = [0.8, 0.6, 0, 0, 0, 0]  # cosine .8 with item 0
    leaning[2] = [0.4, 0, 0.917, 0, 0, 0]  # cosine .4 with item 0
    found = vectors_of(
        history((1, "click", 0), (2, "click", 0), (0, "like", 0)), MemoryItems(leaning)
    )
    assert found.interests == pytest.approx(
        np.array([unit(3.8, 0.6), unit(0.4, 0, 0.917)]), abs=0.005
    )


def test_dislikes_are_no_interest() -> None:
    found = vectors_of(history((0, "dislike", 0), (1, "click", 0), (2, "hide", 0)))
    assert found.interests == pytest.approx(np.eye(6)[[1]], abs=0.005)


def test_what_is_disliked_alone_gives_no_direction() -> None:
    assert vectors_of(history((0, "dislike", 0), (1, "remove", 0), (2, "hide", 0))).present == 0


def test_items_that_cancel_leave_no_direction() -> None:
    against = MemoryItems([[1, 0], [-1, 0]])
    found = vectors_of(history((0, "click", 0), (1, "click", 0)), against)
    assert found.session is None
    assert found.long_term is None
    assert found.interests == pytest.approx(np.array([[-1, 0], [1, 0]]), abs=0.005)


def test_a_millionth_of_what_cancels_is_rounding_and_no_direction() -> None:
    items = MemoryItems([[1, 0], [-1, 0], [0, 1]])
    found = vectors_of(
        history((2, "click", 14 * DAY * 22), (0, "click", 0), (1, "click", 0)), items
    )
    assert found.long_term is None


def test_a_leader_belongs_to_its_interest_at_a_cosine_of_one() -> None:
    items = MemoryItems(np.random.default_rng(4).standard_normal((40, 5)))
    entries = [history((row, "click", 0)) for row in range(40)]
    for found in session_vectors(entries, items, VectorSettings(interest_cosine=1.0)):
        assert len(found.interests) == 1


@pytest.mark.parametrize("entries", [b"", history((9, "click", 0)), history((0, "rate", 0))])
def test_nothing_to_go_by_gives_no_vectors(entries: bytes) -> None:
    assert vectors_of(entries) == UserVectors("test", 6, 0, b"")


def test_entries_are_marked_for_as_long_as_their_item_has_no_vector() -> None:
    both = history((0, "click", 9), (4, "click", 0), starts=[0, 1])
    few, all_ = MemoryItems(np.eye(6)[:1]), ITEMS
    (lacking,) = marked([both], few)
    assert np.frombuffer(lacking, ENTRY)["flags"].tolist() == [
        STARTS_SESSION,
        STARTS_SESSION | LACKS_VECTOR,
    ]
    assert marked([both, lacking, b""], few) == [lacking, lacking, b""]
    assert marked([lacking, b"", both], all_) == [both, b"", both]


def test_an_unknown_item_is_left_out() -> None:
    found = vectors_of(history((9, "purchase", 0), (1, "click", 0)))
    assert found.session == pytest.approx(unit(0, 1), abs=0.005)


def test_a_catalogue_without_items_gives_no_vectors() -> None:
    nothing = MemoryItems(np.empty((0, 6)))
    assert vectors_of(history((0, "click", 0)), nothing).present == 0


def test_histories_of_centuries_are_no_trouble() -> None:
    found = vectors_of(history((0, "click", NOW_S), (1, "click", 0)))
    assert found.long_term == pytest.approx(unit(0, 1), abs=0.005)


def test_vectors_of_nobody_are_an_empty_list() -> None:
    assert session_vectors([], ITEMS, SETTINGS) == []


def crowd(users: int, items: int, seed: int = 3) -> list[bytes]:
    """Return histories of 0 to 50 entries."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(users):
        entries = np.zeros(int(random.integers(0, 51)), ENTRY)
        entries["item"] = [key_of(int(row)) for row in random.integers(0, items, len(entries))]
        entries["seconds"] = np.sort(random.integers(NOW_S - 9000, NOW_S, len(entries)))
        entries["type"] = random.integers(1, 11, len(entries))
        found.append(entries.tobytes())
    return found


@pytest.mark.parametrize("dim", [3, 64, 100])
def test_a_users_bytes_do_not_depend_on_who_stands_beside(dim: int) -> None:
    items = MemoryItems(np.random.default_rng(4).standard_normal((300, dim)))
    histories = crowd(600, 300)
    together = session_vectors(histories, items, SETTINGS)
    backwards = session_vectors(histories[::-1], items, SETTINGS)[::-1]
    alone = [session_vectors([one], items, SETTINGS)[0] for one in histories]
    assert together == backwards == alone


def test_a_large_catalogue_gives_the_bytes_of_a_small_one() -> None:
    # Few entries and many rows: rows are converted one by one, not once for each distinct one.
    vectors = np.random.default_rng(4).standard_normal((5_000, 16))
    (history_,) = crowd(1, 300)
    small, large = MemoryItems(vectors[:300]), MemoryItems(vectors)
    assert session_vectors([history_], small, SETTINGS) == session_vectors(
        [history_], large, SETTINGS
    )


def test_vectors_have_unit_length_within_the_rounding_to_int8() -> None:
    items = MemoryItems(np.random.default_rng(4).standard_normal((300, 64)))
    for found in session_vectors(crowd(50, 300), items, SETTINGS):
        for vector in [*found.interests, *([] if found.session is None else [found.session])]:
            assert np.linalg.norm(vector) == pytest.approx(1, abs=0.01)


def test_vectors_stay_what_they_are() -> None:
    """Golden: other numbers mean that vectors stored so far differ from those folded from now on.

    A level may round to its neighbour on another processor.
    """
    items = MemoryItems(np.random.default_rng(4).standard_normal((300, 4)))
    (found,) = session_vectors(crowd(1, 300), items, SETTINGS)
    assert found.present == 15
    levels = np.frombuffer(found.data, np.int8).reshape(5, 8)[:, 4:]
    golden = [
        [-5, 127, -75, -48],
        [-97, 75, -87, -127],
        [-43, 100, -102, -127],
        [-127, -112, 108, -125],
        [-14, 127, 94, 108],
    ]
    assert levels == pytest.approx(np.array(golden), abs=1)
