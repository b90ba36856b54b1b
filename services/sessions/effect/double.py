"""Answer as StatesStore does, without Redis. One suite runs over both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.sessions.effect.store import Name, StatesStore, WriteChunk, WriteRefused
from shared.users import keys, log2_weights


class MemoryStore(StatesStore):
    """States, co-visits, trending and positions in dicts; keys never expire."""

    def __init__(self, topic: str) -> None:
        self.values: dict[bytes, bytes] = {}  # `u:`, `pos:` and `log:`
        self.sets: dict[bytes, dict[bytes, float]] = {}  # `co:` and `tr:`: member → log2 weight
        self.ids: dict[int, str] = {}
        self.segments: dict[str, int] = {}  # s when last asked for
        self._topic = topic

    async def claim_log(self, cluster_id: str) -> str:
        return self.values.setdefault(keys.log_of(self._topic), cluster_id.encode()).decode()

    async def positions(self, partitions: Sequence[int]) -> dict[int, bytes | None]:
        return {p: self.values.get(keys.position(self._topic, p)) for p in partitions}

    async def read(
        self, partition: int, users: Sequence[str]
    ) -> tuple[bytes | None, dict[str, bytes | None]]:
        position = self.values.get(keys.position(self._topic, partition))
        return position, {user: self.values.get(keys.user(user)) for user in users}

    async def write(self, partition: int, chunks: Sequence[WriteChunk]) -> None:
        for chunk in chunks:
            self._write(keys.position(self._topic, partition), chunk)

    async def keep_ids(self, ids: Mapping[int, str], at_most: int) -> int:
        self.ids |= ids
        over = max(0, len(self.ids) - at_most)
        for key in list(self.ids)[:over]:
            del self.ids[key]
        return over

    async def admit_segments(self, names: Sequence[str], now_s: int, at_most: int) -> list[bool]:
        since_s = now_s - keys.TRENDING_TTL_S
        self.segments = {name: at for name, at in self.segments.items() if at >= since_s}
        admitted = []
        for name in names:
            admitted.append(name in self.segments or len(self.segments) < at_most)
            if admitted[-1]:
                self.segments[name] = max(now_s, self.segments.get(name, now_s))
        return admitted

    def _write(self, position: bytes, chunk: WriteChunk) -> None:
        if self.values.get(position, b"") != chunk.expected:
            raise WriteRefused
        for user in chunk.users:
            state = self.values.get(keys.user(user.user_id), b"")
            if state[: len(user.guard)] != user.guard or bool(state) != bool(user.guard):
                raise WriteRefused
        for name, weights in _by_set(chunk.covisits).items():
            self._add(keys.covisits(name), weights, keys.COVISITS_AT_MOST)
        for scope, weights in _by_set(chunk.trends).items():
            self._add(keys.trending(scope), weights, keys.TRENDING_AT_MOST)
        for user in chunk.users:
            self.values[keys.user(user.user_id)] = user.state
        self.values[position] = chunk.position

    def _add(self, key: bytes, weights: Mapping[bytes, float], at_most: int) -> None:
        scores = self.sets.setdefault(key, {})
        newcomers = [member for member in weights if member not in scores]
        for member in weights.keys() & scores.keys():
            scores[member] = log2_weights.add(scores[member], weights[member])
        room = max(0, at_most - len(scores))
        scores.update({member: weights[member] for member in newcomers[:room]})
        entering = newcomers[room:]
        while entering:
            lowest = sorted(scores.items(), key=lambda entry: (entry[1], entry[0]))[: len(entering)]
            for member, _ in lowest:
                del scores[member]
            for (_, score), newcomer in zip(lowest, entering, strict=False):
                scores[newcomer] = log2_weights.add(score, weights[newcomer])
            entering = entering[len(lowest) :]


def _by_set(increments: Mapping[tuple[Name, int], float]) -> dict[Name, dict[bytes, float]]:
    """Sort increments by set: name → member → log2 weight."""
    sets: dict[Name, dict[bytes, float]] = {}
    for (name, item), weight in increments.items():
        sets.setdefault(name, {})[keys.item_key_bytes(item)] = weight
    return sets
