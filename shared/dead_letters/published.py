"""Keep which dead letters were published again, as what a group commits of a partition. Pure.

All before the committed offset were; which further ones stands in the commit's metadata, as some
may be left out for long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Self

METADATA_AT_MOST: Final = 4_000  # bytes: brokers take 4,096


class PublishedOffsets:
    """The offsets of one partition whose letters were published again."""

    def __init__(self, before: int = 0, further: Iterable[int] = ()) -> None:
        """before: all of these are; further: others, not below it."""
        self.before = before
        self._further = set(further)

    @classmethod
    def read(cls, offset: int, metadata: str, begin: int, end: int) -> Self:
        """Read a commit; begin, end: the log's first offset, and the one after its last."""
        further: set[int] = set()
        for part in filter(None, metadata.split(",")):
            first, _, last = part.partition("-")
            if first.isdecimal() and (last or first).isdecimal():
                further.update(range(max(int(first), begin), min(int(last or first) + 1, end)))
        known = cls(max(offset, begin), further)
        known._advance()
        return known

    def __contains__(self, offset: int) -> bool:
        return offset < self.before or offset in self._further

    def add(self, offset: int) -> None:
        """Note that a letter was published again."""
        self._further.add(offset)
        self._advance()

    def commit(self) -> tuple[int, str]:
        """Return the offset and metadata to commit.

        Of more ranges than metadata has room for the last are left out: what stands there may be
        published once more, which counts once.
        """
        metadata = ",".join(self._ranges())
        if len(metadata) > METADATA_AT_MOST:
            metadata = metadata[:METADATA_AT_MOST].rpartition(",")[0]
        return self.before, metadata

    def _advance(self) -> None:
        while self.before in self._further:
            self._further.discard(self.before)
            self.before += 1

    def _ranges(self) -> Iterator[str]:
        first = last = None
        for offset in sorted(self._further):
            if last is not None and offset == last + 1:
                last = offset
                continue
            if first is not None:
                yield f"{first}-{last}"
            first = last = offset
        if first is not None:
            yield f"{first}-{last}"
