"""Exports of runs on photographs of different sizes: at the scale of each photograph, or of their shorter side."""

import numpy as np
import pytest
from PIL import Image

from seg_jax.export import FORMATS
from seg_jax.export import __main__ as command
from seg_jax.export.network import Network
from seg_jax.predict import artefacts
from seg_jax.predict.predictor import Predictor

SIZES = [(40, 56), (70, 33), (64, 64)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    root = tmp_path_factory.mktemp("sizes")
    rng = np.random.default_rng(0)
    for kind, channels in (("train", 3), ("trainannot", 0), ("val", 3), ("valannot", 0)):
        (root / kind).mkdir()
        for i, size in enumerate(SIZES):
            shape = (*size, channels) if channels else size
            pixels = rng.integers(0, 256 if channels else 2, shape, np.uint8)
            Image.fromarray(pixels).save(root / kind / f"{i}.png")
    (root / "class_names.json").write_text('["a", "b"]')
    return root


@pytest.fixture(scope="module")
def make(make_run, directory):
    """make(short_side) -> a run directory."""

    def run(short_side):
        fields = {"data.source": "folder", "data.dir": str(directory), "data.size": (0, 0), "augment.crop": (32, 32)}
        image_size = (short_side, short_side) if short_side else None
        return make_run({**fields, "data.short_side": short_side}, image_size=image_size)

    return run


@pytest.fixture(scope="module")
def own_scale(make):
    return make(0)


@pytest.fixture(scope="module")
def short(make):
    return make(48)


@pytest.mark.parametrize("form", [name for name, form in FORMATS.items() if not form.fixed])
def test_a_file_sees_each_photograph_at_the_run_s_scale(form, own_scale, short, directory, tmp_path):
    for run, trained in ((own_scale, None), (short, (48, 48))):
        out = tmp_path / run.name
        assert command.main([str(run), f"--format={form}", f"--out={out}"]) == 0
        assert artefacts.load(out).metadata["trained_size"] == (trained and [*trained])
        exported, whole = Predictor.load(out), Predictor.load(run)
        assert exported.trained_size == whole.trained_size == trained
        for i, size in enumerate(SIZES):
            one, two = (one(directory / "val" / f"{i}.png", probabilities=True) for one in (exported, whole))
            assert one.label.shape == size
            np.testing.assert_allclose(one.probabilities, two.probabilities, atol=1e-4)
        one, two = (
            Predictor.load(path, window=(32, 32))(directory / "val" / "1.png", probabilities=True)
            for path in (out, run)
        )
        np.testing.assert_allclose(one.probabilities, two.probabilities, atol=1e-4)


def test_a_format_of_one_size_has_to_be_told_which(own_scale, short, tmp_path, capsys):
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed: ./launch.sh add tflite")
    out = tmp_path / "a.tflite"
    for run, scale in ((own_scale, "at their own scale"), (short, "with a shorter side of 48 pixels")):
        assert command.main([str(run), "--format=tflite", f"--out={out}"]) == 1
        error = capsys.readouterr().err
        assert f"trained on photographs {scale}, and this format has one size. Add --size=HxW" in error
    assert command.main([str(short), "--format=tflite", f"--out={out}", "--size=48x64"]) == 0
    predictor = Predictor.load(out)
    assert predictor.trained_size == (48, 64)
    assert predictor(np.zeros((70, 33, 3), np.uint8)).label.shape == (70, 33)


def test_the_network_says_no_size(own_scale):
    assert Network.load(own_scale).metadata["trained_size"] is None
    assert Network.load(own_scale, size=(24, 40), fixed=True).metadata["size"] == [24, 40]
