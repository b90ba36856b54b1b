"""Where commands look for the system."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from freshet.access import OPEN
from freshet.settings import BadSetting
from freshet.v1.recommender_pb2 import RecommendRequest
from services.cli.addresses import (
    SERVICES,
    Addresses,
    NothingRuns,
    Running,
    find_addresses,
    read_running,
    write_running,
)
from services.cli.endpoints import access, ask_ranking, health_page
from services.cli.health import gather
from services.cli.up.command import table
from services.cli.up.lock import AlreadyRunning, holder_of, take_lock

ELSEWHERE = Addresses(kafka="127.0.0.1:1", redis="redis://127.0.0.1:2/0", ranking="127.0.0.1:3")


def _write(folder: Path, *, pid: int = os.getpid()) -> None:
    write_running(folder, Running(ELSEWHERE, True, pid, {"ranking": 7}))


def test_a_running_system_is_found_by_what_it_wrote(tmp_path: Path) -> None:
    with take_lock(tmp_path):
        _write(tmp_path)

        assert find_addresses(tmp_path, {}) == ELSEWHERE
        assert read_running(tmp_path) == Running(ELSEWHERE, True, os.getpid(), {"ranking": 7})


def test_where_redis_is_with_its_password_is_for_the_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "shops" / "mine"
    with take_lock(folder):
        (folder / "run.json.part").touch(mode=0o666)
        before = os.umask(0)
        try:
            _write(folder)
        finally:
            os.umask(before)
    assert stat.S_IMODE((folder / "run.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_what_a_dead_one_wrote_counts_for_nothing(tmp_path: Path) -> None:
    with take_lock(tmp_path):
        _write(tmp_path)

    assert read_running(tmp_path) is None
    assert find_addresses(tmp_path, {"FRESHET_DATA": str(tmp_path)}) == Addresses()


def test_what_a_killed_predecessor_wrote_counts_for_nothing(tmp_path: Path) -> None:
    with take_lock(tmp_path):
        _write(tmp_path, pid=1)

        assert read_running(tmp_path) is None


def test_a_demo_is_found_where_nothing_else_runs(tmp_path: Path) -> None:
    with take_lock(tmp_path / "demo"):
        _write(tmp_path / "demo")

        assert find_addresses(tmp_path, {}) == ELSEWHERE


def test_the_environment_goes_before_everything(tmp_path: Path) -> None:
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": "k:1",
        "REDIS_URL": "redis://r:2",
        "FRESHET_RANKING_ADDRESS": "rank:3",
        "FRESHET_SESSIONS_HEALTH_ADDRESS": "s:4",
    }

    found = find_addresses(tmp_path, environ)

    assert (found.kafka, found.redis, found.ranking) == ("k:1", "redis://r:2", "rank:3")
    assert found.health["sessions"] == "s:4"


async def test_a_password_is_shown_neither_by_status_nor_by_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "redis://shop:pa55@127.0.0.1:1/0"
    monkeypatch.setenv("REDIS_URL", url)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    for name in SERVICES:
        monkeypatch.setenv(f"FRESHET_{name.upper()}_HEALTH_ADDRESS", "127.0.0.1:1")
    printed = StringIO()
    console = Console(width=200, file=printed)
    console.print(table(Running(Addresses(redis=url), True, 1, {}), tmp_path))

    shown = printed.getvalue() + str(await gather(tmp_path))

    assert shown.count("redis://***@127.0.0.1:1/0") == 2
    assert "pa55" not in shown


def test_a_named_folder_where_nothing_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NothingRuns, match=f"no `freshet up` runs on {tmp_path}"):
        find_addresses(tmp_path, {})


def test_a_folder_has_one_holder_whose_process_is_named(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from services.cli.up.lock import take_lock;"
    script += "lock = take_lock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()

        with pytest.raises(
            AlreadyRunning, match=rf"in use by `freshet up` \(process {holder.pid}\)"
        ):
            take_lock(tmp_path)
        assert holder_of(tmp_path) == holder.pid
        holder.kill()
        holder.wait()

    take_lock(tmp_path).close()
    assert holder_of(tmp_path) is None


def test_a_folder_that_is_not_there_is_not_locked(tmp_path: Path) -> None:
    assert holder_of(tmp_path / "none") is None


def test_what_up_runs_is_asked_without_tls_and_token_and_all_else_as_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRESHET_TLS_CA_FILE", "system")
    monkeypatch.setenv("FRESHET_TOKEN", "t0")
    own = msgspec.structs.replace(ELSEWHERE, own=True)
    with take_lock(tmp_path):
        write_running(tmp_path, Running(own, True, os.getpid(), {}))

        assert access(find_addresses(tmp_path, {})) == OPEN
        named = find_addresses(tmp_path, {"FRESHET_RANKING_ADDRESS": "rank:3"})
        shown = access(named)

    assert shown.tls is True
    assert (shown.token, repr(shown).count("t0")) == ("t0", 0)


def test_a_token_is_never_sent_where_others_could_read_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FRESHET_TOKEN", "t0")
    where = Addresses(ranking="ranking.example.com:50051")

    with pytest.raises(BadSetting, match="a token must travel by TLS"):
        ask_ranking(where, lambda stub: stub.Recommend, RecommendRequest(user_id="ada"))
    with pytest.raises(BadSetting, match="a token must travel by TLS"):
        health_page("ranking.example.com:9103", "status", access(where))
