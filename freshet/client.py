"""Ask ranking for lists, states and explanations."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from freshet.access import Access, Certificate, bearer, check_secrecy, check_token
from freshet.addresses import check_address
from freshet.calls import call, check_timeout
from freshet.channel import RenewedStub
from freshet.contract import requests
from freshet.contract.bounds import check_time, check_type, refuse
from freshet.contract.filters import Filters, filters_message
from freshet.contract.forms import read_context, read_text
from freshet.contract.requests import K_DEFAULT, By, Seen
from freshet.contract.rules import Rules, rules_message
from freshet.errors import as_invalid_request
from freshet.loop_bound import LoopBound
from freshet.replies import Explanation, RankedList, State, explanation_of, list_of, state_of
from freshet.settings import from_environment
from freshet.v1 import recommender_pb2 as pb

if TYPE_CHECKING:
    from freshet.access import StrPath, Tls
    from freshet.calls import Method
    from freshet.v1.recommender_pb2_grpc import RecommenderAsyncStub

# Deadlines in seconds of calls that set none. A list takes a few ms, so that 0.2 s is patience
# enough for a page that is being made; a picture has to be encoded first; forgetting waits until
# all replicas of Kafka have it.
LIST_TIMEOUT_S: Final = 0.2
QUERY_TIMEOUT_S: Final = 1.0
FORGET_TIMEOUT_S: Final = 5.0

Request = TypeVar("Request")
Reply = TypeVar("Reply")


class Client(LoopBound):
    """Speaks to ranking; use it as `async with Client("127.0.0.1:50051") as client`.

    One client serves any number of calls at once, and all of them belong to the event loop of the
    first; freshet.sync has the same without one. Entering the block connects, for at most a
    second and whether or not anybody answers; without a block, `close` it when done, which ends
    calls under way with Unavailable.

    Every call has a deadline, its `timeout` in seconds; the service leaves out what does not fit
    and says so in `degraded`. Reads are tried again within it where ranking is not reached or
    overloaded; `forget` is not. All raise FreshetError (freshet/errors.py).
    """

    def __init__(
        self,
        address: str = "127.0.0.1:50051",
        *,
        tls: Tls | None = None,
        certificate: tuple[StrPath, StrPath] | None = None,
        token: str | Callable[[], str] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Connect at the first call.

        address: host:port; dns:///name:port shares the calls among all addresses of a name.
        tls: True, a PEM file of authorities, or grpc's ChannelCredentials; False: none.
        certificate: PEM files of one's own and its key, where ranking asks for it (mutual TLS).
        token: sent with each call as `authorization: Bearer …`; a function is asked each time.
        timeout: seconds, for calls that say none; else 0.2 for lists, 5 for forget, 1 for others.
        What of the first three is not given is taken from the environment: FRESHET_TLS_CA_FILE,
        FRESHET_TLS_CERT_FILE with FRESHET_TLS_KEY_FILE, FRESHET_TOKEN or FRESHET_TOKEN_FILE. Files
        are read again when they change.
        Raises ValueError for an address without host or port, for a token that no header can carry,
        and for one that others could read on its way.
        """
        check_address(address)
        access = from_environment(Access, os.environ)
        if isinstance(token, str):
            check_token(token)
        super().__init__(address)
        self._tls: Tls = access.tls if tls is None else tls
        self._certificate = access.certificate
        if certificate is not None:
            self._certificate = Certificate(*(os.fspath(name) for name in certificate))
        self._token = access.token_source() if token is None else _source(token)
        if self._token is not None:
            check_secrecy(address, self._tls)
        self._timeout = timeout
        self._stub: RenewedStub[RecommenderAsyncStub]

    async def recommend(
        self,
        user_id: str,
        *,
        k: int = K_DEFAULT,
        also_user_ids: Iterable[str] = (),
        candidates: Iterable[str] | None = None,
        context: Mapping[str, str] | None = None,
        filters: Filters | None = None,
        exclude: Iterable[str] = (),
        seen: Seen = Seen.EXCLUDE_HISTORY_AND_PURCHASES,
        diversity: float | None = None,
        rules: Rules | None = None,
        after: str = "",
        explain: bool = False,
        trace: bool = False,
        surface: str = "",
        at_ms: int | None = None,
        request_id: str = "",
        timeout: float | None = None,
    ) -> RankedList:
        """List up to `k` items (1-500) for a user; an unknown one gets trending and new items.

        also_user_ids: at most 3 whose histories are merged for this list (a visitor logs in).
        candidates: rank these alone, 1-1,000. context: `segment` chooses a trending scope.
        diversity: 0-1, absent 0.2. after: a position token whose effect the list shall hold.
        explain: fill `contributions`. trace: fill `trace`. surface: where the list is shown.
        at_ms: weigh what is known as of this time, for replays of a log. request_id: one's own,
        for reply and impression; empty: ranking makes one.
        """
        with as_invalid_request():
            check_time("at_ms", at_ms)
            candidates = None if candidates is None else _ids("candidates", candidates)
            if candidates == []:  # on the wire that would be all items
                refuse("candidates", f"1-{requests.CANDIDATES_AT_MOST} ids", "none")
            request = pb.RecommendRequest(
                **_list_fields(k, context, filters, exclude, seen, diversity, rules),
                **_texts(user_id=user_id, after=after, surface=surface, request_id=request_id),
                also_user_ids=_ids("also_user_ids", also_user_ids),
                candidates=candidates,
                explain=explain,
                trace=trace,
                at_ms=at_ms,
            )
            requests.check_recommend(request)
        reply = await self._call(self._open().Recommend, request, timeout, LIST_TIMEOUT_S)
        return list_of(reply)

    async def similar(
        self,
        item_id: str | None = None,
        *,
        image: bytes | None = None,
        by: By = By.BLEND,
        k: int = K_DEFAULT,
        filters: Filters | None = None,
        exclude: Iterable[str] = (),
        request_id: str = "",
        timeout: float | None = None,
    ) -> RankedList:
        """List items like an item, or like a picture (then by VISUAL or BLEND).

        Raises NotFound for an unknown item.
        """
        with as_invalid_request():
            requests.check_one_of("by", By, by)
            request = pb.SimilarRequest(
                **_query(item_id=item_id, image=image),
                **_items_asked_for(k, filters, exclude),
                **_texts(request_id=request_id),
                by=int(by),  # type: ignore[arg-type]
            )
            requests.check_similar(request)
        return list_of(await self._call(self._open().Similar, request, timeout, QUERY_TIMEOUT_S))

    async def search(
        self,
        text: str | None = None,
        *,
        image: bytes | None = None,
        k: int = K_DEFAULT,
        filters: Filters | None = None,
        exclude: Iterable[str] = (),
        request_id: str = "",
        timeout: float | None = None,
    ) -> RankedList:
        """List items that fit a text, or a picture."""
        with as_invalid_request():
            request = pb.SearchRequest(
                **_query(text=text, image=image),
                **_items_asked_for(k, filters, exclude),
                **_texts(request_id=request_id),
            )
            requests.check_search(request)
        return list_of(await self._call(self._open().Search, request, timeout, QUERY_TIMEOUT_S))

    async def state(self, user_id: str, *, after: str = "", timeout: float | None = None) -> State:
        """Show what is kept of a user; after: a position token whose effect it shall hold."""
        with as_invalid_request():
            request = pb.StateRequest(**_texts(user_id=user_id, after=after))
            requests.check_state(request)
        return state_of(await self._call(self._open().State, request, timeout, QUERY_TIMEOUT_S))

    async def explain(
        self,
        user_id: str,
        item_id: str,
        *,
        k: int = K_DEFAULT,
        context: Mapping[str, str] | None = None,
        filters: Filters | None = None,
        exclude: Iterable[str] = (),
        seen: Seen = Seen.EXCLUDE_HISTORY_AND_PURCHASES,
        diversity: float | None = None,
        rules: Rules | None = None,
        timeout: float | None = None,
    ) -> Explanation:
        """Split one item's score for a user, and say what became of it on the way to the list.

        The list is the one that `recommend` makes of these arguments. Raises NotFound for an
        unknown item.
        """
        with as_invalid_request():
            request = pb.ExplainRequest(
                **_list_fields(k, context, filters, exclude, seen, diversity, rules),
                **_texts(user_id=user_id, item_id=item_id),
            )
            requests.check_explain(request)
        reply = await self._call(self._open().Explain, request, timeout, QUERY_TIMEOUT_S)
        return explanation_of(reply)

    async def forget(self, user_id: str, *, timeout: float | None = None) -> str:
        """Empty a user's state, for good; done once the returned position token is reached.

        After Unavailable or DeadlineExceeded it may or may not be on its way: forgetting twice
        does no harm.
        """
        with as_invalid_request():
            request = pb.ForgetRequest(**_texts(user_id=user_id))
            requests.check_forget(request)
        method = self._open().Forget
        reply = await self._call(method, request, timeout, FORGET_TIMEOUT_S, repeatable=False)
        return reply.position

    async def applied(self, position: str, *, timeout: float | None = None) -> bool:
        """Say whether the event at a position token has taken effect, waiting for that a while."""
        with as_invalid_request():
            request = pb.AppliedRequest(**_texts(position=position))
            requests.check_applied(request)
        reply = await self._call(self._open().Applied, request, timeout, QUERY_TIMEOUT_S)
        return reply.applied

    def _open(self) -> RecommenderAsyncStub:
        self._bind()
        return self._stub.latest()

    def _make(self) -> None:
        from freshet.v1.recommender_pb2_grpc import RecommenderStub

        self._stub = RenewedStub(self._address, RecommenderStub, self._tls, self._certificate)

    async def _connect(self) -> None:
        self._open()
        await self._stub.ready()

    async def _disconnect(self) -> None:
        await self._stub.close()

    async def _call(
        self,
        method: Method[Request, Reply],
        request: Request,
        timeout: float | None,
        default_s: float,
        *,
        repeatable: bool = True,
    ) -> Reply:
        if timeout is None:
            timeout = default_s if self._timeout is None else self._timeout
        with as_invalid_request():
            check_timeout(timeout)
            metadata = bearer(self._token)
        return await call(method, request, timeout, metadata, repeatable=repeatable)


