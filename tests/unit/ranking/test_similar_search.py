"""Similar and Search over the shop in memory, with an embedding double."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from freshet.errors import NotFound, Unavailable
from freshet.v1 import recommender_pb2 as pb
from services.ranking import reply, requests
from services.ranking import search as search_module
from services.ranking import similar as similar_module
from services.ranking.live.embedding_client import EmbeddingClient, QueryVector
from services.ranking.live.item_words import shares_of, words_of
from services.ranking.search import search
from services.ranking.similar import similar
from services.ranking.stages import degraded
from services.ranking.stages.similar_items import SimilarItems
from shared.catalogue.labels import LabelLookUp
from shared.runtime.call_guard import Admission, AdmittedPlace
from shared.runtime.deadline import Costs, Deadline
from tests.unit.ranking.shop import DIM, Shop, item_vector, near


class MemoryEmbedding(EmbeddingClient):
    """A double that knows a few queries; `gone` makes it Unavailable, `hangs` when it is late."""

    def __init__(self) -> None:
        self.vectors: dict[str | bytes, NDArray[np.float16]] = {}
        self.own: dict[str | bytes, NDArray[np.float16]] = {}
        self.gone = False
        self.hangs: Callable[[float], None] | None = None  # told for how long it was waited for

    async def encode(
        self, space: str, within_s: float, *, text: str = "", image: bytes = b""
    ) -> QueryVector:
        """See EmbeddingClient.encode."""
        if self.hangs:
            self.hangs(within_s)
        if self.gone or self.hangs:
            raise Unavailable("the embedding service: gone")
        zero = np.zeros(DIM, np.float16)
        query = text or image
        return QueryVector(
            self.vectors.get(query, zero).astype(np.float32),
            self.own.get(query, zero).astype(np.float32),
        )


class Asked:
    """The shop, its double, and what is asked of both."""

    def __init__(self, *, towers: bool = False) -> None:
        self.shop = Shop(each=10, towers=towers)
        self.embedding = MemoryEmbedding()
        self.words = self.shop.space.words
        self.deadline = Deadline(time.monotonic() + 5, time.monotonic, Costs())

    async def similar(self, **fields: Any) -> list[str]:
        query = requests.similar(pb.SimilarRequest(**fields))
        self.found = await similar(query, self.shop.space, self.embedding, self.deadline)
        return self.ids(self.found)

    async def search(self, **fields: Any) -> list[str]:
        query = requests.search(pb.SearchRequest(**fields))
        self.found = await search(query, self.shop.space, self.embedding, self.deadline)
        return self.ids(self.found)

    def ids(self, found: SimilarItems) -> list[str]:
        return [self.shop.catalogue.ids[row] for row in found.rows]


@pytest.fixture
def asked() -> Asked:
    return Asked()


def kinds(item_ids: list[str]) -> set[str]:
    return {item_id.split("-")[0] for item_id in item_ids}


async def test_similar_items_are_of_the_same_kind_and_not_the_item_itself(asked: Asked) -> None:
    found = await asked.similar(item_id="lamp-1", k=9)
    assert kinds(found) == {"lamp"}
    assert "lamp-1" not in found


async def test_behaviour_lifts_what_followed_the_item(asked: Asked) -> None:
    asked.shop.follows("lamp-1", {"rug-1": 9.0, "rug-2": 1.0})
    assert await asked.similar(item_id="lamp-1", by="SIMILAR_BY_BEHAVIOUR") == ["rug-1", "rug-2"]
    blended = await asked.similar(item_id="lamp-1", k=40)
    assert blended.index("rug-1") < blended.index("rug-2")
    assert "rug-3" not in blended
    assert asked.found.names == ("content", "covisits")


async def test_similar_says_when_behaviour_cannot_be_read(asked: Asked) -> None:
    asked.shop.reader.gone = True
    assert await asked.similar(item_id="lamp-1", k=3)
    assert asked.deadline.degraded == [degraded.COVISITS_UNAVAILABLE]


@pytest.mark.parametrize("by", ["VISUAL", "TEXT"])
async def test_a_modality_compares_its_own_vectors_alone(asked: Asked, by: str) -> None:
    name = {"VISUAL": "image_vector", "TEXT": "text_vector"}[by]
    # In their own modality `a` and `c` are alike, in the serving space `a` and `b`.
    own = {"a": near(3, 1), "b": (near(2, 2) + near(3, 2)) / 2, "c": near(3, 3), "d": -near(3, 4)}
    for number, (item_id, vector) in enumerate(own.items()):
        asked.shop.put([item_vector(item_id, near(number // 2, number), **{name: vector})])
    assert await asked.similar(item_id="a", by=f"SIMILAR_BY_{by}") == ["c", "b"]
    assert asked.found.names == (by.lower(),)


async def test_a_long_search_by_look_is_no_work_of_the_event_loop(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(similar_module, "EXACT_ON_LOOP", -1)
    monkeypatch.setattr(AdmittedPlace, "rest", lambda place: said.append("rest"))
    monkeypatch.setattr(AdmittedPlace, "go_on", lambda place: said.append("go on"))
    asked.shop.put([item_vector("a", near(0, 1), image_vector=near(3, 1))])
    with Admission(1).entered(5.0, asked.deadline):
        await asked.similar(item_id="a", by="SIMILAR_BY_VISUAL")
    assert said == ["rest", "go on"]


@pytest.mark.parametrize(
    ("by", "reason"),
    [("VISUAL", degraded.ITEM_WITHOUT_PICTURE), ("TEXT", degraded.ITEM_WITHOUT_TEXT)],
)
async def test_an_item_without_the_modality_has_nothing_alike_and_says_so(
    asked: Asked, by: str, reason: str
) -> None:
    assert await asked.similar(item_id="lamp-1", by=f"SIMILAR_BY_{by}") == []
    assert asked.deadline.degraded == [reason]


async def test_a_picture_finds_its_kind_and_by_look_its_look(asked: Asked) -> None:
    asked.embedding.vectors[b"picture"] = near(1, 5)
    asked.embedding.own[b"picture"] = near(2, 5)
    asked.shop.put([item_vector("seen", near(3, 1), image_vector=near(2, 6))])
    assert kinds(await asked.similar(image=b"picture", k=5)) == {"chair"}
    assert await asked.similar(image=b"picture", by="SIMILAR_BY_VISUAL") == ["seen"]


async def test_similar_filters_and_excludes(asked: Asked) -> None:
    filters = pb.Filters(price=pb.Range(max=30))
    found = await asked.similar(item_id="lamp-5", k=2, filters=filters, exclude=["lamp-0"])
    assert sorted(found) == ["lamp-1", "lamp-2"]


async def test_similar_of_an_unknown_item_is_not_found(asked: Asked) -> None:
    with pytest.raises(NotFound, match="item_id 'nothing' is unknown"):
        await asked.similar(item_id="nothing")


async def test_a_picture_without_the_embedding_service_cannot_be_answered(asked: Asked) -> None:
    asked.embedding.gone = True
    with pytest.raises(Unavailable, match="embedding"):
        await asked.similar(image=b"picture")
    with pytest.raises(Unavailable, match="embedding"):
        await asked.search(image=b"picture")


async def test_a_text_finds_what_is_near_to_its_vector(asked: Asked) -> None:
    asked.embedding.vectors["something to sit on"] = near(1, 5)
    assert kinds(await asked.search(text="something to sit on", k=5)) == {"chair"}


async def test_among_near_items_the_one_with_the_words_in_its_title_comes_first(
    asked: Asked,
) -> None:
    asked.embedding.vectors["Rüg 3"] = near(2, 5)
    found = await asked.search(text="Rüg 3", k=5)
    assert found[0] == "rug-3"
    assert kinds(found) == {"rug"}
    assert asked.found.names == ("content", "words")


async def test_an_embedding_service_that_hangs_leaves_words_half_of_the_time(asked: Asked) -> None:
    now_s = 0.0

    def wait(within_s: float) -> None:
        nonlocal now_s
        now_s += within_s

    asked.embedding.hangs = wait
    asked.deadline = Deadline(0.05, lambda: now_s, Costs())
    found = await asked.search(text="Rüg 3", k=5)
    assert found[0] == "rug-3"
    assert asked.deadline.degraded == [degraded.QUERY_VECTOR_UNAVAILABLE]
    assert asked.deadline.left_s() == pytest.approx(0.025, abs=0.002)


async def test_without_the_embedding_service_words_answer_alone_and_say_so(asked: Asked) -> None:
    asked.embedding.gone = True
    found = await asked.search(text="lamp", k=20)
    assert kinds(found) == {"lamp"}
    assert len(found) == 10
    assert asked.deadline.degraded == [degraded.QUERY_VECTOR_UNAVAILABLE]
    assert await asked.search(text="zebra") == []


async def test_contributions_of_a_search_sum_to_its_scores(asked: Asked) -> None:
    asked.embedding.vectors["rug 3"] = near(1, 5)
    await asked.search(text="rug 3")
    assert (asked.found.parts.sum(axis=1) == asked.found.scores).all()
    assert (np.diff(asked.found.scores) <= 0).all()


async def test_search_filters_words_too(asked: Asked) -> None:
    filters = pb.Filters(price=pb.Range(min=95))
    asked.embedding.gone = True
    assert await asked.search(text="lamp", filters=filters) == ["lamp-9"]


def test_words_have_neither_case_nor_accents_and_stand_once() -> None:
    assert words_of("Crème CRÈME, brûlée—2!") == ("creme", "brulee", "2")


def test_rare_words_weigh_more_than_common_ones(asked: Asked) -> None:
    shares = shares_of(asked.words.look_up(("lamp", "3")))
    catalogue = asked.shop.catalogue
    of = {item: shares[catalogue.row(item)] for item in ("lamp-3", "rug-3", "lamp-1", "rug-1")}
    assert of["lamp-3"] == pytest.approx(1)
    assert of["rug-3"] > of["lamp-1"] > of["rug-1"] == 0


async def test_a_text_finds_what_attributes_tags_and_categories_say(asked: Asked) -> None:
    says: list[dict[str, Any]] = [
        {"attributes": {"colour": "Red"}},
        {"tags": ("red",)},
        {"categories": ("rug", "red things")},
        {"attributes": {"red": True, "size": "huge " * 20, "sold": 3.0}},
    ]
    for n, said in enumerate(says):
        asked.shop.put([item_vector(f"red-{n}", near(2, n), title=f"Rug {n}", **said)])
    asked.embedding.gone = True
    found = await asked.search(text="red rug", k=5)
    assert set(found[:4]) == {"red-0", "red-1", "red-2", "red-3"}
    assert kinds(found[4:]) == {"rug"}
    assert await asked.search(text="huge") == []


async def test_what_hardly_fits_a_text_is_no_hit_of_it(asked: Asked) -> None:
    asked.embedding.vectors["lamp"] = near(0, 1)
    asked.shop.put([item_vector("8472", -near(0, 2), title="8472")])
    found = await asked.search(text="lamp", k=100)
    assert kinds(found[:10]) == {"lamp"}
    assert "8472" not in found
    assert (asked.found.scores > 0.1).all()
    for item in reply.similar(asked.found, asked.shop.catalogue, "“lamp”"):
        assert (item.reason == "has words of “lamp”") <= (item.item_id.startswith("lamp"))


async def test_what_is_not_like_an_item_is_not_similar_to_it(asked: Asked) -> None:
    asked.shop.put([item_vector("opposite", -near(0, 2))])
    found = await asked.similar(item_id="lamp-1", k=100)
    assert kinds(found[:9]) == {"lamp"}
    assert "opposite" not in found


async def test_words_of_many_items_are_looked_up_beside_the_event_loop(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    shares = shares_of

    def noting(found: LabelLookUp) -> NDArray[np.float32]:
        threads.append(threading.current_thread())
        return shares(found)

    monkeypatch.setattr(search_module, "shares_of", noting)
    found = []
    for work_on_loop in (search_module.WORK_ON_LOOP, 0):
        monkeypatch.setattr(search_module, "WORK_ON_LOOP", work_on_loop)
        found.append(await asked.search(text="lamp 3"))
    assert found[0] == found[1]
    assert [thread is threading.main_thread() for thread in threads] == [True, False]


def test_looking_words_up_goes_through_the_items_that_have_them_and_no_others(
    asked: Asked,
) -> None:
    found = asked.words.look_up(("lamp", "zebra", "3"))
    assert [len(entries) for entries in found.entries] == [10, 0, 4]


def test_words_are_looked_up_as_they_were_while_items_change(asked: Asked) -> None:
    found = asked.words.look_up(("lamp",))
    before = shares_of(found)
    for n in range(2_000):  # more than the columns had room for
        asked.shop.put([item_vector(f"late-{n}", near(0, n), title=f"Lamp {n} late")])
    asked.shop.put([item_vector("lamp-1", asked.shop.items[1].vector, title="Torch")])
    after = shares_of(found)
    row = asked.shop.catalogue.row("lamp-1")
    assert before[row] == 1
    assert after[row] == 0
    assert np.flatnonzero(before != after).tolist() == [row]


def test_words_follow_their_items(asked: Asked) -> None:
    catalogue = asked.shop.catalogue
    lamp = asked.shop.items[1]
    asked.shop.put([item_vector("lamp-1", lamp.vector, title="Torch")])
    assert shares_of(asked.words.look_up(("torch",)))[catalogue.row("lamp-1")] == 1
    assert shares_of(asked.words.look_up(("lamp",)))[catalogue.row("lamp-1")] == 0


async def test_content_is_compared_as_before_where_a_trained_bundle_places_items_elsewhere() -> (
    None
):
    told = []
    for towers in (False, True):
        asked = Asked(towers=towers)
        asked.shop.follows("lamp-1", {"rug-7": 50.0})
        asked.embedding.vectors["warm light"] = near(0, 77)
        for listed in (
            await asked.similar(item_id="lamp-1", k=30),
            await asked.search(text="warm light", k=30),
        ):
            told.append((towers, listed, asked.found.scores.tolist()))
    before, after = told[:2], told[2:]
    assert [each[1:] for each in before] == [each[1:] for each in after]
    assert all(each[1] for each in told)
