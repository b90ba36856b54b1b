"""What is known of users becomes flags that are the same wherever they are made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from services.training.data.dataset import Attributes, Dataset
from services.training.data.user_attributes import UserFlags
from tests.unit.training.logs import dataset


def people(*told: Attributes) -> Dataset:
    data = dataset([[0]] * len(told), 1)
    return replace(data, attributes=dict(zip(data.user_ids, told, strict=True)))


def test_words_and_truths_are_flags_of_their_values() -> None:
    german: Attributes = {"country": "DE", "member": True}
    french: Attributes = {"country": "FR"}
    flags = UserFlags.of(people(*[german] * 5, *[french] * 6))
    assert flags.names == ("country=FR", "country=DE", "member=true")
    rows = flags.rows([{"country": "DE", "member": False}, {"country": "FR", "member": True}, {}])
    assert rows.tolist() == [[0, 1, 0], [1, 0, 1], [0, 0, 0]]


def test_numbers_are_flags_of_being_at_least_so_much() -> None:
    flags = UserFlags.of(people(*[{"age": float(age)} for age in range(20, 60)]))
    rows = flags.rows([{"age": 19.0}, {"age": 40.0}, {"age": 80.0}])
    assert rows[0].sum() == 0
    assert rows[2].all()
    assert 0 < rows[1].sum() < len(flags)
    assert all(name.startswith("age>=") for name in flags.names)


def test_what_few_users_share_is_no_flag() -> None:
    told: list[Attributes] = [{"postcode": str(number)} for number in range(50)]
    assert len(UserFlags.of(people(*told))) == 0


def test_a_user_of_whom_nothing_is_known_has_no_flags() -> None:
    data = people(*[{"country": "DE"}] * 5, {})
    flags = UserFlags.of(data)
    assert flags.table(data)[:, 0].tolist() == [1, 1, 1, 1, 1, 0]


def test_names_are_kept_with_what_was_learnt() -> None:
    flags = UserFlags(("country=DÉ", "age>=25"))
    assert UserFlags.unpacked(np.array(flags.packed())) == flags
