"""The README does what it says: every block is run, every command, link and path is there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from freshet.contract.items import Item
from freshet.settings import from_environment
from services.cli.__main__ import app
from services.cli.addresses import SERVICES
from services.cli.commands import training
from services.cli.up.jars import JarSettings
from services.training.commands.app import app as training_app
from tests.contract.service_settings import settings_class, variables
from tests.e2e import markdown
from tests.e2e.blocks import run_python, run_shell
from tests.e2e.system import Up
from tests.servers import ROOT, eventually, kafka_tool

pytestmark = pytest.mark.e2e

README = (ROOT / "README.md").read_text()
ELSEWHERE = {".venv", ".venv-training", ".git", "node_modules", ".freshet", ".pytest_cache"}
LISTED = r" *-?\d+\.\d{3}  \S.*  \(.+\)"  # score, title, reason
PAGES = sorted(
    page for page in ROOT.rglob("*.md") if ELSEWHERE.isdisjoint(page.relative_to(ROOT).parts)
)

# The blocks, by heading and language; each has its test below.
MAKE = ("Two commands", "sh")
LOOK_AROUND = ("Look around", "sh")
FROM_PYTHON = ("Look around", "python")
OWN_SHOP = ("A shop of your own", "sh")
PUBLISH = ("Items and events in", "python")
CONSOLE_PRODUCER = ("Items and events in", "sh")
IMPORT = ("Real data", "sh")
OTHER_MODELS = ("Other models", "sh")  # tests/proofs/up/test_publishing.py, test_replay.py
# what was printed once; its commands are run or checked
PRINTED = [("Look around", "text"), ("A shop of your own", "text"), ("Real data", "text")]


def blocks(where: tuple[str, str]) -> list[str]:
    """Return the texts of the README's blocks of this language under this heading, in order."""
    return [each.text for each in markdown.blocks(README) if (each.heading, each.language) == where]


def block(where: tuple[str, str]) -> str:
    """Return the text of the README's one block of this language under this heading."""
    (found,) = blocks(where)
    return found


def here(text: str, up: Up) -> str:
    """Return a block with the addresses of the running system in place of the usual ones."""
    assert up.running is not None
    addresses = up.running.addresses
    for usual, actual in (
        ("127.0.0.1:50051", addresses.ranking),
        ("127.0.0.1:9092", addresses.kafka),
        ("127.0.0.1:8080", addresses.gateway),
    ):
        text = text.replace(usual, actual)
    return text


def history_of(up: Up, user: str) -> list[tuple[str, str]]:
    """Return what a user did with what."""
    entries = up.json("state", user)["state"].get("history", [])
    return [(entry["type"], entry["item_id"]) for entry in entries]


def test_every_block_has_its_test() -> None:
    grpcurl = curl = LOOK_AROUND
    owns = [OWN_SHOP, OWN_SHOP, PRINTED[1], OWN_SHOP]
    known = [MAKE, LOOK_AROUND, PRINTED[0], FROM_PYTHON, grpcurl, curl, *owns]
    known += [PUBLISH, CONSOLE_PRODUCER, IMPORT, PRINTED[2], OTHER_MODELS]

    assert [(each.heading, each.language) for each in markdown.blocks(README)] == known


def test_the_demo_has_something_to_show_at_each_command(
    up: Up, shop: list[Item], tmp_path: Path
) -> None:
    look, *_ = blocks(LOOK_AROUND)
    for line in look.splitlines():
        assert run_shell(line, tmp_path, up.data) or line.startswith("."), line


def test_the_list_is_printed_from_python(up: Up, shop: list[Item], tmp_path: Path) -> None:
    printed = run_python(here(block(FROM_PYTHON), up), tmp_path).splitlines()

    assert len(printed) == 3
    for line in printed:
        assert re.fullmatch(LISTED, line), line


@pytest.mark.shared
def test_grpcurl_gets_a_list_from_a_server_that_describes_itself(
    up: Up, shop: list[Item], shared_folder: Path, tmp_path: Path
) -> None:
    unpack = [str(shared_folder / "tools" / "unpack"), "grpcurl", str(tmp_path / "unpacked")]
    grpcurl = subprocess.run(unpack, capture_output=True, text=True, check=True).stdout.strip()

    _, call, _ = blocks(LOOK_AROUND)
    reply = json.loads(run_shell(here(call, up), tmp_path, grpcurl=[grpcurl]))

    assert len(reply["items"]) == 3
    assert all(item["title"] and item["reason"] for item in reply["items"])


def test_curl_gets_a_list_and_publishes_a_click(up: Up, shop: list[Item], tmp_path: Path) -> None:
    *_, calls = blocks(LOOK_AROUND)
    listed, published = map(json.loads, run_shell(here(calls, up), tmp_path).splitlines())

    assert len(listed["items"]) == 3
    assert published["count"] == 1


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Run a system that holds the reader's own shop."""
    folder = tmp_path_factory.mktemp("own")
    with Up(folder / "data") as system:
        system.start()
        printed = run_shell(blocks(OWN_SHOP)[0], folder, system.data)
        assert "10 items and 12 events, all in effect" in printed
        yield system


