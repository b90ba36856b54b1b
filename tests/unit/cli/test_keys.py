"""`freshet keys` and `freshet token`: what lets callers into a system to try."""

from __future__ import annotations

import datetime
import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.__main__ import app
from services.cli.keys.issue import CA, CERTIFICATE, KEY, TOKENS, write_keys
from shared.access.public_keys import read_public_keys
from shared.access.tokens import Scope, Tokens

NOW = datetime.datetime.now(datetime.UTC)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def shaken(folder: Path, host: str) -> None:
    """Connect as `host`, both sides showing the certificate. Raises OSError for a refusal."""
    files = (folder / CERTIFICATE, folder / KEY)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / CA)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cafile=folder / CA)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    for context in (server, client):
        context.load_cert_chain(*files)
    here, there = socket.socketpair()

    def answer() -> None:
        with server.wrap_socket(there, server_side=True) as link:
            link.sendall(b"well")

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with client.wrap_socket(here, server_hostname=host) as link:
            assert link.recv(4) == b"well"
    finally:
        thread.join()


@pytest.mark.parametrize(
    "host", ["ranking", "embedding.freshet.svc", "localhost", "127.0.0.1", "shop.example.com"]
)
def test_services_are_known_by_their_names_on_both_sides(tmp_path: Path, host: str) -> None:
    assert write_keys(tmp_path, ["shop.example.com"])

    shaken(tmp_path, host)


def test_tokens_open_what_their_holders_need(tmp_path: Path) -> None:
    write_keys(tmp_path)
    known = Tokens(str(tmp_path / TOKENS))
    holders = {
        "ranking": [Scope.SERVE],
        "gateway": [Scope.SERVE, Scope.PEOPLE],
        "shop": [Scope.SERVE, Scope.PUBLISH, Scope.READ],
        "operator": list(Scope),
    }

    for name, scopes in holders.items():
        secret = (tmp_path / f"{name}.token").read_text().strip()
        assert known.holder(f"Bearer {secret}", "a list", Scope.SERVE).scopes == set(scopes)
        assert secret not in (tmp_path / TOKENS).read_text()


def test_who_came_to_be_a_holder_since_gets_a_token_and_others_keep_theirs(tmp_path: Path) -> None:
    write_keys(tmp_path)
    lines = (tmp_path / TOKENS).read_text().splitlines()
    before = [line for line in lines if not line.startswith("gateway ")]
    (tmp_path / TOKENS).write_text("\n".join(before) + "\n")

    assert write_keys(tmp_path)

    secret = (tmp_path / "gateway.token").read_text().strip()
    holder = Tokens(str(tmp_path / TOKENS)).holder(f"Bearer {secret}", "State", Scope.PEOPLE)
    assert holder.name == "gateway"
    assert (tmp_path / TOKENS).read_text().splitlines()[: len(before)] == before
    assert not write_keys(tmp_path)


def test_nobody_else_may_read_them(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    write_keys(folder)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


def test_what_lasts_stays_and_certificates_are_renewed_in_their_last_month(tmp_path: Path) -> None:
    write_keys(tmp_path, now=NOW)
    first = contents(tmp_path)

    assert not write_keys(tmp_path, now=NOW + datetime.timedelta(days=330))
    assert contents(tmp_path) == first
    assert write_keys(tmp_path, now=NOW + datetime.timedelta(days=340))
    changed = {name for name, content in contents(tmp_path).items() if content != first[name]}
    assert changed == {CA, CERTIFICATE, KEY}


def test_another_host_makes_another_certificate(tmp_path: Path) -> None:
    write_keys(tmp_path)

    assert write_keys(tmp_path, ["shop.example.com"])
    assert not write_keys(tmp_path, ["shop.example.com"])


@pytest.mark.parametrize("never_written", [CA, CERTIFICATE, KEY])
def test_what_was_cut_off_half_way_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, never_written: str
) -> None:
    write_keys(tmp_path, now=NOW - datetime.timedelta(days=340))
    replace = Path.replace

    def replace_or_fail(part: Path, file: Path) -> Path:
        if file.name == never_written:
            raise OSError("no space is left")
        return replace(part, file)

    with monkeypatch.context() as full:
        full.setattr(Path, "replace", replace_or_fail)
        with pytest.raises(OSError, match="no space"):
            write_keys(tmp_path)

    assert write_keys(tmp_path)
    shaken(tmp_path, "ranking")


@pytest.mark.parametrize("host", ["bücher.example", "shop example.com", "https://shop", ""])
def test_a_host_that_no_certificate_can_name_is_a_mistake_in_the_command_line(
    tmp_path: Path, host: str
) -> None:
    result = CliRunner().invoke(app, ["keys", str(tmp_path / "keys"), "--host", host])

    assert result.exit_code == 2
    assert "host must be" in result.stderr
    assert not (tmp_path / "keys").exists()


def test_the_commands_say_what_they_made(tmp_path: Path) -> None:
    keys = ["keys", str(tmp_path / "keys")]
    assert "made" in CliRunner().invoke(app, keys).stdout
    assert "nothing to do" in CliRunner().invoke(app, keys).stdout

    made = CliRunner().invoke(app, ["token", "shop", "--scopes", "people,serve"])
    assert made.stdout.count("\n") == 1  # the token alone, for a pipe
    (line,) = (line for line in made.stderr.splitlines() if line.startswith("shop serve,people "))
    file = tmp_path / "tokens"
    file.write_text(line)
    bearer = f"Bearer {made.stdout.strip()}"
    assert Tokens(str(file)).holder(bearer, "State", Scope.PEOPLE).name == "shop"


def test_keys_go_into_the_files_that_services_read(tmp_path: Path) -> None:
    programs, pages = tmp_path / "programs", tmp_path / "pages"
    programs.write_text("# ours")  # as editors leave it that end no last line

    token = CliRunner().invoke(app, ["token", "shop", "--scopes", "read", "--to", str(programs)])
    origin = "http://127.0.0.1:8000"
    shown = CliRunner().invoke(app, ["public-key", "shop", origin, "--to", str(pages)])
    CliRunner().invoke(app, ["public-key", "blog", origin, "--to", str(pages)])

    bearer = f"Bearer {token.stdout.strip()}"
    assert Tokens(str(programs)).holder(bearer, "lists", Scope.READ).name == "shop"
    first, second = read_public_keys(pages)
    assert (first.name, first.origin, first.key) == ("shop", origin, shown.stdout.strip())
    assert second.name == "blog"
    assert pages.stat().st_mode & 0o077 == 0


def test_a_file_that_cannot_take_a_key_is_a_mistake_in_the_command_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["token", "shop", "--to", str(tmp_path)])

    assert result.exit_code == 2
    assert not result.stdout


@pytest.mark.parametrize("wrong", [["shop", "--scopes", "all"], ["sh op"]])
def test_a_token_for_nothing_known_is_a_mistake_in_the_command_line(wrong: list[str]) -> None:
    result = CliRunner().invoke(app, ["token", *wrong])

    assert result.exit_code == 2
    assert "must be" in result.stderr
