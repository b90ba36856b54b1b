"""The images: small, not root, whole, and with nothing in them that serving must not hold."""

from __future__ import annotations

import ast
import http.server
import importlib.metadata
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import pytest

from tests.certificates import Pki
from tests.contract.dockerfile import ROOT, Stage, files_in_image, in_context, stages

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
LOCKS = ROOT / "deploy" / "locks"
SERVICES = ("sessions", "embedding", "ranking", "gateway")
IMAGES = (*SERVICES, "tools", "training")
COMMANDS = {"tools": "services.cli", "training": "services.training"}
HADOLINT = Path(sys.executable).with_name("hadolint")
STAGES = stages(DOCKERFILE.read_text())
# The day-zero encoders are exported with these, which no image holds (extra `models`).
OURS = ("deploy", "freshet", "services", "shared")
EXPORT_ONLY = {"onnx", "safetensors"}


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HADOLINT, path], capture_output=True, text=True, check=False)


def test_the_dockerfile_is_lint_clean() -> None:
    result = hadolint(DOCKERFILE)
    assert result.returncode == 0, result.stdout


def test_the_linter_would_refuse_a_careless_dockerfile(tmp_path: Path) -> None:
    careless = tmp_path / "Dockerfile"
    careless.write_text(DOCKERFILE.read_text().replace("python:3.11-slim-bookworm", "python"))
    assert "DL3006" in hadolint(careless).stdout


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_runs_as_a_numeric_user_other_than_root(name: str) -> None:
    user = STAGES[name].last("USER")
    assert user is not None
    uid, gid = user.split(":")
    assert int(uid) >= 10_000
    assert int(gid) >= 10_000


@pytest.mark.parametrize("name", SERVICES)
def test_a_services_image_starts_the_service_and_probes_its_health_port(name: str) -> None:
    stage = STAGES[name]
    assert stage.last("CMD") == f'["python", "-m", "services.{name}"]'
    health = stage.last("HEALTHCHECK")
    assert health is not None
    assert f'"deploy/probe.py", "FRESHET_{name.upper()}_HEALTH_PORT"' in health


@pytest.mark.parametrize("name", IMAGES)
def test_no_compiler_reaches_an_image(name: str) -> None:
    runs = [text for keyword, text in STAGES[name].instructions if keyword == "RUN"]
    assert not any("apt-get" in run or "pip" in run for run in runs)
    assert STAGES[name].base == ("pytorch" if name == "training" else "runtime")
    assert STAGES["pytorch"].base == STAGES["runtime"].base == "base"


def test_packages_are_compiled_for_any_cpu() -> None:
    assert STAGES["ranking-packages"].env()["HNSWLIB_NO_NATIVE"] == "1"


@pytest.mark.parametrize("name", IMAGES)
def test_onnx_runtime_reports_to_nobody(name: str) -> None:
    assert STAGES[name].env()["ORT_DISABLE_TELEMETRY"] == "1"


def locked(name: str) -> set[str]:
    text = (LOCKS / f"{name}.txt").read_text()
    return set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==", text, re.MULTILINE))


def installed_in(stage: Stage) -> set[str]:
    """Return the distributions of the packages stage that an image copies from."""
    copied = [text for keyword, text in stage.instructions if keyword == "COPY"]
    (packages,) = {m[1] for text in copied if (m := re.match(r"--from=(\S+)", text))}
    install = STAGES[packages].last("RUN")
    assert install is not None
    lock = re.search(r" install-locked /locks/(\w+)\.txt( \$\{OBJECT_STORES\S*)?$", install)
    assert lock is not None
    return locked(lock[1])


def test_what_trains_has_an_image_of_its_own() -> None:
    stage = STAGES["training"]
    assert "torch" in installed_in(stage)
    assert stage.last("ENTRYPOINT") == '["python", "-m", "services.training"]'


def test_steps_of_the_training_image_install_what_is_locked_once_and_no_triton(
    tmp_path: Path,
) -> None:
    pip = tmp_path / "pip"  # tells what it was to install
    pip.write_text('#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\ncat "$1"\n')
    pip.chmod(0o755)
    steps = [
        dict(re.findall(r"(ONLY|BUT)='([^']+)'", text))
        for stage in ("training-packages", "pytorch")
        for keyword, text in STAGES[stage].instructions
        if keyword == "RUN" and "/locks/training.txt" in text
    ]
    installed = [
        subprocess.run(
            [ROOT / "deploy" / "install-locked", LOCKS / "training.txt"],
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "PREFIX": str(tmp_path), **step},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for step in steps
    ]
    entries = "".join(installed).replace("\n    ", "").splitlines()
    expected = (LOCKS / "training.txt").read_text().replace("\n    ", "").splitlines()
    assert len(steps) == 3
    assert sorted(entries) == sorted(each for each in expected if not each.startswith("triton=="))


@pytest.mark.parametrize("name", IMAGES)
def test_no_image_holds_a_test_tool_and_none_that_serves_torch(name: str) -> None:
    packages = installed_in(STAGES[name])
    assert "numpy" in packages
    unwanted = "tensorflow|jax|pytest|mypy$|ruff|hypothesis|moto|ranx"
    if name != "training":
        unwanted += "|torch|nvidia|triton"
    assert [package for package in packages if re.match(unwanted, package)] == []