async def test_lists_of_a_shop_of_ones_own_change_with_each_step(own: Up, tmp_path: Path) -> None:
    def listed() -> list[str]:
        return [item["item_id"] for item in own.json("recommend", "grace", "-k", "4")["items"]]

    _, click, arrival = blocks(OWN_SHOP)
    popular = listed()
    assert len(popular) == 4

    run_shell(click, tmp_path, own.data)
    followed = ["lamp-1", "lamp-2", "rug-2"]  # where others went on to, then what is like it
    await eventually(lambda: listed()[:3] == followed, what="what follows the rug, first")
    assert listed() != popular

    run_shell(arrival, tmp_path, own.data)
    await eventually(lambda: listed()[2] == "rug-3", what="the new rug third in the list")


async def test_items_and_events_of_the_example_take_effect(own: Up, tmp_path: Path) -> None:
    printed = run_python(here(block(PUBLISH), own), tmp_path).splitlines()

    assert len(printed) == 5
    assert all(re.fullmatch(LISTED, line) for line in printed), printed
    assert history_of(own, "heidi")[-1] == ("click", "mug-1")

    def found() -> dict[str, Any] | None:
        items = own.json("search", "--text", "Small stoneware cup", "-k", "10")["items"]
        return next((item for item in items if item["item_id"] == "cup-1"), None)

    item = await eventually(found, what="the cup among what is found")
    assert isinstance(item, dict)
    assert item["title"] == "Small stoneware cup"


async def test_the_console_producers_event_takes_effect(own: Up, tmp_path: Path) -> None:
    tool = kafka_tool("org.apache.kafka.tools.ConsoleProducer")
    before = history_of(own, "ada").count(("like", "mug-1"))

    run_shell(here(block(CONSOLE_PRODUCER), own), tmp_path, kafka_console_producer_sh=tool)

    def liked() -> bool:
        return history_of(own, "ada").count(("like", "mug-1")) == before + 1

    await eventually(liked, what="ada's like")


def typed(program: str) -> Iterator[tuple[str, str]]:
    """Yield all mentions of a program in all pages: page, command line."""
    for page in PAGES:
        for command in markdown.commands(page.read_text()):
            command = command.removeprefix(".venv/bin/")
            if command.split()[:1] == [program] and command != program:
                yield str(page.relative_to(ROOT)), command


def test_every_freshet_command_exists_with_its_options() -> None:
    seen = [each for each in typed("freshet") if "COMMAND" not in each[1]]  # any of them
    for page, command in seen:
        words = shlex.split(command)[1:]
        # Training's own would take this process over.
        of = training_app if words[0] in training.COMMANDS else app
        done = CliRunner().invoke(of, [*words, "--help"])
        assert done.exit_code == 0, f"{page}: {command}: {done.output}"

    assert {"freshet up", "freshet status", "freshet dead-letters"} <= {each for _, each in seen}
    assert CliRunner().invoke(app, ["nonsense", "--help"]).exit_code == 2
    assert CliRunner().invoke(app, ["up", "--nonsense", "--help"]).exit_code == 2


def test_every_make_target_exists() -> None:
    targets = {(page, word) for page, line in typed("make") for word in _targets(line)}
    for page, target in targets:
        done = subprocess.run(
            ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{page}: make {target}: {done.stderr}"

    assert {"demo", "test"} <= {target for _, target in targets}


def _targets(line: str) -> list[str]:
    return [word for word in line.split()[1:] if "=" not in word]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = page.read_text()
    for link in markdown.links(text):
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        if fragment:
            assert fragment in markdown.anchors(target.read_text()), f"no heading for {link}"


def test_every_path_in_the_readme_exists() -> None:
    # `.freshet` holds what the reader's own system made, whatever that is by now
    tops = {entry.name for entry in ROOT.iterdir() if entry.is_dir()} - {".freshet"}
    spans = {word for line in markdown.commands(README) for word in line.split()}
    paths = {word for word in spans if "/" in word and word.split("/")[0] in tops}

    assert paths
    for path in paths:
        assert (ROOT / path).exists(), path


def test_defaults_in_the_readme_are_those_of_the_settings() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`(.*?)`)? *\|", README, re.MULTILINE)

    assert len(rows) >= 6
    for variable, default in rows:
        classes = [*map(settings_class, SERVICES), JarSettings]
        readers = [cls for cls in classes if variable in set(variables(cls))]
        assert readers, f"nothing reads {variable}"
        for cls in readers:
            assert from_environment(cls, {variable: default}) == from_environment(cls, {}), variable
