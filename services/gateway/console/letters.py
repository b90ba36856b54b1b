"""Show dead letters and publish their originals again, as `freshet dead-letters` does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Self

import msgspec
from aiokafka.errors import KafkaError

from freshet.errors import DeadlineExceeded, Unavailable
from freshet.kafka_clients import KafkaSettings
from services.gateway.http.refusals import HttpRefusal
from shared.dead_letters.letters import DeadLetter, Selection, newest
from shared.dead_letters.replay import ReplayPlan, plan_replay, replay

SHOWN: Final = 50
LOOKED_AT: Final = 2_000  # of the newest letters: the command knows no bound
WITHIN_S: Final = 30.0


class LettersAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters are meant, by the command's names; what is empty leaves out none."""

    service: tuple[str, ...] = ()
    error: tuple[str, ...] = ()
    topic: tuple[str, ...] = ()
    id: tuple[str, ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None

    def selection(self) -> Selection:
        """Return it as the command has it."""
        return Selection(
            self.service, self.error, self.topic, self.id, self.since_ms, self.until_ms
        )


class ReplayAsked(LettersAsked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which originals to publish again. confirmed: how many somebody said yes to."""

    confirmed: int


class LetterShown(msgspec.Struct, frozen=True):
    """A record that could not be processed, why, and whether it can be published again."""

    origin: str  # topic:partition:offset
    topic: str
    key: str
    service: str
    error_class: str
    error: str
    failed_ms: int
    waits: bool  # can be published again, and was not yet
    stuck: str  # why it cannot be

    @classmethod
    def of(cls, letter: DeadLetter, plan: ReplayPlan) -> Self:
        """Return what is shown of a letter beside what is to be published again."""
        return cls(
            origin=str(letter.origin),
            topic=letter.origin.topic,
            key=letter.key,
            service=letter.service,
            error_class=letter.error_class,
            error=letter.error,
            failed_ms=letter.failed_ms,
            waits=letter.origin in plan.letters.values(),
            stuck=next((each.why for each in plan.refused if each.origin == letter.origin), ""),
        )


class DeadLettersShown(msgspec.Struct, frozen=True):
    """The newest dead letters that are meant, the newest first."""

    letters: tuple[LetterShown, ...]
    total: int  # of the newest LOOKED_AT
    waiting: int  # can be published again, and were not yet


class LettersReplayed(msgspec.Struct, frozen=True):
    """How many originals were published again."""

    replayed: int


class DeadLetterDesk:
    """Looks at dead letters, and publishes their originals again one replay at a time."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._replaying = asyncio.Lock()

    async def look(self, asked: LettersAsked) -> DeadLettersShown:
        """Return what is meant. Raises Unavailable, DeadlineExceeded."""
        async with _answered("reading the dead letters"):
            selection = asked.selection()
            total, letters = await newest(self._settings, SHOWN, selection, LOOKED_AT)
            plan = await plan_replay(self._settings, selection, LOOKED_AT)
        shown = tuple(LetterShown.of(letter, plan) for letter in reversed(letters))
        return DeadLettersShown(shown, total, len(plan.letters))

    async def replay(self, asked: ReplayAsked) -> LettersReplayed:
        """Publish again what is meant, if it is as many as were confirmed.

        Raises HttpRefusal for another number, Unavailable, and DeadlineExceeded: then what was
        published is noted, and the rest waits.
        """
        async with _answered("publishing them again"), self._replaying:
            plan = await plan_replay(self._settings, asked.selection(), LOOKED_AT)
            if len(plan.letters) != asked.confirmed:
                raise HttpRefusal(
                    409,
                    f"{asked.confirmed} were confirmed, and {len(plan.letters)} wait by now:"
                    " look again",
                )
            return LettersReplayed(await replay(self._settings, plan))


@asynccontextmanager
async def _answered(doing: str) -> AsyncIterator[None]:
    """Wait for Kafka for so long. Raises Unavailable, DeadlineExceeded."""
    try:
        async with asyncio.timeout(WITHIN_S):
            yield
    except TimeoutError:
        raise DeadlineExceeded(
            f"Kafka does not answer: {doing} took more than {WITHIN_S:g} s"
        ) from None
    except (KafkaError, OSError) as error:
        raise Unavailable(f"Kafka does not answer: {error or type(error).__name__}") from error
