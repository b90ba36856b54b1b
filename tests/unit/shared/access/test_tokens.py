"""Bearer tokens: what they let do, what is kept of them, how they are exchanged."""

from __future__ import annotations

import hmac
import os
from pathlib import Path

import pytest

from shared.access.tokens import NotLetIn, Scope, Tokens, digest_of, line_of, new_token

SERVE, PEOPLE, OPERATE = Scope.SERVE, Scope.PEOPLE, Scope.OPERATE


def known(folder: Path, *lines: str) -> Tokens:
    return Tokens(str(written(folder, *lines)))


def written(folder: Path, *lines: str) -> Path:
    file = folder / "tokens"
    part = folder / "tokens.part"
    part.write_text("\n".join(lines) + "\n")
    os.replace(part, file)
    return file


def test_a_token_opens_what_its_scopes_name_and_nothing_else(tmp_path: Path) -> None:
    secret = new_token()
    door = known(tmp_path, "# of the shop", line_of("shop", [SERVE, PEOPLE], secret), "")

    assert door.holder(f"Bearer {secret}", "Recommend", SERVE).name == "shop"
    assert door.holder(f"bearer  {secret}", "State", PEOPLE).name == "shop"
    with pytest.raises(NotLetIn, match=r"POST /snapshot needs .* of scope operate") as refused:
        door.holder(f"Bearer {secret}", "POST /snapshot", OPERATE)
    assert refused.value.known
    assert "serve, people" in str(refused.value)


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        "Bearer",
        "Basic c2hvcA==",
        "Bearer nobody's",
        "Bearer \udcff",  # as a health port reads bytes that are no text
        "x" * 9000,
    ],
)
def test_whoever_is_not_known_is_told_the_scope_and_never_a_token(
    tmp_path: Path, sent: str | None
) -> None:
    secret = new_token()
    door = known(tmp_path, line_of("shop", [SERVE], secret))

    with pytest.raises(NotLetIn, match=r"^Search needs a bearer token of scope serve") as refused:
        door.holder(sent, "Search", SERVE)

    assert not refused.value.known
    assert "nobody" not in str(refused.value)
    assert "shop" not in str(refused.value)


def test_the_hash_that_is_kept_opens_nothing(tmp_path: Path) -> None:
    secret = new_token()
    line = line_of("shop", [SERVE], secret)
    assert secret not in line

    with pytest.raises(NotLetIn):
        known(tmp_path, line).holder(f"Bearer {digest_of(secret).hex()}", "Search", SERVE)


def test_tokens_are_random_and_never_the_same() -> None:
    made = {new_token() for _ in range(100)}

    assert len(made) == 100
    assert all(len(token) >= 43 for token in made)


def test_every_known_hash_is_compared_in_constant_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = [new_token() for _ in range(3)]
    lines = [line_of(f"app-{number}", [SERVE], it) for number, it in enumerate(secrets)]
    door = known(tmp_path, *lines)
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def noted(known: bytes, sent: bytes) -> bool:
        compared.append(known)
        return compare(known, sent)

    monkeypatch.setattr(hmac, "compare_digest", noted)

    door.holder(f"Bearer {secrets[0]}", "Search", SERVE)

    assert compared == [digest_of(it) for it in secrets]


def test_two_of_a_name_are_valid_at_once_so_that_one_follows_the_other(tmp_path: Path) -> None:
    old, new = new_token(), new_token()
    before, after = (line_of("shop", [SERVE], each) for each in (old, new))
    door = known(tmp_path, before)

    written(tmp_path, before, after)
    assert door.holder(f"Bearer {old}", "Search", SERVE).name == "shop"
    assert door.holder(f"Bearer {new}", "Search", SERVE).name == "shop"

    written(tmp_path, after)
    door.holder(f"Bearer {new}", "Search", SERVE)
    with pytest.raises(NotLetIn):
        door.holder(f"Bearer {old}", "Search", SERVE)


def test_a_third_of_a_name_is_refused_as_a_forgotten_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shop has 3 tokens, at most 2"):
        known(tmp_path, *(line_of("shop", [SERVE], new_token()) for _ in range(3)))


def test_a_file_that_breaks_leaves_the_former_tokens_valid(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = new_token()
    door = known(tmp_path, line_of("shop", [SERVE], secret))

    written(tmp_path, f"shop serve {secret}")

    door.holder(f"Bearer {secret}", "Search", SERVE)
    door.holder(f"Bearer {secret}", "Search", SERVE)
    (complaint,) = caplog.messages
    assert "line 1" in complaint
    assert secret not in complaint


@pytest.mark.parametrize(
    "line",
    [
        "shop serve",
        "shop serve 00ff",
        f"shop sell {'0' * 64}",
        f"shop serve {'g' * 64}",
        f"sh/op serve {'0' * 64}",
        "freshet_plain-token serve plain-token",
    ],
)
def test_a_bad_line_is_named_by_its_number_and_not_shown(tmp_path: Path, line: str) -> None:
    with pytest.raises(ValueError, match="line 2 must be NAME SCOPES SHA256") as refused:
        known(tmp_path, "", line)

    assert "plain" not in str(refused.value)
