"""Read and write snapshots: an immutable index with its catalogue; nobody reads a whole topic.

    URL/SPACE/CURRENT                names of the newest snapshot and the one before, a line each
    URL/SPACE/NAME/index.hnsw        hnswlib, inner product; an item's label is its row below
    URL/SPACE/NAME/towers.hnsw       the same of the items' tower vectors, where they have some
    URL/SPACE/NAME/catalogue.arrow   shared/catalogue/arrow.py
    URL/SPACE/NAME/manifest.json     Manifest; written last

A snapshot counts once CURRENT names it, and is never changed. hnswlib trusts what it loads (a
flipped byte crashes it later, another dimension loads without a word), so nothing reaches it that
is not, byte for byte, what the manifest says. Blocking: call from a thread.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final
from weakref import finalize

import msgspec
from msgspec import Meta

from freshet.contract.topics import DAY_MS
from shared.catalogue.stores import Store, open_store

log = logging.getLogger(__name__)

FORMAT: Final = 1
INDEX: Final = "index.hnsw"
TOWER_INDEX: Final = "towers.hnsw"
CATALOGUE: Final = "catalogue.arrow"
MANIFEST: Final = "manifest.json"
CURRENT: Final = "CURRENT"
KEPT: Final = 2
KEEPS_DELETES_MS: Final = 6 * DAY_MS  # a day less than `item-vectors` keeps the nulls of deletes
LEFT_OVER_MS: Final = 3_600_000  # what no CURRENT names after that long, nobody is writing any more
AHEAD_MS: Final = 3_600_000  # how far another machine's clock may be ahead
HNSW_M: Final = 16  # links of a node, where settings say nothing else
HNSW_EF_CONSTRUCTION: Final = 120  # candidates while building
HNSW_EF: Final = 96  # candidates while searching; recall@60 is 0.98 or more up to 100,000 items

_NAME = re.compile(r"(\d{13})-[0-9a-f]{8}", re.ASCII)
_SMALL_BYTES = 1024 * 1024
_HEADER = struct.Struct("<6QiI3QdQ")  # of an hnswlib file, as version 0.8 writes it

_Size = Annotated[int, Meta(ge=1, le=256 * 1024**3)]
_Time = Annotated[int, Meta(ge=0, le=2**53)]


class BadSnapshot(ValueError):
    """A snapshot that must not be loaded; the text says why."""


class FileMark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file of a snapshot must be."""

    bytes: _Size
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot says of itself."""

    format: Annotated[int, Meta(ge=FORMAT, le=FORMAT)] = FORMAT
    space: Annotated[str, Meta(min_length=1, max_length=128)]
    dim: Annotated[int, Meta(ge=1, le=4096)]
    count: Annotated[int, Meta(ge=1, le=1_000_000_000)]  # items; a snapshot of none is not made
    m: Annotated[int, Meta(ge=2, le=256)]
    ef_construction: Annotated[int, Meta(ge=1, le=10_000)]
    offsets: dict[int, Annotated[int, Meta(ge=0)]]  # the first offset not in it, by partition
    created_ms: _Time  # when those offsets were taken
    files: dict[str, FileMark] = {}
    tower_dim: Annotated[int, Meta(ge=0, le=4096)] = 0  # of tower vectors; 0: there are none

    @property
    def indexes(self) -> dict[str, int]:
        """The files of graphs that the snapshot has, with the dimensions of each."""
        return {INDEX: self.dim} | ({TOWER_INDEX: self.tower_dim} if self.tower_dim else {})


@dataclass(slots=True, weakref_slot=True)
class Snapshot:
    """A verified snapshot in a local folder. A copy goes when this value does: hold it."""

    name: str
    manifest: Manifest
    folder: Path

    @property
    def index(self) -> Path:
        return self.folder / INDEX

    @property
    def tower_index(self) -> Path:
        return self.folder / TOWER_INDEX

    @property
    def catalogue(self) -> Path:
        return self.folder / CATALOGUE


@dataclass(frozen=True, slots=True)
class NewestSnapshot:
    """The newest snapshot that may be used, and why newer ones may not: (name, reason)."""

    snapshot: Snapshot | None
    refused: tuple[tuple[str, str], ...]


def newest(
    url: str, space: str, dim: int, now_ms: int, keeps_deletes_ms: int = KEEPS_DELETES_MS
) -> Snapshot | None:
    """Return the newest snapshot that may be used; None: read the topic from its beginning.

    Logs why others are refused. Never raises for what lies there, or for a store that is away.
    """
    return find(url, space, dim, now_ms, keeps_deletes_ms).snapshot


def find(
    url: str, space: str, dim: int, now_ms: int, keeps_deletes_ms: int = KEEPS_DELETES_MS
) -> NewestSnapshot:
    """Do as `newest`, and return the reasons too."""
    refused: list[tuple[str, str]] = []
    try:
        store = open_store(url, space)
        names = current(store)
    except (OSError, BadSnapshot) as error:
        return _refuse(refused, CURRENT, error)
    for name in names:
        try:
            snapshot = _load(store, name, space, dim, now_ms, keeps_deletes_ms)
            return NewestSnapshot(snapshot, tuple(refused))
        except (OSError, BadSnapshot) as error:
            _refuse(refused, name, error)
    return NewestSnapshot(None, tuple(refused))


def peek(url: str, space: str) -> Manifest | None:
    """Return what the newest snapshot says of itself, unverified: for its age, not for its data.

    Returns None where there is none that can be read. Raises OSError when the store is away.
    """
    store = open_store(url, space)
    try:
        for name in current(store):
            return _manifest(store.read(f"{name}/{MANIFEST}", _SMALL_BYTES))
    except (FileNotFoundError, BadSnapshot) as error:
        log.warning("the newest snapshot cannot be read: %s", error)
    return None


def current(store: Store) -> list[str]:
    """Return the names that CURRENT holds, the newest first; none if nothing was ever written.

    Raises OSError, and BadSnapshot when it holds anything else.
    """
    try:
        lines = store.read(CURRENT, 1024).decode("ascii", "replace").splitlines()
    except FileNotFoundError:
        return []
    if not lines or len(lines) > KEPT or not all(_NAME.fullmatch(line) for line in lines):
        raise BadSnapshot(f"{CURRENT} must name 1-{KEPT} snapshots, a line each")
    return lines


def verify(folder: Path) -> Manifest:
    """Check a local folder against its manifest, byte for byte. Raises BadSnapshot or OSError."""
    manifest = _manifest((folder / MANIFEST).read_bytes())
    for name, mark in manifest.files.items():
        with (folder / name).open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 != mark.sha256:
            raise BadSnapshot(f"{name} has another sha256 than the manifest says")
    for name, dim in manifest.indexes.items():
        _check_header(folder / name, manifest, dim)
    return manifest


def write(
    url: str,
    manifest: Manifest,
    fill: Callable[[Path], None],
    check: Callable[[Path], None],
) -> str:
    """Write a snapshot and let CURRENT name it. Returns its name.

    fill: writes index and catalogue into a folder. check: loads what then lies there, and raises
    when it is not what it should be. manifest: without its files. Whatever fails, the snapshot
    before stays the current one. Raises OSError, BadSnapshot and what the two functions raise.
    """
    store = open_store(url, manifest.space)
    name = f"{manifest.created_ms:013d}-{secrets.token_hex(4)}"
    try:
        with store.filling(name, last=MANIFEST) as folder:
            fill(folder)
            marks = {file: _mark(folder / file) for file in (*manifest.indexes, CATALOGUE)}
            manifest = msgspec.structs.replace(manifest, files=marks)
            (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))
            verify(folder)
            check(folder)
        _check_sizes(store, name, manifest)
        before = _make_current(store, name)
    except BaseException:
        store.remove(name)
        raise
    _prune(store, name, before)
    return name


def _make_current(store: Store, name: str) -> list[str]:
    """Name a snapshot in CURRENT. Returns the names that stood there."""
    try:
        before = current(store)
    except BadSnapshot:  # damaged: begin anew
        before = []
    if before and before[0] > name:
        raise BadSnapshot(f"a newer snapshot, {before[0]}, was written in the meantime")
    store.replace(CURRENT, "".join(f"{line}\n" for line in [name, *before][:KEPT]).encode())
    return before


def _prune(store: Store, name: str, before: list[str]) -> None:
    """Remove what CURRENT names no more, and what a writer that was killed has left."""
    current = [name, *before][:KEPT]
    try:
        for folder in store.folders():
            match = _NAME.fullmatch(folder)
            if match is None or folder in current:
                continue
            # Another writer may be at work on a young one; its name begins with its time.
            if folder in before or int(match[1]) < int(name[:13]) - LEFT_OVER_MS:
                store.remove(folder)
    except OSError as error:
        log.warning("old snapshots could not be removed: %s", error)


def _load(
    store: Store, name: str, space: str, dim: int, now_ms: int, keeps_deletes_ms: int
) -> Snapshot:
    """Verify a snapshot, from its small parts to its large ones. Raises BadSnapshot or OSError."""
    manifest = _manifest(store.read(f"{name}/{MANIFEST}", _SMALL_BYTES))
    if (manifest.space, manifest.dim) != (space, dim):
        raise BadSnapshot(
            f"must be of space {space!r} with {dim} dimensions, "
            f"was of {manifest.space!r} with {manifest.dim}"
        )
    age_ms = now_ms - manifest.created_ms
    if age_ms > keeps_deletes_ms:
        raise BadSnapshot(
            f"is {age_ms / DAY_MS:.1f} days old and could miss deletes, "
            f"which the topic keeps for little longer than {keeps_deletes_ms / DAY_MS:g}"
        )
    if age_ms < -AHEAD_MS:
        raise BadSnapshot(f"is {-age_ms / 1000:.0f} s ahead of this clock")
    _check_sizes(store, name, manifest)
    folder, copied = store.local(name, (MANIFEST, *manifest.files))
    try:
        if verify(folder) != manifest:
            raise BadSnapshot(f"{MANIFEST} changed while it was read")
    except BaseException:
        if copied:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    snapshot = Snapshot(name, manifest, folder)
    if copied:
        finalize(snapshot, shutil.rmtree, folder, ignore_errors=True)
    return snapshot


def _manifest(raw: bytes) -> Manifest:
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, ValueError) as error:
        raise BadSnapshot(f"{MANIFEST}: {error}") from None
    if set(manifest.files) != {*manifest.indexes, CATALOGUE}:
        listed = " and ".join((*manifest.indexes, CATALOGUE))
        raise BadSnapshot(f"{MANIFEST} must list {listed}")
    return manifest


def _check_sizes(store: Store, name: str, manifest: Manifest) -> None:
    for file, mark in manifest.files.items():
        size = store.size(f"{name}/{file}")
        if size != mark.bytes:
            raise BadSnapshot(f"{file} has {size} bytes, the manifest says {mark.bytes}")


def _check_header(path: Path, manifest: Manifest, dim: int) -> None:
    """Check what hnswlib believes without looking: the numbers at the head of its file."""
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        raise BadSnapshot(f"{path.name} is too short for an index")
    start, room, count, element, label, data, _, entry, upper, lower, m, _, ef = _HEADER.unpack(
        head
    )
    links = 2 * manifest.m * 4 + 4  # of a node in the lowest layer, with their number, in bytes
    size = links + dim * 4 + 8
    good = (
        (start, label, data, element) == (0, size - 8, links, size)
        and count == manifest.count <= room <= 2 * manifest.count + 1024
        and (upper, lower, m, ef)
        == (manifest.m, 2 * manifest.m, manifest.m, manifest.ef_construction)
        and entry < count
        and path.stat().st_size >= _HEADER.size + count * (element + 4)
    )
    if not good:
        raise BadSnapshot(
            f"{path.name} is no index of {manifest.count} vectors with {dim} dimensions, "
            f"M {manifest.m} and ef {manifest.ef_construction}"
        )


def _mark(path: Path) -> FileMark:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileMark(bytes=path.stat().st_size, sha256=digest)


def _refuse(refused: list[tuple[str, str]], name: str, error: Exception) -> NewestSnapshot:
    refused.append((name, str(error)))
    log.warning("snapshot %s refused: %s", name, error)
    return NewestSnapshot(None, tuple(refused))
