"""Every format as users have it: written by the command, loaded where nothing but its runtime can be imported."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from seg_jax.config import ConfigError
from seg_jax.export import FORMATS
from seg_jax.export import __main__ as command
from seg_jax.export.network import Network
from seg_jax.predict import artefacts

REPOSITORY = Path(__file__).resolve().parents[2]
TRAINING = ("flax", "optax", "orbax", "clu", "matplotlib", "torch")
# What a format can do without.
ABSENT = {
    "onnx": (*TRAINING, "jax", "tensorflow", "keras", "onnx", "ai_edge_litert", "safetensors"),
    "stablehlo": (*TRAINING, "tensorflow", "keras", "onnx", "onnxruntime", "ai_edge_litert", "safetensors"),
    "savedmodel": (*TRAINING, "jax", "onnx", "onnxruntime", "ai_edge_litert", "safetensors"),
    "tflite": (*TRAINING, "jax", "tensorflow", "keras", "onnx", "onnxruntime", "safetensors"),
    "safetensors": ("tensorflow", "keras", "onnx", "onnxruntime", "ai_edge_litert", "torch"),
}
NO_TFLITE = "ai-edge-litert is not installed: ./launch.sh add tflite"
ALONE = """
import sys
path, images, results, *absent = sys.argv[1:]
sys.modules.update(dict.fromkeys(absent))
import numpy as np
from seg_jax.predict import artefacts
artefact = artefacts.load(path)
np.savez(results, *(artefact(image) for image in np.load(images).values()))
print(artefact.output, artefact.size, len(artefact.table))
"""


@pytest.fixture(scope="module")
def start():
    """start(*arguments) -> finished Python process of this repository."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

    def run(*arguments):
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300)

    return run


def test_every_format_is_here():
    assert set(ABSENT) == set(FORMATS) == set(artefacts.READERS)


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_runs_with_its_runtime_alone(form, run, start, tmp_path, capsys):
    if form == "tflite":
        pytest.importorskip("ai_edge_litert", reason=NO_TFLITE)
    out, images, results = tmp_path / "artefact", tmp_path / "images.npz", tmp_path / "results.npz"
    assert command.main([str(run), f"--format={form}", f"--out={out}"]) == 0
    printed = capsys.readouterr().out
    assert "8 of 8 images of the split 'val'" in printed and "mIoU" in printed
    found = json.loads((tmp_path / "artefact.parity.json").read_text())
    assert found["passed"] and found["largest_difference"] < 1e-4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artefact", "artefact.parity.json"]

    rng = np.random.default_rng(0)
    given = [rng.integers(0, 256, (b, h, w, 3), np.uint8) for b, h, w in ((1, 32, 32), (2, 23, 41))]
    np.savez(images, *given)
    done = start("-c", ALONE, out, images, results, *ABSENT[form])
    assert done.returncode == 0, done.stderr
    size = (32, 32) if FORMATS[form].fixed else None
    assert done.stdout.splitlines()[-1] == f"probabilities {size} 8"
    network = Network.load(run, size=size)
    wanted = artefacts.rebuilt(network.functions, network.weights, network.metadata)
    for image, result in zip(given, np.load(results).values(), strict=True):
        np.testing.assert_allclose(result, wanted(image), atol=1e-4)
    assert_changes_are_noticed(out)


