"""Give each type of event its code, one byte, and its weight.

A history entry keeps its event's type as a code:

    0-31      types of the contract, fixed for ever
    32-63     the same, of events that were undone since: they weigh nothing
    64-127    types that nobody weighs: the number of their name in the state, plus 64
    128-254   types that the settings weigh: a hash of the name, so that their order means nothing
    255       OTHER: a type whose name the state lacks, as 0.1.0 wrote it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from freshet.settings import BadSetting, setting
from shared.users.log2_weights import NEVER
from shared.users.states import ENTRY, HAS_VALUE

FORGET: Final = 0  # never stands in a history; nothing, as padding before a history, is 0 too
VIEW: Final = 1
CLICK: Final = 2
LIKE: Final = 3
SHARE: Final = 4
CART: Final = 5
PURCHASE: Final = 6
RATE: Final = 7
DISLIKE: Final = 8
HIDE: Final = 9
REMOVE: Final = 10
UNHIDE: Final = 11
UNDISLIKE: Final = 12
REFUND: Final = 13
UNDONE: Final = 32  # added to the code of an event that was undone
UNKNOWN: Final = 64  # added to the number of a name
OTHER: Final = 255

CODES: Final = {
    "forget": FORGET,
    "view": VIEW,
    "click": CLICK,
    "like": LIKE,
    "share": SHARE,
    "cart": CART,
    "purchase": PURCHASE,
    "rate": RATE,
    "dislike": DISLIKE,
    "hide": HIDE,
    "remove": REMOVE,
    "unhide": UNHIDE,
    "undislike": UNDISLIKE,
    "refund": REFUND,
}
UNDOES: Final = {UNHIDE: HIDE, UNDISLIKE: DISLIKE, LIKE: DISLIKE, REFUND: PURCHASE}
_SILENT: Final = np.zeros(256, np.bool_)
_SILENT[[UNHIDE, UNDISLIKE, REFUND]] = _SILENT[UNDONE:UNKNOWN] = True
_FIRST_OF_SETTINGS: Final = 128  # to 254


@dataclass(frozen=True)
class EventWeights:
    """How much an event of each type says about its user's taste; negative: against it."""

    view: float = setting(
        "FRESHET_WEIGHT_VIEW", 0.5, at_least=-100, at_most=100, help="seen, no choice yet"
    )
    click: float = setting(
        "FRESHET_WEIGHT_CLICK", 1.0, at_least=-100, at_most=100, help="the unit of weights"
    )
    like: float = setting(
        "FRESHET_WEIGHT_LIKE", 3.0, at_least=-100, at_most=100, help="said, not only done"
    )
    share: float = setting(
        "FRESHET_WEIGHT_SHARE", 3.0, at_least=-100, at_most=100, help="as a like"
    )
    cart: float = setting(
        "FRESHET_WEIGHT_CART", 3.0, at_least=-100, at_most=100, help="meant, not paid"
    )
    purchase: float = setting(
        "FRESHET_WEIGHT_PURCHASE", 5.0, at_least=-100, at_most=100, help="paid for"
    )
    rate_middle: float = setting(
        "FRESHET_WEIGHT_RATE_MIDDLE",
        3.0,
        at_least=-1000,
        at_most=1000,
        help="a rating weighs its value less this: 3 is the middle of 1-5; without value nothing",
    )
    rate_at_most: float = setting(
        "FRESHET_WEIGHT_RATE_AT_MOST",
        5.0,
        at_least=0,
        at_most=100,
        help="no rating weighs more than this, for or against, whatever scale a client uses",
    )
    dislike: float = setting(
        "FRESHET_WEIGHT_DISLIKE", -3.0, at_least=-100, at_most=100, help="a like, turned round"
    )
    hide: float = setting(
        "FRESHET_WEIGHT_HIDE", -5.0, at_least=-100, at_most=100, help="never again"
    )
    remove: float = setting(
        "FRESHET_WEIGHT_REMOVE", -1.0, at_least=-100, at_most=100, help="a click taken back"
    )
    other: float = setting(
        "FRESHET_WEIGHT_OTHER",
        0.5,
        at_least=-100,
        at_most=100,
        help="types that no setting names: as a view, the weakest sign",
    )
    named: tuple[str, ...] = setting(
        "FRESHET_WEIGHTS_NAMED", (), help="weights of further types: listen=1,return=-2"
    )

    def __post_init__(self) -> None:
        """Refuse, with BadSetting, named weights that cannot be used."""
        _named_codes(self.named)

    @cached_property
    def codes(self) -> dict[str, int]:
        """Type → code, of all types that have their own; the rest is OTHER."""
        return CODES | {name: code for name, (code, _) in _named_codes(self.named).items()}

    @cached_property
    def _by_code(self) -> NDArray[np.float32]:
        """Weight of each of the 256 codes; 0 for RATE, whose weight depends on the value."""
        weights = np.full(256, self.other, np.float32)
        weights[UNDONE:UNKNOWN] = 0
        for name, code in CODES.items():
            weights[code] = getattr(self, name, 0.0)
        for code, weight in _named_codes(self.named).values():
            weights[code] = weight
        return weights

    def name_of(self, code: int, names: Sequence[str] = ()) -> str:
        """Return the type's name; `other` where neither settings nor the state know it.

        names: the state's own, of types that nobody weighs.
        """
        if UNKNOWN <= code < UNKNOWN + len(names):
            return names[code - UNKNOWN]
        if UNDONE <= code < UNKNOWN:
            return f"{self.name_of(code - UNDONE)} (undone)"
        return next((name for name, known in self.codes.items() if known == code), "other")

    def of(self, entries: NDArray[np.void]) -> NDArray[np.float32]:
        """Return the weight of history entries: any shape of states.ENTRY → that shape, float32."""
        types = entries["type"]
        weights: NDArray[np.float32] = self._by_code.take(types)
        rated = types == RATE
        if rated.any():
            some = entries[rated]
            above = some["value"].astype(np.float32) - np.float32(self.rate_middle)
            bounded = np.clip(np.nan_to_num(above), -self.rate_at_most, self.rate_at_most)
            weights[rated] = np.where(some["flags"] & HAS_VALUE, bounded, 0)
        return weights

    @cached_property
    def _when_it_came(self) -> list[float]:
        """Weight of each of the 256 codes, of what was undone as it was before."""
        weights: list[float] = self._by_code.tolist()
        weights[UNDONE:UNKNOWN] = weights[: UNKNOWN - UNDONE]
        return weights

    def visit_weight(self, code: int, value: float, flags: int) -> float:
        """Return what one entry weighed when it came, undone since or not; NEVER for no visit."""
        if code == RATE:
            return float(self.of(np.array([(0, 0, 0, value, code, flags)], ENTRY))[0])
        weight = self._when_it_came[code]
        return weight if weight > 0 else NEVER

    def visits(self, entries: NDArray[np.void]) -> NDArray[np.bool_]:
        """Say which entries came to their item of their own accord: any shape → that shape.

        Those of positive weight, and every rating: who rates has tried, whatever came of it.
        """
        visited: NDArray[np.bool_] = (self.of(entries) > 0) | (entries["type"] == RATE)
        return visited


