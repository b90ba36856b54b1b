"""Give what `freshet` gives without an event loop: every call blocks until it is done.

    from freshet.sync import Client

    with Client("127.0.0.1:50051") as client:
        for item in client.recommend("ada", k=5):
            print(item.score, item.title, item.reason)

Clients and publishers may be used by any number of threads at once. Their calls run on one event
loop, in a thread that lives while any of them is in use.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from functools import partial, wraps
from itertools import islice
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, TypeVar

import freshet
from freshet import client, publisher
from freshet.loop_bound import LoopBound
from freshet.prefix import PREFIX

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    import grpc

    from freshet import AttributeFilter as AttributeFilter
    from freshet import Boost as Boost
    from freshet import By as By
    from freshet import Cap as Cap
    from freshet import Contribution as Contribution
    from freshet import DeadlineExceeded as DeadlineExceeded
    from freshet import Event as Event
    from freshet import Explanation as Explanation
    from freshet import Filters as Filters
    from freshet import FreshetError as FreshetError
    from freshet import HistoryEntry as HistoryEntry
    from freshet import InvalidRequest as InvalidRequest
    from freshet import Item as Item
    from freshet import ItemFate as ItemFate
    from freshet import KafkaSettings as KafkaSettings
    from freshet import NotFound as NotFound
    from freshet import Offer as Offer
    from freshet import Overloaded as Overloaded
    from freshet import Pin as Pin
    from freshet import Published as Published
    from freshet import Range as Range
    from freshet import RankedItem as RankedItem
    from freshet import RankedList as RankedList
    from freshet import Rules as Rules
    from freshet import Seen as Seen
    from freshet import StageStep as StageStep
    from freshet import StageTrace as StageTrace
    from freshet import State as State
    from freshet import Unavailable as Unavailable
    from freshet import User as User
    from freshet import Versions as Versions
    from freshet.publisher import Record

else:

    def __getattr__(name: str) -> Any:
        """Give every other name as `freshet` has it."""
        if name in freshet.__all__:
            return getattr(freshet, name)
        raise AttributeError(f"module 'freshet.sync' has no attribute {name!r}")


AT_ONCE: Final = 16  # records of `many` that cross to the loop's thread together

Inner = TypeVar("Inner", bound=LoopBound)
Options = ParamSpec("Options")
Result = TypeVar("Result")


class _LoopThread:
    """One event loop in a thread of its own, which ends with its last user."""

    def __init__(self) -> None:
        self.users = 0  # what is open, and calls under way
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event
        self._running = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="freshet.sync", daemon=True)
        self._thread.start()
        self._running.wait()

    def _serve(self) -> None:
        async def until_stopped() -> None:
            self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
            self._running.set()
            await self._stopping.wait()

        asyncio.run(until_stopped())

    @property
    def alive(self) -> bool:
        """Say whether the thread runs in this process."""
        return self._thread.is_alive()

    def run(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Await work on the loop and return its result."""
        if not self.alive:
            raise RuntimeError("used before this process was forked: make another one after it")
        future = asyncio.run_coroutine_threadsafe(work(), self._loop)
        try:
            return future.result()
        finally:
            future.cancel()  # where the caller was interrupted, by Ctrl-C for instance

    def stop(self) -> None:
        """End the loop and the thread."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()


_lock = threading.Lock()
_loop_thread: _LoopThread | None = None


def _join() -> _LoopThread:
    """Return the loop's thread with one user more; the lock is held."""
    global _loop_thread
    if _loop_thread is None or not _loop_thread.alive:  # a fork leaves its threads behind
        _loop_thread = _LoopThread()
    _loop_thread.users += 1
    return _loop_thread


def _leave(thread: _LoopThread) -> None:
    global _loop_thread
    with _lock:
        thread.users -= 1
        if thread.users:
            return
        if _loop_thread is thread:
            _loop_thread = None
    thread.stop()


