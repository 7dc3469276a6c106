"""What `torch.save` writes, made without torch: arrays stand for tensors."""

import collections
import io
import pickle
import sys
import zipfile
from contextlib import contextmanager
from types import ModuleType

import ml_dtypes
import numpy as np

STORAGES = {
    **{"float64": "DoubleStorage", "float32": "FloatStorage", "float16": "HalfStorage", "bfloat16": "BFloat16Storage"},
    **{"int64": "LongStorage", "int32": "IntStorage", "uint8": "ByteStorage", "bool": "BoolStorage"},
}


class Reduced:
    """An object that is pickled as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@contextmanager
def fake_torch():
    """The names of torch that archives hold, for the pickler to find."""
    torch, utils = ModuleType("torch"), ModuleType("torch._utils")
    for name in STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2():
        """Only its name counts."""

    _rebuild_tensor_v2.__module__ = "torch._utils"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    utils._rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules.update({"torch": torch, "torch._utils": utils})
    try:
        yield torch, utils
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


class Storage:
    """What a tensor of the archive refers to."""

    def __init__(self, kind, key, array):
        self.kind, self.key, self.array = kind, key, array


class Pickler(pickle.Pickler):
    """Writes storages by reference, as PyTorch does."""

    def __init__(self, file, torch, *, view=()):
        super().__init__(file, protocol=2)
        self.torch, self.view = torch, view

    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            return "storage", getattr(self.torch, obj.kind), obj.key, "cpu", obj.array.size, *self.view
        return None


def rebuilt(value, utils, storages):
    """`value` with the call that rebuilds a tensor for each array; fills the list `storages`."""
    if isinstance(value, np.ndarray):
        storage = Storage(STORAGES[value.dtype.name], str(len(storages)), value.copy(order="C"))
        storages.append(storage)
        strides = tuple(step // value.itemsize for step in storage.array.strides)
        hooks = collections.OrderedDict()
        return Reduced(utils._rebuild_tensor_v2, storage, 0, value.shape, strides, False, hooks)
    if isinstance(value, dict) and value.get("model") is not value:
        return type(value)((key, rebuilt(item, utils, storages)) for key, item in value.items())
    return value


def pickled(value, *, view=()):
    """(pickle, storages) of `value`."""
    storages, file = [], io.BytesIO()
    with fake_torch() as (torch, utils):
        Pickler(file, torch, view=view).dump(rebuilt(value, utils, storages))
    return file.getvalue(), storages


def save_zip(value, path, *, byteorder=b"little", compression=zipfile.ZIP_STORED):
    """As `torch.save` since version 1.6."""
    content, storages = pickled(value)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/byteorder", byteorder)
        for storage in storages:
            archive.writestr(f"archive/data/{storage.key}", storage.array.tobytes())
        archive.writestr("archive/version", b"3\n")


def save_stream(value, path, *, little_endian=True):
    """As `torch.save` before version 1.6."""
    content, storages = pickled(value, view=(None,))
    system = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = [pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, system)]
    keys = pickle.dumps([storage.key for storage in storages], protocol=2)
    numbers = [storage.array.size.to_bytes(8, "little") + storage.array.tobytes() for storage in storages]
    path.write_bytes(b"".join([*head, content, keys, *numbers]))


def bfloat16(array):
    """The array in the upper half of its bits."""
    return np.asarray(array).astype(ml_dtypes.bfloat16)
