"""Weight files as other programs write them, and everything that can be wrong with one."""

import json
import pickle
import re
import resource
import zipfile

import h5py
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from seg_jax import models
from seg_jax.models.weights.files import WeightsError, read
from tests.models.weights import archives

KERNEL = np.arange(54, dtype=np.float32).reshape(3, 3, 3, 2)
VECTOR = np.array([0.5, -1.0], np.float32)


def write_h5(path, tensors):
    with h5py.File(path, "w") as file:
        for name, array in tensors.items():
            file[name] = array
    return path


def assert_holds(file, tensors):
    assert file.tensors.keys() == tensors.keys()
    for name, array in tensors.items():
        assert file.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(file.tensors[name], array)


def refused(path, *parts):
    """The message with which reading `path` is refused; it names the file."""
    with pytest.raises(WeightsError) as error:
        read(path)
    message = str(error.value)
    assert str(path) in message
    for part in parts:
        assert part in message
    return message


# ----- Keras


EXPECTED = {"Conv1/kernel": KERNEL, "bn_Conv1/gamma": VECTOR, "bn_Conv1/moving_mean": -VECTOR}


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param("{layer}/{layer}/{weight}:0", id="weights alone"),
        pytest.param("{layer}/{weight}", id="flat"),
        pytest.param("model_weights/{layer}/{layer}/{weight}:0", id="whole model"),
        pytest.param("model_weights/sequential_1/{layer}/{weight}:0", id="model in a model"),
        pytest.param("model_weights/outer/inner/mobilenet/{layer}/{weight}", id="deeper"),
    ],
)
@pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".H5"])
def test_legacy_files_of_keras(tmp_path, pattern, suffix):
    names = {pattern.format(layer=layer, weight=weight): a for (layer, weight), a in split(EXPECTED)}
    others = {"optimizer_weights/adam/iteration": np.int64(5), "optimizer_weights/adam/Conv1/m:0": KERNEL}
    path = write_h5(tmp_path / f"weights{suffix}", {**names, **(others if "model_weights" in pattern else {})})
    file = read(path)
    assert (file.layout, file.ordered, file.path) == ("keras", False, path)
    assert_holds(file, EXPECTED)


def split(tensors):
    return [(name.split("/"), array) for name, array in tensors.items()]


@pytest.mark.parametrize("prefix", ["", "layers/functional/", "layers/functional_3/"])
@pytest.mark.parametrize("top", ["layers", "_layer_checkpoint_dependencies"])
def test_files_of_keras_3_count_layers(tmp_path, prefix, top):
    # An encoder may be a layer of the model that was saved.
    tensors = {
        "layers/conv2d/vars/0": KERNEL,
        "layers/conv2d_1/vars/0": KERNEL + 1,
        "layers/batch_normalization/vars/2": VECTOR,
    }
    names = {f"{prefix}{name}".replace("layers/", f"{top}/"): array for name, array in tensors.items()}
    others = {
        f"{top}/dense/vars/0": VECTOR,
        "optimizer/vars/1": np.float32(0.1),
        f"{top}/functional/optimizer/vars/1": np.float32(0.1),
        "vars/0": VECTOR,
        f"{top}/dropout/seed_generator/vars/0": np.zeros(2, np.uint32),
        f"{top}/normalization/vars/2": np.int64(0),
    }
    file = read(write_h5(tmp_path / "a.weights.h5", names | others))
    assert (file.layout, file.ordered) == ("keras", True)
    assert_holds(
        file,
        {"conv2d/0": KERNEL, "conv2d_1/0": KERNEL + 1, "batch_normalization/2": VECTOR, "dense/0": VECTOR},
    )


def test_two_tensors_of_one_name_are_refused(tmp_path):
    path = write_h5(tmp_path / "twins.h5", {"left/conv/kernel:0": KERNEL, "right/conv/kernel:0": KERNEL})
    refused(path, "two tensors that are called conv/kernel", "it is not one network")


# ----- PyTorch


STATE = {"conv1.weight": KERNEL.transpose(3, 2, 0, 1).copy(), "bn1.weight": VECTOR, "bn1.running_var": VECTOR**2}


def test_safetensors(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({**STATE, "bn1.num_batches_tracked": np.array(7)}, path)
    file = read(path)
    assert (file.layout, file.ordered) == ("torch", False)
    assert_holds(file, STATE)


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ({"encoder._orig_mod.conv1.weight", "decoder.bias"}, {"encoder.conv1.weight", "decoder.bias"}),
        ({"net.encoder._orig_mod.a", "net.decoder._orig_mod.b"}, {"net.encoder.a", "net.decoder.b"}),
        ({"_orig_mod.encoder.a", "_orig_mod.decoder.b"}, {"_orig_mod.encoder.a", "_orig_mod.decoder.b"}),  # a prefix
    ],
)
def test_names_of_parts_that_were_compiled(tmp_path, written, read_as):
    save_file({name: VECTOR for name in written}, tmp_path / "a.safetensors")
    assert set(read(tmp_path / "a.safetensors").tensors) == read_as


