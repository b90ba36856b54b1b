"""How topics must be set up, and what stands before every name."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from freshet import prefix
from freshet.contract import topics
from freshet.contract.topics import CLICKS, FIXED, ITEMS, Misfit, Topic
from freshet.prefix import PrefixSettings
from freshet.settings import BadSetting, from_environment
from shared.catalogue import stores
from shared.users import keys


def mended(topic: Topic, replicas: int, **other: str) -> dict[str, str]:
    """Return the config of a topic as it must be, but for some."""
    return topic.config_at(replicas) | {name.replace("_", "."): v for name, v in other.items()}


@pytest.mark.parametrize("topic", [*FIXED, topics.item_vectors("space")], ids=lambda t: t.name)
@pytest.mark.parametrize("replicas", [1, 2, 3, 5])
def test_a_topic_fits_as_it_is_made(topic: Topic, replicas: int) -> None:
    assert topic.misfits(topic.config_at(replicas), replicas) == []


def test_what_is_acknowledged_stands_on_two_of_three() -> None:
    found = mended(CLICKS, 3, min_insync_replicas="1")
    assert CLICKS.misfits(found, 2) == []
    assert CLICKS.misfits(found, 3) == [Misfit("min.insync.replicas", "1", "2", breaks=True)]
    assert CLICKS.misfits(mended(CLICKS, 3, min_insync_replicas="3"), 3) == []


def test_more_than_the_least_is_well_and_without_end_is_the_most() -> None:
    assert CLICKS.misfits(mended(CLICKS, 1, retention_ms="-1"), 1) == []
    assert CLICKS.misfits(mended(CLICKS, 1, retention_ms="999999999999"), 1) == []
    (short,) = CLICKS.misfits(mended(CLICKS, 1, retention_ms="1000"), 1)
    assert str(short) == "retention.ms is 1000, must be at least 604800000"


def test_a_replica_that_missed_records_must_not_lead() -> None:
    (unclean,) = ITEMS.misfits(mended(ITEMS, 1, unclean_leader_election_enable="true"), 1)
    assert str(unclean) == "unclean.leader.election.enable is true, must be false"


def test_every_name_of_a_shop_begins_with_its_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix, "PREFIX", "shoes.")
    shop_topics: dict[str, Any] = runpy.run_path(topics.__file__)
    shop_keys: dict[str, Any] = runpy.run_path(keys.__file__)
    names = [
        *(topic.name for topic in shop_topics["FIXED"]),
        shop_topics["item_vectors"]("space").name,
        shop_topics["embedding_group"]("space"),
        *(name.decode() for name in shop_keys.values() if isinstance(name, bytes)),
        *(shop_keys[name]("x").decode() for name in ("user", "trending", "log_of")),
        shop_keys["covisits"](7).decode(),
        *(shop_keys[name]("x", "y").decode() for name in ("item_cache", "position")),
    ]
    assert all(name.startswith("shoes.") for name in names)
    assert shop_keys["user"]("x") == b"shoes." + keys.user("x")


def test_shops_may_have_their_snapshots_in_one_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "shoes.space" / "1").mkdir(parents=True)
    assert stores.open_store(str(tmp_path), "space").folders() == []
    monkeypatch.setattr(stores, "PREFIX", "shoes.")
    assert stores.open_store(str(tmp_path), "space").folders() == ["1"]


def test_a_prefix_that_no_topic_can_have_is_refused_by_name() -> None:
    assert from_environment(PrefixSettings, {"FRESHET_TOPIC_PREFIX": "shoes."}).prefix == "shoes."
    with pytest.raises(BadSetting, match="FRESHET_TOPIC_PREFIX must be up to 64 of"):
        from_environment(PrefixSettings, {"FRESHET_TOPIC_PREFIX": "two words"})
