"""Read weight files as numpy arrays, without torch.

A .pth is a pickle, and a pickle can call anything. So the bytes must have the sha256 that is
written here before they are read, and the unpickler knows only the few names that rebuild a tensor.
"""

from __future__ import annotations

import collections
import hashlib
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # head of torch's file format of before 1.6
_DTYPES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}


class BadWeights(ValueError):
    """A weight file is not the pinned one, or not of the expected format."""


def verified(data: bytes, sha256: str, name: str) -> bytes:
    """Return the data if it has this sha256. Raises BadWeights."""
    own = hashlib.sha256(data).hexdigest()
    if own != sha256:
        raise BadWeights(f"{name} has sha256 {own}, not the pinned {sha256}")
    return data


def read_pth(data: bytes) -> Arrays:
    """Read a state dict in torch's format of before 1.6 as name → array. Raises BadWeights.

    The file is five pickles (magic number, protocol, system, the dict with tensors as views of
    named storages, the storages' names in order) and then each storage: its element count as int64,
    then its elements.
    """
    stream = io.BytesIO(data)
    storages: dict[str, _Storage] = {}
    try:
        if _load(stream, storages) != _MAGIC or _load(stream, storages) != _PROTOCOL:
            raise BadWeights("not a state dict in torch's old format")
        _load(stream, storages)
        state = _load(stream, storages)
        for key in _load(stream, storages):
            storages[key].read(stream)
        return {name: tensor.array() for name, tensor in state.items()}
    except (
        pickle.UnpicklingError,
        EOFError,
        KeyError,
        IndexError,
        AttributeError,
        TypeError,
    ) as error:
        raise BadWeights(f"not a state dict in torch's old format: {error}") from None


class _Storage:
    def __init__(self, dtype: np.dtype[Any], size: int) -> None:
        self.dtype, self.size = dtype, size
        self.elements: NDArray[Any] = np.empty(0, dtype)

    def read(self, stream: io.BytesIO) -> None:
        size = int.from_bytes(stream.read(8), "little")
        elements = stream.read(size * self.dtype.itemsize)
        if size != self.size or len(elements) != size * self.dtype.itemsize:
            raise BadWeights("a storage is truncated")
        self.elements = np.frombuffer(elements, self.dtype)


class _Tensor:
    """A view of a storage whose elements are read later."""

    def __init__(
        self, storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> None:
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self) -> NDArray[Any]:
        elements = self.storage.elements[self.offset :]
        last = sum(
            (size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True)
        )
        if min((0, self.offset, *self.strides)) < 0 or last >= len(elements):
            raise BadWeights("a tensor reaches beyond its storage")
        strides = tuple(stride * elements.itemsize for stride in self.strides)
        return np.ascontiguousarray(np.lib.stride_tricks.as_strided(elements, self.shape, strides))


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


_ALLOWED: dict[tuple[str, str], Callable[..., Any] | str] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    **{("torch", name): name for name in _DTYPES},
}


class _Unpickler(pickle.Unpickler):
    """An unpickler that can name nothing but what is in _ALLOWED."""

    storages: dict[str, _Storage]

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise BadWeights(f"the state dict asks for {module}.{name}, which is not allowed")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _, size, view = pid
        if kind != "storage" or view is not None:
            raise BadWeights("not a state dict in torch's old format")
        return self.storages.setdefault(key, _Storage(_DTYPES[str(storage_type)], size))


def _load(stream: io.BytesIO, storages: dict[str, _Storage]) -> Any:
    unpickler = _Unpickler(stream)
    unpickler.storages = storages
    return unpickler.load()
