"""Split so that what is asked for is new: items, or users, that nothing was learnt of."""

from __future__ import annotations

from typing import Final

import numpy as np

from services.training.data.dataset import Dataset
from services.training.data.histories import Histories, Ints
from services.training.data.splits import Asked, Split

TEST_TENTH, VALIDATION_TENTH = 0, 1  # of the items or users, where they are what is held back
KNOWN_EVENTS: Final = (0, 1, 2, 3, 5, 10)  # after which new users are asked
CHOSEN_AFTER: Final = 5  # of them, for validation


def new_items(data: Dataset, seed: int = 0) -> Split:
    """Learn without two random tenths of the items; choose on one tenth, test on the other.

    A user is asked for the last choice out of the test's tenth, and for the last before it out of
    validation's, by what was chosen before of the items that are learnt from; what was learnt from
    a user is older than either. Users without such a choice, or with nothing before it, are learnt
    from and not asked. The part `among-new` ranks the test's tenth alone.
    """
    events = data.events
    tenths = _tenths(data.n_items, seed)
    places = _places(events)

    def last_of(tenth: int, before: Ints) -> Ints:
        """Return where each user's last event of a tenth stands, (u,), -1 without one."""
        found = np.full(len(events), -1)
        of_tenth = (tenths[events.items] == tenth) & (places < before[events.rows()])
        np.maximum.at(found, events.rows()[of_tenth], places[of_tenth])
        return found

    tested = last_of(TEST_TENTH, events.lengths)
    ends = np.where(tested >= 0, tested, events.lengths)
    chosen = last_of(VALIDATION_TENTH, ends)
    learnt = events.first(np.where(chosen >= 0, chosen, ends))

    def known(histories: Histories) -> Histories:
        return histories.kept(tenths[histories.items] > VALIDATION_TENTH)

    def asked(places: Ints) -> Asked:
        histories = known(events.first(np.maximum(places, 0)))
        rows = np.flatnonzero((places >= 0) & (histories.lengths > 0))
        return Asked(histories.take(rows), events.items[(events.starts[:-1] + places)[rows]])

    test = asked(tested)
    return Split(
        "new-items",
        data.with_events(known(learnt)),
        asked(chosen),
        test,
        {"among-new": Asked(test.histories, test.targets, tenths == TEST_TENTH)},
    )


def new_users(data: Dataset, seed: int = 0) -> Split:
    """Learn without two random tenths of the users; choose on one tenth, test on the other.

    Each is asked for the next event after the first ones: the part `after-N` knows N of them, the
    test most. Users with too few events for that are learnt from. Numbers of the users stand, so
    that what is known of them but events can be used.
    """
    events = data.events
    many = np.flatnonzero(events.lengths > max(KNOWN_EVENTS))
    tenths = np.full(len(events), -1)
    tenths[many] = _tenths(len(many), seed)

    def after(count: int, tenth: int) -> Asked:
        some = events.take(np.flatnonzero(tenths == tenth))
        return Asked(some.first(count), some.items[some.starts[:-1] + count])

    parts = {f"after-{count}": after(count, TEST_TENTH) for count in KNOWN_EVENTS}
    held_back = (tenths == TEST_TENTH) | (tenths == VALIDATION_TENTH)
    return Split(
        "new-users",
        data.with_events(events.kept(~held_back[events.rows()])),
        after(CHOSEN_AFTER, VALIDATION_TENTH),
        parts[f"after-{max(KNOWN_EVENTS)}"],
        parts,
    )


def _tenths(count: int, seed: int) -> Ints:
    """Put each number below a count in one of ten parts by chance, 0-9."""
    return np.random.default_rng(seed).permutation(count) * 10 // max(count, 1)


def _places(events: Histories) -> Ints:
    """Return how many events of its user are before each, (e,)."""
    return np.arange(len(events.items)) - np.repeat(events.starts[:-1], events.lengths)
