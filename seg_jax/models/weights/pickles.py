"""PyTorch's archives (`torch.save`), read without torch: the zip file of today and the stream of before version 1.6.

Both are pickles, which can name any function of Python to be called. Here a name stands for one of the few things that
a state dict is made of, or the file is refused; nothing from the file is imported or run.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seg_jax.runtime.errors import SegJaxError

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # how the stream begins
# Class of a storage -> dtype of its elements; bfloat16 is the upper half of a float32.
DTYPES = {
    **{"DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16"},
    **{"LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1"},
    "BoolStorage": "?",
}


class PickleError(SegJaxError, ValueError):
    """A file that is not read; the message says what it holds."""


class _Dict(dict[Any, Any]):
    """An OrderedDict of the file, without the attributes that one may have (`_metadata` of state dicts)."""

    def __setstate__(self, state: Any) -> None:
        pass


@dataclass(frozen=True)
class _Storage:
    """Numbers of the file: `size` elements under the name `key`."""

    dtype: str
    key: str
    size: int


@dataclass(frozen=True)
class _View:
    """A tensor of the file, whose numbers are read at the end."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # counted in elements


def _is_count(*values: Any) -> bool:
    return all(isinstance(value, int) and 0 <= value < 2**62 for value in values)


def _view(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _View:
    """`torch._utils._rebuild_tensor_v2`; what follows concerns gradients."""
    fits = isinstance(storage, _Storage) and isinstance(shape, tuple) and isinstance(strides, tuple)
    if not fits or not _is_count(offset, *shape, *strides) or len(shape) != len(strides) or len(shape) > 16:
        raise PickleError("it describes a tensor in a way that PyTorch does not")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    elements = math.prod(shape)
    if elements and (last >= storage.size or elements > storage.size):
        raise PickleError(f"a tensor of shape {list(shape)} reaches beyond its {storage.size} numbers")
    return _View(storage, offset, shape, strides)


# (module, name) -> what it stands for.
KNOWN: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Dict,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor_v2"): _view,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    **{("torch", name): dtype for name, dtype in DTYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN:
            raise PickleError(f"it names {module}.{name}, which is no part of a state dict")
        return KNOWN[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        # ('storage', class, key, device, size) and, in the stream, a view, which PyTorch has not written since 0.4.
        kind, dtype, key, _, size, *view = pid if isinstance(pid, tuple) and len(pid) in (5, 6) else (None,) * 5
        if kind != "storage" or dtype not in DTYPES.values() or not isinstance(key, str) or not _is_count(size):
            raise PickleError("it refers to something that is not the storage of a tensor")
        if any(part is not None for part in view):
            raise PickleError("its tensors are views of views, which PyTorch wrote before 0.4")
        return _Storage(dtype, key, size)


def _unpickle(content: io.BytesIO) -> Any:
    try:
        return _Unpickler(content).load()
    except PickleError:
        raise
    except MemoryError:
        raise PickleError("it asks for more memory than there is") from None
    except Exception as error:  # a damaged pickle ends in any of Python's errors
        raise PickleError(f"its pickle is damaged ({type(error).__name__}: {error})") from error


def load(path: Path) -> Any:
    """What was saved, with arrays for tensors: float32 for bfloat16, else the dtype of the file.

    Args:
      path: of a file that `torch.save` wrote on a little-endian machine.

    Raises:
      PickleError: damage, another format, or something that is no tensor, container, number or text.
    """
    content = path.read_bytes()
    try:
        return _arrays(*(_open_zip(content) if zipfile.is_zipfile(io.BytesIO(content)) else _open_stream(content)))
    except PickleError:
        raise
    except RecursionError:
        raise PickleError("its dictionaries are nested too deeply") from None
    except (zipfile.BadZipFile, KeyError, OSError, EOFError, RuntimeError, ValueError) as error:
        raise PickleError(f"it is no whole zip file ({error})") from error


def _arrays(saved: Any, read: Callable[[_Storage], bytes]) -> Any:
    """What was saved, with its arrays; `read` gives the bytes of a storage."""
    storages: dict[str, np.ndarray] = {}

    def array(view: _View) -> np.ndarray:
        storage = view.storage
        if storage.key not in storages:
            storages[storage.key] = _elements(read(storage), storage)
        steps = tuple(stride * storages[storage.key].itemsize for stride in view.strides)
        start = storages[storage.key][view.offset :]
        whole = np.lib.stride_tricks.as_strided(start, view.shape, steps, writeable=False)
        if storage.dtype == "bfloat16":
            return (whole.astype(np.uint32) << 16).view(np.float32)
        return np.ascontiguousarray(whole).reshape(view.shape)

    return _mapped(saved, array, {})


def _elements(content: bytes, storage: _Storage) -> np.ndarray:
    dtype = np.dtype("<u2" if storage.dtype == "bfloat16" else storage.dtype)
    if len(content) != storage.size * dtype.itemsize:
        raise PickleError(f"its storage {storage.key} has {len(content)} bytes for {storage.size} numbers")
    return np.frombuffer(content, dtype)


def _mapped(value: Any, array: Callable[[_View], np.ndarray], seen: dict[int, Any]) -> Any:
    """`value` with an array for each view, in dictionaries; lists and what else there is have no weights."""
    if isinstance(value, _View):
        return array(value)
    if not isinstance(value, dict):
        return value
    if id(value) not in seen:
        seen[id(value)] = result = {}
        result.update({key: _mapped(item, array, seen) for key, item in value.items()})
    return seen[id(value)]


def _open_zip(content: bytes) -> tuple[Any, Callable[[_Storage], bytes]]:
    archive = zipfile.ZipFile(io.BytesIO(content))
    names = archive.namelist()
    pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise PickleError("it is a zip file, but not of torch.save")
    folder = pickles[0].removesuffix("data.pkl")

    def member(name: str) -> bytes:
        info = archive.getinfo(folder + name)
        if info.compress_type != zipfile.ZIP_STORED:
            raise PickleError(f"its member {name} is compressed, which PyTorch does not do")
        return archive.read(info)

    if folder + "byteorder" in names and member("byteorder") != b"little":
        raise PickleError("it was saved on a big-endian machine")
    return _unpickle(io.BytesIO(member("data.pkl"))), lambda storage: member(f"data/{storage.key}")


def _open_stream(stream: bytes) -> tuple[Any, Callable[[_Storage], bytes]]:
    content = io.BytesIO(stream)
    if _unpickle(content) != MAGIC or _unpickle(content) != PROTOCOL:
        raise PickleError("it does not begin as torch.save begins")
    system = _unpickle(content)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise PickleError("it was saved on a big-endian machine")
    saved, keys = _unpickle(content), _unpickle(content)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise PickleError("it has no list of its storages")
    sizes = _sizes(saved)
    found: dict[str, bytes] = {}
    for key in keys:
        header = content.read(8)
        count = int.from_bytes(header, "little", signed=True)
        storage = sizes.get(key)
        if len(header) < 8 or storage is None or count != storage.size:
            raise PickleError(f"its storage {key} is cut short, or of another size than its tensors say")
        itemsize = 2 if storage.dtype == "bfloat16" else np.dtype(storage.dtype).itemsize
        found[key] = content.read(count * itemsize)

    def read(storage: _Storage) -> bytes:
        if storage.key not in found:
            raise PickleError(f"its storage {storage.key} is missing")
        return found[storage.key]

    return saved, read


def _sizes(saved: Any) -> dict[str, _Storage]:
    """Key -> storage, of all tensors in `saved`."""
    found: dict[str, _Storage] = {}
    ahead, seen = [saved], set()
    while ahead:
        value = ahead.pop()
        if isinstance(value, _View):
            found[value.storage.key] = value.storage
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            ahead += value.values() if isinstance(value, dict) else value
    return found