def test_training_runs_by_the_versions_that_it_is_tested_by() -> None:
    def versions(name: str) -> set[str]:
        return set(re.findall(r"^\S+==\S+", (LOCKS / f"{name}.txt").read_text(), re.MULTILINE))

    assert versions("training") < versions("test-training")


def test_every_locked_file_comes_with_hashes() -> None:
    for path in LOCKS.glob("*.txt"):
        entries = re.split(r"\n(?=\S)", path.read_text().strip())
        assert entries
        assert [entry for entry in entries if "--hash=sha256:" not in entry] == [], path


def test_what_exists_as_source_only_is_known_where_it_is_locked_and_where_it_is_installed() -> None:
    def named(path: Path) -> set[str]:
        options = re.findall(r"--no-binary (\S+)", path.read_text())
        return {name for option in options for name in option.split(",")}

    source_only = named(ROOT / "deploy" / "install-locked")
    assert "lime" in source_only, "else the training image cannot be built"
    assert named(LOCKS / "compile") == source_only


def imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, also within functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def file_of(module: str, files: Iterable[PurePosixPath]) -> PurePosixPath | None:
    stem = PurePosixPath(*module.split("."))
    known = set(files)
    candidates = (stem.with_suffix(".py"), stem / "__init__.py")
    return next((path for path in candidates if path in known), None)


def reachable(starts: Iterable[str], files: dict[PurePosixPath, Path]) -> tuple[set[str], set[str]]:
    """Follow imports from modules: (first-party modules without a file, all other modules)."""
    missing: set[str] = set()
    others: set[str] = set()
    seen: set[str] = set()
    todo = [*starts]
    while todo:
        module = todo.pop()
        if module in seen:
            continue
        seen.add(module)
        if module.split(".")[0] not in OURS:
            others.add(module.split(".")[0])
            continue
        path = file_of(module, files)
        if path is not None:
            todo += imports(files[path])
        elif file_of(module.rpartition(".")[0], files) is None:
            missing.add(module)  # neither a module nor a name in one
    return missing, others


@pytest.mark.parametrize("name", IMAGES)
def test_everything_that_an_image_imports_is_in_it(name: str) -> None:
    stage = STAGES[name]
    files = files_in_image(stage)
    start = f"{COMMANDS.get(name, f'services.{name}')}.__main__"
    assert file_of(start, files) is not None
    if name == "training":  # its registry has modules' names as text
        starts = [".".join(path.with_suffix("").parts) for path in files if path.suffix == ".py"]
        starts = [module for module in starts if module.startswith("services.training.")]
    else:
        starts = [start]
    missing, others = reachable(starts, files)
    assert missing == set()
    distributions = importlib.metadata.packages_distributions()
    packages = installed_in(stage)
    elsewhere = {"google", "__future__"} | (EXPORT_ONLY - packages)
    needed = {  # PyTorch is not in this environment: such modules are called as their package
        module: {
            re.sub(r"[-_.]+", "-", each).lower() for each in distributions.get(module, [module])
        }
        for module in others - sys.stdlib_module_names - elsewhere
    }
    assert {module: names for module, names in needed.items() if not names & packages} == {}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_started_on_its_own_files_names_a_bad_setting(name: str, tmp_path: Path) -> None:
    for inside, source in files_in_image(STAGES[name]).items():
        (tmp_path / inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tmp_path / inside)
    arguments = ["no-such-command"] if name in COMMANDS else []
    result = subprocess.run(
        [sys.executable, "-m", COMMANDS.get(name, f"services.{name}"), *arguments],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], f"FRESHET_{name.upper()}_HEALTH_PORT": "high"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2, result.stderr
    words = arguments[0] if arguments else f"FRESHET_{name.upper()}_HEALTH_PORT must be"
    assert words in result.stderr


def test_the_build_context_holds_no_tests_data_or_secrets() -> None:
    for path in (".git/config", ".env", "tests/__init__.py", "docs/x.md", ".freshet/kafka/log"):
        assert not in_context(path)
    for path in (
        "services/ranking/stages/blend.py",
        "deploy/locks/build.txt",
        "shared/users/keys.py",
    ):
        assert in_context(path)
    assert not in_context("shared/__pycache__/keys.cpython-311.pyc")


class Answer(http.server.BaseHTTPRequestHandler):
    """A health port that is ready or not."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/ready" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_probe_exits_as_the_health_port_answers(status: int, code: int) -> None:
    handler = type("Handler", (Answer,), {"status": status})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert probe(server.server_port) == code
        thread.join()
    assert probe(server.server_port) == 1  # nobody listens any more


def test_the_probe_asks_by_tls_where_the_service_has_a_certificate(tmp_path: Path) -> None:
    certificate = Pki(tmp_path).issue("server", "ranking")  # which is not what the probe asks
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate.files)
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert probe(server.server_port, FRESHET_TLS_CERT_FILE=certificate.cert_file) == 0
        thread.join()


def probe(port: int, **environ: str) -> int:
    command = [sys.executable, str(ROOT / "deploy" / "probe.py"), "FRESHET_TEST_PORT", "1"]
    env = {"FRESHET_TEST_PORT": str(port), **environ}
    return subprocess.run(command, env=env, check=False).returncode
