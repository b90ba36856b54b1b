from __future__ import annotations

from services.sessions.effect.cache import StateCache
from shared.users.states import UserState


def state(offset: int, partition: int = 0) -> UserState:
    return UserState({partition: offset})


def test_states_are_found_and_missing_ones_named() -> None:
    cache = StateCache(10)
    cache.keep({"ann": state(1)})
    assert cache.find(["ann", "bob"]) == ({"ann": state(1)}, ["bob"])


def test_a_newer_state_replaces_the_older_one_of_either_generation() -> None:
    cache = StateCache(4)
    cache.keep({"ann": state(1), "bob": state(1)})  # makes them the old generation
    cache.keep({"ann": state(2)})
    assert cache.find(["ann"])[0] == {"ann": state(2)}


def test_it_never_holds_more_than_its_bound_and_a_batch() -> None:
    cache = StateCache(100)
    for n in range(1000):
        cache.keep({f"u{n}": state(n)})
        assert len(cache) <= 100
    assert cache.find(["u999", "u0"]) == ({"u999": state(999)}, ["u0"])


def test_who_comes_often_stays() -> None:
    cache = StateCache(100)
    for n in range(1000):
        found, missing = cache.find(["ann"])
        assert n == 0 or not missing
        cache.keep({**found, "ann": state(n), f"u{n}": state(n)})


def test_dropped_users_are_gone_from_both_generations() -> None:
    cache = StateCache(4)
    cache.keep({"ann": state(1), "bob": state(1)})
    cache.keep({"cy": state(1)})
    cache.drop(["ann", "cy", "nobody"])
    assert cache.find(["ann", "bob", "cy"]) == ({"bob": state(1)}, ["ann", "cy"])


def test_a_partitions_users_are_dropped_also_who_came_on_another_too() -> None:
    cache = StateCache(10)
    cache.keep({"ann": state(1, 0), "bob": state(1, 1), "cy": UserState({0: 1, 1: 1})})
    cache.drop_partitions({0})
    assert cache.find(["ann", "bob", "cy"])[1] == ["ann", "cy"]
