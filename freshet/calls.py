"""Make one gRPC call: within a deadline, tried again where that is safe, its status as an error."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from freshet.errors import (
    PUSH_BACK_METADATA,
    DeadlineExceeded,
    FreshetError,
    InvalidRequest,
    NotFound,
    Overloaded,
    Unavailable,
)

if TYPE_CHECKING:
    import grpc

# Before the second, third and fourth attempt; each is cut by up to a half at random, so that
# clients who failed together do not come back together.
PAUSES_S: Final = (0.02, 0.04, 0.08)
TIMEOUT_AT_MOST_S: Final = 86_400.0

Metadata = tuple[tuple[str, str], ...]
Request = TypeVar("Request", contravariant=True)
Reply = TypeVar("Reply", covariant=True)


class Method(Protocol[Request, Reply]):
    """A method of the generated stub, as it is called here."""

    def __call__(
        self, request: Request, /, *, timeout: float, metadata: Metadata
    ) -> Awaitable[Reply]: ...


def check_timeout(timeout_s: float) -> None:
    """Refuse a time-out that is none, within what gRPC can count. Raises ValueError."""
    if not isinstance(timeout_s, int | float) or not 0 < timeout_s <= TIMEOUT_AT_MOST_S:
        bound = f"seconds above 0, at most {TIMEOUT_AT_MOST_S:g}"
        raise ValueError(f"timeout must be {bound}, was {timeout_s!r}")


async def call(
    method: Method[Request, Reply],
    request: Request,
    timeout_s: float,
    metadata: Metadata,
    *,
    repeatable: bool,
) -> Reply:
    """Call a method and return its reply. Raises FreshetError.

    repeatable: the call changes nothing. Then it is tried again where the server is not reached,
    and where it is overloaded once it asks for that, but never beyond the deadline: where there is
    no time left to wait, the error is raised at once.
    """
    import grpc

    deadline_s = time.monotonic() + timeout_s
    pauses_s = list(PAUSES_S) if repeatable else []
    while True:
        left_s = max(0.0, deadline_s - time.monotonic())
        try:
            return await method(request, timeout=left_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            pause_s = _pause_s(error, pauses_s.pop(0)) if pauses_s else None
            if pause_s is None or time.monotonic() + pause_s >= deadline_s:
                raise _error_of(error, timeout_s) from error
        except grpc.aio.UsageError:
            raise _closed() from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise _closed() from None  # nobody cancelled us: the channel did, when it was closed
        await asyncio.sleep(pause_s)


def _pause_s(error: grpc.aio.AioRpcError, pause_s: float) -> float | None:
    """Return how long to wait before another attempt, None where there should be none."""
    import grpc

    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return pause_s * random.uniform(0.5, 1)
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        push_back_s = _push_back_s(error)
        return None if push_back_s is None else push_back_s + pause_s * random.uniform(0, 0.5)
    return None


def _push_back_s(error: grpc.aio.AioRpcError) -> float | None:
    """Return after how long the server wants to be asked again; None: it does not say, or never."""
    metadata: Any = error.trailing_metadata() or ()
    for name, value in metadata:
        if name == PUSH_BACK_METADATA:
            try:
                push_back_ms = int(value)
            except ValueError:
                return None
            return push_back_ms / 1000 if push_back_ms >= 0 else None
    return None


def _error_of(error: grpc.aio.AioRpcError, timeout_s: float) -> FreshetError:
    """Return what a status means, in the words of the service."""
    import grpc

    code, text = error.code(), error.details() or ""
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return InvalidRequest(text)
    if code is grpc.StatusCode.NOT_FOUND:
        return NotFound(text)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Overloaded(text, _push_back_s(error) or 0.0)
    if code is grpc.StatusCode.UNAVAILABLE:
        return Unavailable(text)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        said = text if text != "Deadline Exceeded" else ""  # gRPC's own words name no time
        return DeadlineExceeded(said or f"no answer within {timeout_s:g} s")
    return FreshetError(f"{code.name}: {text}")


def _closed() -> Unavailable:
    return Unavailable("the client was closed while the call was under way")
