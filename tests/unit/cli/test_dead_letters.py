"""`freshet dead-letters`: which letters its options mean."""

from __future__ import annotations

import datetime

import pytest
from typer.testing import CliRunner

from services.cli.__main__ import app
from shared.dead_letters import letters
from shared.dead_letters.letters import Selection

TEN = datetime.datetime(2026, 1, 1, 10, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    "time", ["2026-01-01T10:00:00", "2026-01-01T12:00:00+02:00", "2026-01-01T10:00:00Z"]
)
def test_a_time_is_utc_unless_it_says_its_zone(time: str, monkeypatch: pytest.MonkeyPatch) -> None:
    meant: list[Selection] = []

    async def newest(
        _settings: object, _count: int, selection: Selection
    ) -> tuple[int, list[None]]:
        meant.append(selection)
        return 0, []

    monkeypatch.setattr(letters, "newest", newest)
    done = CliRunner().invoke(app, ["dead-letters", "--since", time, "--until", time])

    assert done.exit_code == 0, done.output
    ten_ms = round(TEN.timestamp() * 1000)
    assert [(each.since_ms, each.until_ms) for each in meant] == [(ten_ms, ten_ms)]


def test_a_service_that_writes_no_dead_letters_is_refused() -> None:
    done = CliRunner().invoke(app, ["dead-letters", "--service", "session"])
    assert done.exit_code == 2
    assert "is not one of 'sessions', 'embedding', 'ranking'" in done.output
