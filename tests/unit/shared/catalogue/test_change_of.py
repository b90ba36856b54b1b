"""What a record of `item-vectors` says."""

from __future__ import annotations

import pytest
from aiokafka import ConsumerRecord

from freshet.contract.records import BadRecord
from shared.catalogue.feed import change_of
from shared.catalogue.item_vectors import encode_item_vector
from tests.unit.shared.catalogue.makers import put


def record(
    key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes], ...] = ()
) -> ConsumerRecord:
    return ConsumerRecord("item-vectors.test", 0, 1, 900, 1, key, value, None, 0, 0, headers)


def encoded(item_id: str = "a", version: int = 7) -> bytes:
    change = put(item_id, version)
    assert change.item is not None
    return encode_item_vector(change.item)


def test_version_is_the_headers() -> None:
    change = change_of(record(b"a", encoded(), (("version", b"42"),)))
    assert (change.item_id, change.version) == ("a", 42)
    assert change.item is not None
    assert change_of(record(b"a", None, (("version", b"42"),))) == ("a", 42, None)


@pytest.mark.parametrize("headers", [(), (("version", b"-1"),), (("version", b"1" * 19),)])
def test_without_a_usable_header_it_is_the_values_and_a_deletes_is_its_time(
    headers: tuple[tuple[str, bytes], ...],
) -> None:
    assert change_of(record(b"a", encoded(version=7), headers)).version == 7
    assert change_of(record(b"a", None, headers)).version == 900


@pytest.mark.parametrize(
    ("key", "value", "error_class"),
    [
        (b"b", encoded("a"), "wrong-key"),
        (None, encoded("a"), "wrong-key"),
        (b"\xff", None, "wrong-key"),
        (b"a", b"\xff\xff", "undecodable"),
        (b"a", b"", "out-of-bounds"),
    ],
)
def test_record_that_says_nothing_usable_is_refused(
    key: bytes | None, value: bytes | None, error_class: str
) -> None:
    with pytest.raises(BadRecord) as refused:
        change_of(record(key, value))
    assert refused.value.error_class == error_class