def assert_changes_are_noticed(artefact):
    """Flips bits all over a file, or a directory's files, and cuts its end off: none of these loads."""
    for file in [artefact] if artefact.is_file() else sorted(path for path in artefact.rglob("*") if path.is_file()):
        content = file.read_bytes()
        seal = content.find(b"seg_jax sha256")
        places = {*np.linspace(0, len(content) - 1, 10).astype(int).tolist(), *([seal, seal + 20] if seal >= 0 else [])}
        for at in sorted(places):
            file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            with pytest.raises(artefacts.ArtefactError, match=r"not as it was exported|not an exported|cannot be used"):
                artefacts.load(artefact)
        file.write_bytes(content[: len(content) // 2])
        with pytest.raises(artefacts.ArtefactError):
            artefacts.load(artefact)
        file.write_bytes(content)
    artefacts.load(artefact)


def test_a_size_and_labels_inside(trained_run, start, tmp_path):
    # Of a trained network: one of random weights is undecided everywhere, and its certificate refuses a resize.
    out = tmp_path / "a.onnx"
    done = start("-m", "seg_jax.export", trained_run, "--format=onnx", f"--out={out}", "--size=24x40", "--output=label")
    assert done.returncode == 0, done.stderr
    artefact = artefacts.load(out)
    assert (artefact.output, artefact.size) == ("label", (24, 40)) and artefact.metadata["step"] in (20, 40)
    label = artefact(np.zeros((1, 50, 30, 3), np.uint8))
    assert label.shape == (1, 50, 30) and label.dtype == np.uint8


def test_tflite_takes_a_pooling_to_one_bin(make_run, tmp_path):
    pytest.importorskip("ai_edge_litert", reason=NO_TFLITE)
    network = Network.load(make_run({"model.name": "pspnet", "model.channels": 8}), fixed=True)
    image = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    FORMATS["tflite"].write(network, tmp_path / "file")
    wanted = artefacts.rebuilt(network.functions, network.weights, network.metadata)(image)
    np.testing.assert_allclose(artefacts.load(tmp_path / "file")(image), wanted, atol=1e-4)


def test_what_tflite_refuses_is_said(make_run, tmp_path):
    # 32 pixels are 8 at stride 4, whose attention has a single key.
    fields = {"model.encoder.name": "mit_b0", "model.encoder.depth": 2, "model.decoder_channels": (4,)}
    network = Network.load(make_run(fields), fixed=True)
    with pytest.raises(ConfigError, match=r"TFLite's converter rejects the network at \[32, 32\]"):
        FORMATS["tflite"].write(network, tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_the_archive_keeps_the_run_as_it_is(make_run, tmp_path):
    # The average of the weights is what the run is evaluated with, and its type of numbers is bfloat16.
    run = make_run({"model.dtype": "bfloat16", "optim.ema": 0.9})
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    network = Network.load(run, full_precision=False)
    FORMATS["safetensors"].write(network, tmp_path / "archive")
    artefact = artefacts.load(tmp_path / "archive")
    assert artefact.metadata["config"]["model"]["dtype"] == "bfloat16"
    wanted = artefacts.rebuilt(network.functions, network.weights, network.metadata)
    np.testing.assert_array_equal(artefact(image), wanted(image))
    exact = Network.load(run)
    assert exact.metadata["config"]["model"]["dtype"] == "float32"
    assert not np.array_equal(artefact(image), artefacts.rebuilt(exact.functions, exact.weights, exact.metadata)(image))


def test_an_archive_without_a_checksum_is_an_older_one(network, tmp_path):
    from safetensors.numpy import load, save

    FORMATS["safetensors"].write(network, tmp_path / "new")
    arrays = load((tmp_path / "new").read_bytes())
    older = replace(network, metadata={name: value for name, value in network.metadata.items() if name != "sealed"})
    (tmp_path / "old").write_bytes(save(arrays, metadata=older.documents))
    assert artefacts.load(tmp_path / "old").table == network.table
    (tmp_path / "stripped").write_bytes(save(arrays, metadata=network.documents))
    with pytest.raises(artefacts.ArtefactError, match=r"stripped is not as it was exported.*Copy or export it again"):
        artefacts.load(tmp_path / "stripped")


def test_an_archive_may_hold_half_the_bytes(network, tmp_path):
    halves = jax.tree.map(lambda array: np.asarray(array).astype(np.float16), network.weights)
    FORMATS["safetensors"].write(network, tmp_path / "whole")
    FORMATS["safetensors"].write(replace(network, weights=halves), tmp_path / "half")
    assert (tmp_path / "half").stat().st_size < 0.7 * (tmp_path / "whole").stat().st_size
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    whole, half = (artefacts.load(tmp_path / name)(image) for name in ("whole", "half"))
    assert half.dtype == np.float32 and 0 < abs(half - whole).max() < 0.02


def test_half_of_the_bytes_by_a_flag_and_no_path_of_this_machine(make_run, tmp_path, capsys):
    run, out = make_run({"model.encoder.width": 16, "data.dir": str(tmp_path)}), tmp_path / "half.safetensors"
    assert command.main([str(run), "--format=safetensors", f"--out={tmp_path / 'whole.safetensors'}"]) == 0
    assert command.main([str(run), "--format=safetensors", f"--out={out}", "--half"]) == 0
    assert out.stat().st_size < 0.6 * (tmp_path / "whole.safetensors").stat().st_size
    parity = json.loads(out.with_name("half.safetensors.parity.json").read_text())
    assert parity["passed"] and parity["tolerance"]["difference"] == 0.1 and 0 < parity["largest_difference"] < 0.05
    from safetensors.numpy import load

    kinds = {name.rpartition("/")[2]: array.dtype for name, array in load(out.read_bytes()).items()}
    assert (kinds["kernel"], kinds["scale"], kinds["mean"], kinds["var"]) == ("float16", *["float32"] * 3)
    assert Network.load(run).functions.config.data.dir == str(tmp_path)
    assert artefacts.load(out).metadata["config"]["data"]["dir"] == ""
    assert command.main([str(run), "--format=stablehlo", f"--out={out}", "--half"]) == 1
    assert "--half with --format=stablehlo: only the archive has float16" in capsys.readouterr().err


def test_eight_bits_keep_the_score(make_run, start, tmp_path):
    run, out = make_run({"model.upsampling": "nearest"}), tmp_path / "a.onnx"
    done = start("-m", "seg_jax.export", run, "--format=onnx", f"--out={out}", "--int8")
    # Random weights are no trained network: what counts is that it was judged by its score, and by nothing else.
    assert "int8:" in done.stdout and "ms instead of" in done.stdout, done.stderr
    assert out.exists() == (done.returncode == 0) == (out.with_name("a.onnx.parity.json").exists())
