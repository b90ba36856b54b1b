from __future__ import annotations

import collections
import io
import os
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from deploy.models.export.weights import BadWeights, read_pth, verified

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class Global:
    """Pickles as a reference to a name of torch, which is not installed."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Storage(Global):
    def __init__(self, kind: str, key: str, size: int) -> None:
        super().__init__("torch", kind)
        self.key, self.size = key, size


class Tensor:
    def __init__(
        self, storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> None:
        self.arguments: tuple[Any, ...] = (
            storage,
            offset,
            shape,
            strides,
            False,
            collections.OrderedDict(),
        )


class Pickler(pickle._Pickler):  # the one in Python, because it can be taught names without modules
    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, Storage):
            return ("storage", Global("torch", obj.name), obj.key, "cpu", obj.size, None)
        return None

    def save_global_name(self, obj: Global) -> None:
        self.write(f"c{obj.module}\n{obj.name}\n".encode())  # type: ignore[attr-defined]

    def save_tensor(self, obj: Tensor) -> None:
        self.save(Global("torch._utils", "_rebuild_tensor_v2"))  # type: ignore[attr-defined]
        self.save(obj.arguments)  # type: ignore[attr-defined]
        self.write(pickle.REDUCE)  # type: ignore[attr-defined]

    dispatch[Global] = save_global_name
    dispatch[Tensor] = save_tensor


def pth(state: Any, storages: dict[str, np.ndarray], magic: int = MAGIC) -> bytes:
    file = io.BytesIO()
    for value in (magic, PROTOCOL, {"little_endian": True}, state, list(storages)):
        Pickler(file, 2).dump(value)
    for elements in storages.values():
        file.write(len(elements).to_bytes(8, "little") + elements.tobytes())
    return file.getvalue()


VALUES = {"0": np.arange(12, dtype="<f4"), "1": np.array([7], "<i8")}


def test_tensors_are_views_of_their_storages() -> None:
    floats, longs = Storage("FloatStorage", "0", 12), Storage("LongStorage", "1", 1)
    state = collections.OrderedDict(
        whole=Tensor(floats, 0, (3, 4), (4, 1)),
        turned=Tensor(floats, 0, (4, 3), (1, 4)),
        part=Tensor(floats, 6, (2, 2), (2, 1)),
        count=Tensor(longs, 0, (1,), (1,)),
    )
    found = read_pth(pth(state, VALUES))
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(found["whole"], whole)
    assert np.array_equal(found["turned"], whole.T)
    assert np.array_equal(found["part"], [[6, 7], [8, 9]])
    assert found["count"].tolist() == [7]


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (13,), (1,)),
        (1, (3, 4), (4, 1)),
        (0, (2, 2), (11, 1)),
        (0, (3,), (-1,)),
        (-12, (3,), (1,)),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(
    offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    state = {"a": Tensor(Storage("FloatStorage", "0", 12), offset, shape, strides)}
    with pytest.raises(BadWeights, match="beyond its storage"):
        read_pth(pth(state, {"0": VALUES["0"]}))


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_calls_something_is_refused_and_nothing_is_called(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="asks for posix.mkdir, which is not allowed"):
        read_pth(pth({"a": Evil(tmp_path / "called")}, {}))
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize(
    "name",
    [
        ("builtins", "eval"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_parameter"),
        ("os", "system"),
    ],
)
def test_no_other_name_can_be_had(name: tuple[str, str]) -> None:
    with pytest.raises(BadWeights, match="not allowed"):
        read_pth(pth({"a": Global(*name)}, {}))


def test_what_is_no_state_dict_is_refused() -> None:
    for data in (
        b"",
        b"PK\x03\x04",
        pth({}, {}, magic=1),
        pickle.dumps(MAGIC),
        pth([1], {}),
        pth({"a": 1}, {}),
    ):
        with pytest.raises(BadWeights):
            read_pth(data)


def test_a_truncated_file_is_refused() -> None:
    data = pth({"a": Tensor(Storage("FloatStorage", "0", 12), 0, (12,), (1,))}, {"0": VALUES["0"]})
    assert read_pth(data)["a"].sum() == 66
    for length in (len(data) - 1, len(data) - 52, len(data) // 2, 20):
        with pytest.raises(BadWeights):
            read_pth(data[:length])


def test_bytes_with_another_hash_are_refused() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert verified(b"", empty, "x") == b""
    with pytest.raises(BadWeights, match=f"model.pth has sha256 .*, not the pinned {empty}"):
        verified(b"x", empty, "model.pth")
