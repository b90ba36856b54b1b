"""Tell a fault of the system from a poisoned record.

A poisoned record goes to dead-letters and the next is read. After a fault every record would go
there: so reading stops instead, and what was read is not acknowledged until the fault is mended.
"""

from __future__ import annotations

from types import CodeType
from typing import Final

from freshet.contract.records import ConsumedRecord, origin_of, place_of

UNRELATED_AT_MOST: Final = 5  # records that fail alike in a row before none of them is to blame


class SystemFault(Exception):
    """What no record is to blame for: reading stops, and the service says why until it is mended.

    The process stays to say it; not ready and not alive, it is started anew by whoever watches.
    """


NO_RECORDS_FAULT: Final[tuple[type[Exception], ...]] = (SystemFault, MemoryError, OSError)

_Place = tuple[type[BaseException], CodeType | None, int]


class FaultDetector:
    """Hears what becomes of records, in their order, and judges those that fail unforeseen.

    What the contract refuses is the record's own fault and not told here.
    """

    def __init__(self, *never_a_records: type[Exception]) -> None:
        """never_a_records: further errors that no record can cause."""
        self._never_a_records = (*NO_RECORDS_FAULT, *never_a_records)
        self._place: _Place | None = None  # where all of the row failed
        self._row: set[bytes | None] = set()  # keys that failed there, with no success in between

    def succeeded(self) -> None:
        """Note that a record had its effect, so that whatever failed before was poison."""
        self._row.clear()

    def failed(self, key: bytes | None, error: BaseException, *, may_pass: bool = False) -> None:
        """Note that a record failed. Raises SystemFault where it is not to blame.

        Records of one key are related: their user's or item's data may be what is in the way.
        may_pass: it is tried again, by which an error that no record causes may pass, too.
        """
        if isinstance(error, self._never_a_records) and not may_pass:
            raise as_system_fault(error)
        if (place := _place_of(error)) != self._place:
            self._place = place
            self._row.clear()
        self._row.add(key)
        if len(self._row) >= UNRELATED_AT_MOST:
            raise SystemFault(
                f"{len(self._row)} unrelated records in a row fail alike: {error!r}"
            ) from error


def relation_of(record: ConsumedRecord) -> bytes | None:
    """Return the key by which a record is related to others: its own.

    Dead letters that are published again are all related: each of them failed before, and together
    they must not stop what goes on without them.
    """
    return record.key if origin_of(record) == place_of(record) else None


def as_system_fault(error: BaseException) -> SystemFault:
    """Return an error as the fault that it is."""
    if isinstance(error, SystemFault):
        return error
    fault = SystemFault(f"no record can cause this: {error!r}")
    fault.__cause__ = error
    return fault


def _place_of(error: BaseException) -> _Place:
    """Return what tells two errors alike: their class and the line that raised them."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return type(error), trace and trace.tb_frame.f_code, trace.tb_lineno if trace else 0
