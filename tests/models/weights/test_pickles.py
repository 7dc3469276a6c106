"""PyTorch's archives, read without torch: arrays as they were, and nothing but arrays."""

import collections
import pickle
import zipfile

import numpy as np
import pytest

from seg_jax.models.weights import pickles
from seg_jax.models.weights.pickles import PickleError, load
from tests.models.weights import archives

SAVERS = [archives.save_zip, archives.save_stream]


@pytest.mark.parametrize("save", SAVERS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int32", "uint8", "bool"])
def test_arrays_by_type(tmp_path, save, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    save({"a": array, "empty": np.zeros((0, 3), dtype), "one": np.asarray(array[1, 2, 3])}, tmp_path / "m.pth")
    found = load(tmp_path / "m.pth")
    np.testing.assert_array_equal(found["a"], array)
    assert found["a"].dtype == dtype and found["empty"].shape == (0, 3) and found["one"].shape == ()


@pytest.mark.parametrize("save", SAVERS)
def test_bfloat16_becomes_float32(tmp_path, save):
    save({"a": archives.bfloat16([1.0, -2.5, 0.1])}, tmp_path / "m.pth")
    found = load(tmp_path / "m.pth")["a"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.asarray(archives.bfloat16([1.0, -2.5, 0.1]), np.float32))


@pytest.mark.parametrize("save", SAVERS)
def test_containers_and_what_else_a_training_saves(tmp_path, save):
    inner = collections.OrderedDict(a=np.ones(2, np.float32))
    save({"state": inner, "epoch": 3, "loss": 0.5, "names": ["a", ("b", None)], "size": 10**30}, tmp_path / "m.pth")
    found = load(tmp_path / "m.pth")
    assert found["epoch"] == 3 and found["names"] == ["a", ("b", None)] and found["size"] == 10**30
    np.testing.assert_array_equal(found["state"]["a"], [1, 1])


def test_a_view_is_read_by_its_strides():
    storage = pickles._Storage("<f4", "0", 12)
    view = pickles._view(storage, 1, (2, 3), (1, 2))
    assert view == pickles._View(storage, 1, (2, 3), (1, 2))
    for wrong in [(7, (2, 3), (1, 2)), (0, (13,), (0,)), (0, (2,), (12,)), (-1, (2,), (1,)), (0, (2,), (1, 1))]:
        with pytest.raises(PickleError):
            pickles._view(storage, *wrong)
    with pytest.raises(PickleError, match="in a way that PyTorch does not"):
        pickles._view("0", 0, (2,), (1,))


def test_a_transposed_tensor(tmp_path, monkeypatch):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    plain = archives.rebuilt

    def transposed(value, utils, storages):
        call = plain(value, utils, storages)
        if isinstance(value, np.ndarray):
            function, (storage, offset, shape, strides, *rest) = call.call
            call.call = function, (storage, offset, shape[::-1], strides[::-1], *rest)
        return call

    monkeypatch.setattr(archives, "rebuilt", transposed)
    archives.save_zip({"a": array}, tmp_path / "m.pth")
    np.testing.assert_array_equal(load(tmp_path / "m.pth")["a"], array.T)


# ----- what is refused


@pytest.mark.parametrize(
    ("function", "named"),
    [(eval, r"builtins\.eval"), (getattr, r"builtins\.getattr"), (pickle.loads, r"pickle\.loads"), (set, r"\.set")],
)
@pytest.mark.parametrize("save", SAVERS)
def test_calls_of_python_are_refused(tmp_path, save, function, named):
    save({"a": archives.Reduced(function, "1")}, tmp_path / "m.pth")
    with pytest.raises(PickleError, match=named.replace("builtins", "(__builtin__|builtins)")):
        load(tmp_path / "m.pth")


def test_machines_of_another_byte_order_are_refused(tmp_path):
    archives.save_zip({}, tmp_path / "zip.pth", byteorder=b"big")
    archives.save_stream({}, tmp_path / "stream.pth", little_endian=False)
    for name in ("zip.pth", "stream.pth"):
        with pytest.raises(PickleError, match="big-endian"):
            load(tmp_path / name)


def test_compressed_members_are_not_unpacked(tmp_path):
    archives.save_zip({"a": np.zeros(10**6, np.float32)}, tmp_path / "m.pth", compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(PickleError, match="compressed, which PyTorch does not do"):
        load(tmp_path / "m.pth")


def test_dictionaries_nested_without_end(tmp_path):
    content = b"\x80\x02" + b"}X\x01\x00\x00\x00a" * 50_000 + b"}" + b"s" * 50_000 + b"."
    with zipfile.ZipFile(tmp_path / "m.pth", "w") as archive:
        archive.writestr("archive/data.pkl", content)
    with pytest.raises(PickleError, match="nested too deeply"):
        load(tmp_path / "m.pth")


@pytest.mark.parametrize("save", SAVERS)
def test_damage_is_an_error_or_leaves_the_arrays(tmp_path, save):
    """Bytes of an archive changed or cut at random: it is refused, or its arrays are of the right kind."""
    path, rng = tmp_path / "m.pth", np.random.default_rng(0)
    save({"state_dict": {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(4)}}, path)
    whole = path.read_bytes()
    refused = 0
    for trial in range(400):
        content = bytearray(whole)
        if trial % 4 == 0:
            content = content[: rng.integers(len(content))]
        else:
            for at in rng.integers(len(content), size=trial % 4):
                content[at] = rng.integers(256)
        path.write_bytes(content)
        try:
            load(path)
        except PickleError:
            refused += 1
    assert refused > 200
