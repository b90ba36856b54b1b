"""Keep states of the users seen last, so that a hot user costs no read. Bounded.

Nothing depends on it being true: a write names the guard that it expects, and is refused where the
cache was wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from shared.users.states import UserState


class StateCache:
    """Two generations, each of half the bound: what the younger one's turn does not touch goes.

    A look-up costs two dict look-ups, where a true LRU would reorder on each.
    """

    def __init__(self, users_at_most: int) -> None:
        self._half = max(1, users_at_most // 2)
        self._young: dict[str, UserState] = {}
        self._old: dict[str, UserState] = {}

    def __len__(self) -> int:
        """Count the states held, a user in both generations twice."""
        return len(self._young) + len(self._old)

    def find(self, users: Iterable[str]) -> tuple[dict[str, UserState], list[str]]:
        """Return the states held of these users, and the users without one."""
        states: dict[str, UserState] = {}
        missing: list[str] = []
        for user in users:
            state = self._young.get(user)
            if state is None:
                state = self._old.get(user)
            if state is None:
                missing.append(user)
            else:
                states[user] = state
        return states, missing

    def keep(self, states: Mapping[str, UserState]) -> None:
        """Hold these states, and let the oldest go when there are too many."""
        self._young.update(states)
        if len(self._young) >= self._half:
            self._young, self._old = {}, self._young

    def drop(self, users: Iterable[str]) -> None:
        """Hold nothing of these users."""
        for user in users:
            self._young.pop(user, None)
            self._old.pop(user, None)

    def drop_partitions(self, partitions: set[int]) -> None:
        """Hold nothing of users who came on these partitions: others write them now."""
        self.drop(
            [
                user
                for states in (self._young, self._old)
                for user, state in states.items()
                if not partitions.isdisjoint(state.guard)
            ]
        )

    def clear(self) -> None:
        """Hold nothing."""
        self._young, self._old = {}, {}