def _source(token: str | Callable[[], str]) -> Callable[[], str]:
    return (lambda: token) if isinstance(token, str) else token


def _list_fields(
    k: int,
    context: Mapping[str, str] | None,
    filters: Filters | None,
    exclude: Iterable[str],
    seen: Seen,
    diversity: float | None,
    rules: Rules | None,
) -> dict[str, Any]:
    """Return the fields that say which list is meant."""
    requests.check_one_of("seen", Seen, seen)
    return {
        **_items_asked_for(k, filters, exclude),
        "context": None if context is None else read_context("context", context),
        "seen": int(seen),
        "diversity": diversity,
        "rules": rules_message(rules),
    }


def _items_asked_for(k: int, filters: Filters | None, exclude: Iterable[str]) -> dict[str, Any]:
    """Return the fields that every list has."""
    check_type("k", k, int)
    requests.check_k(k)
    return {"k": k, "filters": filters_message(filters), "exclude": _ids("exclude", exclude)}


def _ids(field: str, ids: Iterable[str]) -> list[str]:
    """Return ids as a list; a single text, which is a sequence of letters, is refused."""
    if isinstance(ids, str):
        refuse(field, "several ids", repr(ids))
    return [read_text(f"an entry of {field}", each) for each in ids]


def _texts(**texts: str) -> dict[str, Any]:
    """Return ids and other texts by their fields; numbers are read as wherever they are written."""
    return {name: read_text(name, text) for name, text in texts.items()}


def _query(**either: str | bytes | None) -> dict[str, Any]:
    """Return the one query that is given; of two, the last would win on the wire."""
    given = {name: query for name, query in either.items() if query is not None}
    if len(given) != 1:
        refuse("query", " or ".join(either), "both" if given else "absent")
    for name, query in given.items():
        if name == "image":
            check_type(name, query, bytes)
        else:
            given[name] = read_text(name, query)
    return given
