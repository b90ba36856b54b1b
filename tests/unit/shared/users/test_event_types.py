from __future__ import annotations

import numpy as np
import pytest

from freshet.contract.events import TYPES
from freshet.settings import BadSetting, from_environment
from shared.users.event_types import CODES, FORGET, OTHER, RATE, UNDONE, UNKNOWN, EventWeights
from shared.users.states import ENTRY, HAS_VALUE


def entry(code: int, value: float = 0.0, flags: int = 0) -> tuple[int, int, int, float, int, int]:
    return (1, 1, 0, value, code, flags)


def test_every_type_has_its_own_code_for_ever() -> None:
    assert sorted(CODES.values()) == list(range(14))  # stored in histories: never renumber
    assert CODES["forget"] == FORGET == 0
    assert (CODES["view"], CODES["rate"], CODES["remove"]) == (1, RATE, 10)
    assert (CODES["unhide"], CODES["undislike"], CODES["refund"]) == (11, 12, 13)


def test_every_type_of_the_contract_has_a_code() -> None:
    assert set(CODES) == set(TYPES)


def test_weights_come_from_the_environment() -> None:
    weights = from_environment(
        EventWeights,
        {"FRESHET_WEIGHT_CLICK": "2", "FRESHET_WEIGHTS_NAMED": "listen=1.5, Return=-2"},
    )
    codes = [CODES["click"], weights.codes["listen"], weights.codes["return"], OTHER]
    found = weights.of(np.array([entry(code) for code in codes], ENTRY))
    assert found.tolist() == [2, 1.5, -2, 0.5]


def test_weights_take_the_shape_of_the_entries() -> None:
    entries = np.array([[entry(1), entry(2)], [entry(9), entry(0)]], ENTRY)
    assert EventWeights().of(entries).tolist() == [[0.5, 1], [-5, 0]]


def test_a_rating_weighs_by_its_value_within_bounds_and_nothing_without() -> None:
    values = [1.0, 3.0, 4.5, 99.0, float("inf"), float("nan")]
    entries = [*(entry(RATE, value, HAS_VALUE) for value in values), entry(RATE, 4.5)]
    assert EventWeights().of(np.array(entries, ENTRY)).tolist() == [-2, 0, 1.5, 5, 5, 0, 0]


def test_codes_of_named_types_do_not_depend_on_their_order() -> None:
    one, other = EventWeights(named=("listen=1", "return=2")), EventWeights(named=("Return=2",))
    assert one.codes["return"] == other.codes["return"]
    assert 128 <= one.codes["return"] < OTHER


def test_codes_have_names() -> None:
    weights = EventWeights(named=("listen=1",))
    assert weights.name_of(CODES["hide"]) == "hide"
    assert weights.name_of(weights.codes["listen"]) == "listen"
    assert weights.name_of(OTHER) == weights.name_of(200) == weights.name_of(UNKNOWN) == "other"
    assert weights.name_of(UNDONE + CODES["hide"]) == "hide (undone)"
    assert weights.name_of(UNKNOWN + 1, ("swipe", "zoom")) == "zoom"


def test_what_was_undone_weighs_nothing_and_what_nobody_weighs_as_others_do() -> None:
    codes = [*CODES.values()], [code + UNDONE for code in CODES.values()], [UNKNOWN, OTHER - 1]
    _, undone, unknown = (
        EventWeights(other=0.25).of(np.array([entry(code) for code in some], ENTRY))
        for some in codes
    )
    assert not undone.any()
    assert unknown.tolist() == [0.25, 0.25]


@pytest.mark.parametrize(
    "named", ["listen", "=1", "listen=much", "listen=nan", "x=101", "click=1", "Click=1"]
)
def test_a_weight_that_cannot_be_used_is_refused_by_name(named: str) -> None:
    with pytest.raises(BadSetting, match=f"FRESHET_WEIGHTS_NAMED must be .* was '{named}'"):
        EventWeights(named=("good=1", named))


def test_two_types_that_histories_could_not_tell_apart_are_refused() -> None:
    with pytest.raises(BadSetting, match="could not tell the types"):
        EventWeights(named=tuple(f"type-{n}=1" for n in range(128)))
