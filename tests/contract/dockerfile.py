"""What deploy/Dockerfile would put into an image, read without a container engine.

Enough of the two formats for this project's files: COPY of files and folders from the build
context, stages built on others, and .dockerignore where the last pattern that matches decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Stage:
    """A stage's instructions, its base's first."""

    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)  # (KEYWORD, arguments)

    def last(self, keyword: str) -> str | None:
        """Return the arguments of the last instruction of this kind: the one that counts."""
        found = [arguments for name, arguments in self.instructions if name == keyword]
        return found[-1] if found else None

    def env(self) -> dict[str, str]:
        """Return the variables that ENV sets."""
        texts = " ".join(text for name, text in self.instructions if name == "ENV")
        return dict(pair.split("=", 1) for pair in texts.split())


def stages(text: str) -> dict[str, Stage]:
    """Read the stages of a Dockerfile by name."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    found: dict[str, Stage] = {}
    current = Stage("")
    for line in filter(None, map(str.strip, joined.splitlines())):
        keyword, _, arguments = line.partition(" ")
        if keyword == "FROM":
            base, _, name = arguments.split()
            inherited = found[base].instructions if base in found else []
            current = found[name] = Stage(base, list(inherited))
        else:
            current.instructions.append((keyword, " ".join(arguments.split())))
    return found


def files_in_image(stage: Stage) -> dict[PurePosixPath, Path]:
    """Return what COPY takes from the build context: path below WORKDIR → file in the checkout.

    Raises FileNotFoundError for a source that is not in the context.
    """
    copies = [text for name, text in stage.instructions if name == "COPY" and "--from" not in text]
    files: dict[PurePosixPath, Path] = {}
    for text in copies:
        *sources, target = text.split()
        for source in sources:
            for inside, path in _below(source):
                files[PurePosixPath(target) / inside] = path
    return files


def _below(source: str) -> Iterator[tuple[str, Path]]:
    path = ROOT / source
    if path.is_file():
        members = [path]
    else:
        members = [member for member in path.rglob("*") if member.is_file()]
    kept = [member for member in members if in_context(str(member.relative_to(ROOT)))]
    if not kept:
        raise FileNotFoundError(f"{source} is not in the build context")
    for member in kept:
        yield (member.name if path.is_file() else str(member.relative_to(path))), member


def in_context(path: str) -> bool:
    """Say whether .dockerignore lets a file of the checkout into the build context."""
    included = True
    for pattern, includes in _ignore_patterns():
        if pattern.match(path):
            included = includes
    return included


@lru_cache
def _ignore_patterns() -> list[tuple[re.Pattern[str], bool]]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in map(str.strip, lines) if line and not line.startswith("#")]
    return [(_regex(rule.removeprefix("!")), rule.startswith("!")) for rule in rules]


def _regex(rule: str) -> re.Pattern[str]:
    """Translate one rule; it holds for what it names and everything below."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    pattern = re.sub(r"\*\*/|\*\*|\*|[^*]+", lambda m: parts.get(m[0], re.escape(m[0])), rule)
    return re.compile(f"{pattern}(?:/.*)?$")