def stands(entries: NDArray[np.void]) -> NDArray[np.bool_]:
    """Say which entries of a history say something: not what was undone, nor what undid it."""
    return ~_SILENT.take(entries["type"])


def _named_codes(named: tuple[str, ...]) -> dict[str, tuple[int, float]]:
    """Return code and weight of each `type=weight`. Raises BadSetting for what cannot be used."""
    codes: dict[str, tuple[int, float]] = {}
    taken: dict[int, str] = {}
    for part in named:
        name, _, text = part.partition("=")
        name = name.strip().lower()
        try:
            weight = float(text)
        except ValueError:
            weight = float("nan")
        if not name or name in CODES or not (isfinite(weight) and abs(weight) <= 100):
            raise BadSetting(
                "FRESHET_WEIGHTS_NAMED must be a comma list of type=weight, the weight between"
                f" -100 and 100 and the type not one of {', '.join(CODES)}; was {part!r}"
            )
        code = _FIRST_OF_SETTINGS + crc32(name.encode()) % (OTHER - _FIRST_OF_SETTINGS)
        if taken.setdefault(code, name) != name:
            raise BadSetting(
                f"FRESHET_WEIGHTS_NAMED: histories could not tell the types {taken[code]!r} and"
                f" {name!r} apart (both have code {code}); send one of them under another name"
            )
        codes[name] = (code, weight)
    return codes