class _Blocking(Generic[Inner]):
    """Blocks for what a client or publisher does; the loop's thread starts at the first call."""

    def __init__(self, inner: Inner) -> None:
        self._inner = inner
        self._thread: _LoopThread | None = None
        self._closed = False

    def __repr__(self) -> str:
        return repr(self._inner)

    def __enter__(self) -> Self:
        self._run(self._inner.__aenter__)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect. Closing twice does no harm."""
        with _lock:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            try:
                thread.run(self._inner.close)
            finally:
                _leave(thread)

    def _run(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        with _lock:
            if self._closed:
                raise RuntimeError(f"{self} cannot be used any more")
            if self._thread is None:
                self._thread = _join()
            thread = self._thread
            thread.users += 1
        try:
            return thread.run(work)
        finally:
            _leave(thread)


def _blocking(
    method: Callable[Concatenate[Inner, Options], Coroutine[Any, Any, Result]],
) -> Callable[Concatenate[_Blocking[Inner], Options], Result]:
    """Return a method with the same arguments that blocks for the result."""

    @wraps(method)
    def call(self: _Blocking[Inner], /, *args: Options.args, **options: Options.kwargs) -> Result:
        return self._run(partial(method, self._inner, *args, **options))

    return call


_grpc_process: int | None = None  # that gRPC's threads run in: a fork does not take them along


class BlockingClient(_Blocking[client.Client]):
    """Speaks to ranking, as freshet.Client does; `with Client(...) as client`."""

    def __init__(
        self,
        address: str = "127.0.0.1:50051",
        *,
        tls: bool | str | os.PathLike[str] | grpc.ChannelCredentials | None = None,
        certificate: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
        token: str | Callable[[], str] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Connect at the first call; the arguments are freshet.Client's."""
        super().__init__(
            client.Client(address, tls=tls, certificate=certificate, token=token, timeout=timeout)
        )

    def _run(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        global _grpc_process
        if _grpc_process not in (None, os.getpid()):
            raise RuntimeError(
                "gRPC was used before this process was forked and cannot be used in it: fork before"
                " the first call, or start processes by spawn"
            )
        _grpc_process = os.getpid()
        return super()._run(work)

    recommend = _blocking(client.Client.recommend)
    similar = _blocking(client.Client.similar)
    search = _blocking(client.Client.search)
    state = _blocking(client.Client.state)
    explain = _blocking(client.Client.explain)
    forget = _blocking(client.Client.forget)
    applied = _blocking(client.Client.applied)


class BlockingPublisher(_Blocking[publisher.Publisher]):
    """Publishes to Kafka, as freshet.Publisher does; `with Publisher(...) as publisher`."""

    def __init__(
        self,
        kafka: str | KafkaSettings = "127.0.0.1:9092",
        *,
        topic_prefix: str = PREFIX,
        linger_ms: int = 0,
        timeout: float = publisher.TIMEOUT_S,
    ) -> None:
        """Connect at the first call; the arguments are freshet.Publisher's."""
        inner = publisher.Publisher(
            kafka, topic_prefix=topic_prefix, linger_ms=linger_ms, timeout=timeout
        )
        super().__init__(inner)

    event = _blocking(publisher.Publisher.event)
    item = _blocking(publisher.Publisher.item)
    offer = _blocking(publisher.Publisher.offer)
    delete = _blocking(publisher.Publisher.delete)
    delete_offer = _blocking(publisher.Publisher.delete_offer)
    user = _blocking(publisher.Publisher.user)
    delete_user = _blocking(publisher.Publisher.delete_user)

    def many(
        self,
        records: Iterable[Record],
        *,
        backfill: bool = False,
        on_token: Callable[[str], None] | None = None,
    ) -> Published:
        """Publish any number of records in order, as freshet.Publisher.many does.

        `records` is iterated and `on_token` called in the caller's thread, so that both may use
        what belongs to it, such as a database connection.
        """
        tokens = deque[str]()

        def hand_over() -> None:
            while tokens and on_token is not None:
                on_token(tokens.popleft())

        append = None if on_token is None else tokens.append
        sending = self._run(partial(self._inner._sending, backfill, append))
        try:
            source = iter(records)
            while chunk := list(islice(source, AT_ONCE)):
                self._run(partial(sending.send, *chunk))
                hand_over()
        finally:
            published = self._run(sending.finish)
            hand_over()
        return published


Client = BlockingClient
Publisher = BlockingPublisher