def test_half_precision_is_read(tmp_path):
    tensors = {"a": VECTOR.astype(ml_dtypes.bfloat16), "b": VECTOR.astype(np.float16)}
    save_file(tensors, tmp_path / "half.safetensors")
    assert_holds(read(tmp_path / "half.safetensors"), tensors)


# ----- archives of PyTorch, see archives.py


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".bin"])
@pytest.mark.parametrize("keys", [(), ("state_dict",), ("model",), ("model_ema", "module"), ("model_state_dict",)])
def test_archives_of_torch(tmp_path, suffix, keys):
    state = {**STATE, "bn1.num_batches_tracked": np.array(7)}
    for key in reversed(keys):
        state = {key: state, "epoch": 3, "ema": None}
    path = tmp_path / f"model{suffix}"
    for save in (archives.save_zip, archives.save_stream):
        save(state, path)
        file = read(path)
        assert file.layout == "torch"
        assert_holds(file, STATE)


def test_averaged_weights_are_preferred(tmp_path, caplog):
    caplog.set_level("INFO")
    path = tmp_path / "model.pth"
    archives.save_zip({"model": {"a": VECTOR}, "model_ema": {"a": VECTOR + 1}, "optimizer": {"a": 3}}, path)
    assert_holds(read(path), {"a": VECTOR + 1})
    assert "the weights under 'model_ema' are read, not 'model'" in caplog.text


def test_a_key_without_weights_is_passed_over(tmp_path, caplog):
    caplog.set_level("INFO")
    path = tmp_path / "best.pth.tar"  # as torchvision's reference training calls it
    archives.save_zip({"ema": {"decay": 0.99, "updates": 7}, "model": {"a": VECTOR}}, path)
    assert_holds(read(path), {"a": VECTOR})
    archives.save_zip({"ema": {"decay": 0.99, "shadow": {"a": VECTOR + 1}}, "model": {"a": VECTOR}}, path)
    assert_holds(read(path), {"a": VECTOR + 1})
    assert "the weights under 'ema.shadow' are read, not 'model'" in caplog.text


LOOP: dict[str, object] = {}
LOOP["model"] = LOOP


@pytest.mark.parametrize("content", [3, [1, 2], {"epoch": 3}, {"state_dict": {"a": 1}}, {3: VECTOR}, LOOP])
def test_archives_of_torch_without_tensors(tmp_path, content):
    path = tmp_path / "model.pth"
    archives.save_zip(content, path)
    refused(path, "Save model.state_dict().")


def test_the_two_forms_of_torch(tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed; what it writes is compared with archives.py")
    tensors = {name: torch.from_numpy(array) for name, array in STATE.items()}
    for zipped in (True, False):
        torch.save({"state_dict": tensors}, tmp_path / "model.pth", _use_new_zipfile_serialization=zipped)
        assert_holds(read(tmp_path / "model.pth"), STATE)


class Dangerous:
    """Unpickling it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("save", [archives.save_zip, archives.save_stream])
def test_no_program_in_an_archive_is_run(tmp_path, save):
    path, victim = tmp_path / "bad.pth", tmp_path / "victim"
    save({"state_dict": {"a": VECTOR}, "hooks": Dangerous(victim)}, path)
    refused(path, "it names io.open, which is no part of a state dict", "they can run programs")
    assert not victim.exists()


# ----- damage


@pytest.fixture
def whole_files(tmp_path):
    """{suffix: a file of that format}."""
    save_file(STATE, tmp_path / "whole.safetensors")
    return {
        ".safetensors": tmp_path / "whole.safetensors",
        ".h5": write_h5(tmp_path / "whole.h5", {f"conv{i}/kernel:0": np.repeat(KERNEL, 100) for i in range(9)}),
        ".weights.h5": write_h5(tmp_path / "whole.weights.h5", {"layers/conv2d/vars/0": np.repeat(KERNEL, 100)}),
    }


FORMATS = [".safetensors", ".h5", ".weights.h5"]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0, 1e-4, 0.3, 0.9, 0.999])
def test_files_cut_off(whole_files, tmp_path, suffix, share):
    content = whole_files[suffix].read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(content[: int(len(content) * share)])
    refused(path, "is not a whole ", "fetch it again")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    "content", [b"<html>404 Not Found</html>", b"\0" * 4096, b"\xff" * 4096], ids=["html", "0", "1"]
)
def test_files_of_something_else(tmp_path, suffix, content):
    path = tmp_path / f"strange{suffix}"
    path.write_bytes(content)
    refused(path, "is not a whole ", "fetch it again")


def test_files_with_the_extension_of_another_format(whole_files, tmp_path):
    for suffix, other in [(".safetensors", ".h5"), (".h5", ".safetensors")]:
        path = tmp_path / f"renamed{suffix}"
        path.write_bytes(whole_files[other].read_bytes())
        refused(path, "is not a whole ")


@pytest.mark.parametrize("suffix", [".pkl", ".npz", ".onnx", ""])
def test_other_formats_are_not_read(tmp_path, suffix):
    path, victim = tmp_path / f"model{suffix}", tmp_path / "victim"
    path.write_bytes(pickle.dumps(Dangerous(victim)))
    refused(path, "is none of .h5, .hdf5, .keras, .safetensors, .pth, .pt, .ckpt, .bin.", "they can run programs")
    assert not victim.exists()


def keras_archive(path, members, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_archives_of_keras_3(tmp_path):
    weights = write_h5(tmp_path / "model.weights.h5", {"layers/conv2d/vars/0": KERNEL}).read_bytes()
    members = {"config.json": "{", "model.weights.h5": weights}
    file = read(keras_archive(tmp_path / "model.keras", members))
    assert (file.layout, file.ordered) == ("keras", True)
    assert_holds(file, {"conv2d/0": KERNEL})
    whole = (tmp_path / "model.keras").read_bytes()
    for content in (whole[:-40], whole[: len(whole) // 2], b""):
        (tmp_path / "model.keras").write_bytes(content)
        refused(tmp_path / "model.keras", "is not a whole archive of Keras 3", "fetch it again")
    refused(keras_archive(tmp_path / "model.keras", {"config.json": "{}"}), "is not a whole archive of Keras 3")
    # A member that is compressed may have any size once it is unpacked.
    bomb = {"model.weights.h5": bytes(10**7)}
    path = keras_archive(tmp_path / "model.keras", bomb, compression=zipfile.ZIP_DEFLATED)
    refused(path, "is compressed, which Keras does not do", "Unpack it, and pass model.weights.h5")


def test_arrays_in_other_files_are_not_read(tmp_path):
    secret = write_h5(tmp_path / "secret.h5", {"conv/kernel": KERNEL, "model_weights/conv/kernel": KERNEL})
    (tmp_path / "raw").write_bytes(bytes(8))
    layout = h5py.VirtualLayout(shape=KERNEL.shape, dtype="f4")
    layout[:] = h5py.VirtualSource(secret, "conv/kernel", shape=KERNEL.shape)
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_virtual_dataset("conv/kernel", layout)
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.create_dataset("conv/kernel", (2,), "f4", external=[(str(tmp_path / "raw"), 0, 8)])
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["model_weights"] = h5py.ExternalLink(str(secret), "model_weights")
    with h5py.File(tmp_path / "deep.h5", "w") as file:
        file["dense/kernel"] = KERNEL
        file["conv/kernel"] = h5py.ExternalLink(str(secret), "conv/kernel")
    with h5py.File(tmp_path / "twice.h5", "w") as file:
        file["model_weights"] = h5py.SoftLink("/hidden")
        file["hidden"] = h5py.ExternalLink(str(secret), "model_weights")
    for name in ("virtual.h5", "external.h5", "link.h5", "deep.h5", "twice.h5"):
        refused(tmp_path / name, "takes arrays from another file, which is not opened")


def test_an_array_of_any_size_in_a_small_file_is_not_allocated(tmp_path):
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        file.create_dataset("conv/kernel", (2**20, 2**20), "f4", chunks=(1024, 1024))  # no chunk is stored
    refused(tmp_path / "bomb.h5", "conv/kernel announces 4,398,046,511,104 bytes")


@pytest.mark.parametrize("name", ["a.safetensors", "a.h5", "a.keras", "a.pth"])
def test_too_few_descriptors_are_no_damage(tmp_path, name):
    (tmp_path / name).write_bytes(b"anything")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            read(tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named(tmp_path, value, dtype):
    kernel = KERNEL.copy()
    kernel[0, 1, 2] = value
    path = tmp_path / "bad.safetensors"
    save_file({"a": VECTOR, "layer.kernel": kernel.astype(dtype), "step": np.int64([7])}, path)
    refused(path, "2 of the 54 values of layer.kernel are NaN or infinite", "1 of 3 tensors", "an earlier checkpoint")


@pytest.mark.parametrize("suffix", FORMATS)
def test_files_without_arrays(tmp_path, suffix):
    path = tmp_path / f"hollow{suffix}"
    if suffix == ".safetensors":
        save_file({}, path)
    else:
        write_h5(path, {"step": np.int64(3)})
    refused(path, "holds no arrays")


@pytest.mark.parametrize("name", ["missing.h5", "missing.safetensors", "", "missing"])
def test_missing_files(tmp_path, name):
    # tmp_path itself is a directory.
    message = refused(tmp_path / name, "there are no weights at ", "Pass the path of a weight file or of a run")
    assert ("it holds none of model.safetensors, " in message) == (name == "")


# ----- files in parts


@pytest.fixture
def shards(tmp_path):
    """A folder with two files of weights and their index."""
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    save_file({"conv1.weight": STATE["conv1.weight"]}, tmp_path / first)
    save_file({name: STATE[name] for name in ("bn1.weight", "bn1.running_var")}, tmp_path / second)
    places = {"conv1.weight": first, "bn1.weight": second, "bn1.running_var": second, "bn1.num_batches_tracked": first}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return tmp_path


def test_weights_in_several_files(shards):
    file = read(shards)
    assert (file.layout, file.path) == ("torch", shards)
    assert_holds(file, STATE)
    assert_holds(read(shards / "model.safetensors.index.json"), STATE)


def test_a_file_that_is_missing_is_named(shards):
    (shards / "model-00002-of-00002.safetensors").unlink()
    refused(shards, "names model-00002-of-00002.safetensors, which is missing. Fetch it")


def test_a_file_of_another_network_is_named(shards):
    save_file({"bn1.weight": VECTOR}, shards / "model-00002-of-00002.safetensors")
    refused(shards, "promises bn1.running_var in model-00002-of-00002.safetensors, which has no such tensor")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "is not whole JSON"),
        ("[1]", "holds a list, not a JSON object"),
        ("{}", "has no weight_map"),
        ('{"weight_map": {}}', "has no weight_map"),
        ('{"weight_map": {"a": 3}}', "has no weight_map"),
        ('{"weight_map": {"a": "../secret.safetensors"}}', "has no weight_map of tensor names and files beside it"),
    ],
)
def test_indices_that_are_damaged(shards, text, part):
    (shards / "model.safetensors.index.json").write_text(text)
    refused(shards, part, "fetch it again")


# ----- by name


@pytest.fixture
def mobilenet(tiny_config):
    def make(**overrides):
        return tiny_config({"model.encoder.name": "mobilenetv2", "model.encoder.alpha": 0.35, **overrides})

    return make


keras_warns = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in Keras itself


@keras_warns
def test_weights_by_name_come_through_keras(mobilenet, tmp_path, monkeypatch):
    from tests.models import parity

    network = parity.keras_network("MobileNetV2", alpha=0.35)
    path = parity.keras_files(network, tmp_path)["legacy"]
    asked = []

    def get_file(name, url, **options):
        asked.append(name)
        return str(path)

    import keras

    monkeypatch.setattr(keras.src.utils.file_utils, "get_file", get_file)
    file = models.read(mobilenet(), "imagenet")
    assert asked == ["mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"]
    assert (file.layout, file.ordered) == ("keras", False) and "MobileNetV2" in str(file.path)
    assert_holds(file, dict(read(path).tensors))
    library, naming, _ = models.naming(mobilenet(), file, whole=False)
    assert (library, naming.style) == ("keras", "keras")


@keras_warns
def test_weights_by_name_without_a_network(mobilenet, monkeypatch):
    import keras

    def get_file(name, url, **options):
        raise Exception(f"URL fetch failure on {url}: None -- [Errno -2] Name or service not known")

    monkeypatch.setattr(keras.src.utils.file_utils, "get_file", get_file)
    with pytest.raises(WeightsError) as error:
        models.read(mobilenet(), "imagenet")
    message = str(error.value)
    assert message.startswith(
        "keras.applications.MobileNetV2 could not fetch its weights (Exception: URL fetch failure"
    )
    assert message.endswith("Without a network, fetch the file elsewhere and pass its path.")


@keras_warns
def test_weights_by_name_of_a_width_that_keras_does_not_have(mobilenet):
    with pytest.raises(WeightsError, match=r"keras\.applications\.MobileNetV2 .*alpha must be one of .*0\.6"):
        models.read(mobilenet(**{"model.encoder.alpha": 0.6}), "imagenet")


@pytest.mark.parametrize("encoder", ["plain", "resnet18", "vgg16_bn", "mit_b0"])
def test_weights_by_name_that_keras_does_not_have(tiny_config, encoder):
    with pytest.raises(WeightsError) as error:
        models.read(tiny_config({"model.encoder.name": encoder}), "imagenet")
    assert re.fullmatch(
        rf"keras\.applications has no {encoder}, so model\.encoder\.weights = 'imagenet' cannot be fetched\. "
        r"Pass the path of a weight file of torchvision or timm \(\.safetensors\)\.",
        str(error.value),
    )


def test_the_home_directory_may_be_abbreviated(tiny_config, tmp_path, monkeypatch):
    save_file(STATE, tmp_path / "a.safetensors")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert_holds(models.read(tiny_config(), "~/a.safetensors"), STATE)
