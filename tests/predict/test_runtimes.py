"""The network of a run by JAX or by ONNX Runtime: the same answers, chosen by what is there."""

import importlib.util
import shutil

import numpy as np
import pytest

from seg_jax.predict import __main__ as predict
from seg_jax.predict import runtimes
from seg_jax.predict.artefacts import ArtefactError
from seg_jax.predict.predictor import Predictor
from seg_jax.runtime import process


@pytest.fixture
def run(trained_run, tmp_path):
    """A copy, which may be written to."""
    return shutil.copytree(trained_run, tmp_path / "run")


def photograph(size):
    return np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)


def test_an_export_is_made_once_and_used_by_itself(run, monkeypatch, caplog):
    pytest.importorskip("onnxruntime")
    image = photograph((50, 70))
    jax = Predictor.load(run)
    wanted = jax(image, probabilities=True)
    assert jax.card["computed by"] == "JAX" and not (run / "onnx").exists()  # auto makes none
    (run / "onnx").mkdir()
    (run / "onnx" / "0123-last.onnx").write_bytes(b"of an earlier checkpoint")
    (run / "onnx" / "mine.onnx").write_bytes(b"of a user")
    for runtime in ("onnx", "auto"):
        predictor = Predictor.load(run, runtime=runtime)
        found = predictor(image, probabilities=True)
        assert predictor.card == jax.card | {"computed by": "ONNX Runtime"} and predictor.identity == jax.identity
        assert np.abs(found.probabilities - wanted.probabilities).max() < 1e-4 and (found.label == wanted.label).all()
        monkeypatch.setattr(runtimes, "_export", None)  # once is enough
    file, certificate, mine = sorted((run / "onnx").iterdir())
    assert mine.read_bytes() == b"of a user"
    assert certificate.name == f"{file.name}.parity.json"
    assert Predictor.load(run, runtime="jax").card["computed by"] == "JAX"
    assert Predictor.load(run, flip=True).card["computed by"] == "JAX"
    with monkeypatch.context() as patch:
        patch.setattr(process, "has_accelerator", lambda: True)
        assert Predictor.load(run).card["computed by"] == "JAX"
    file.write_bytes(file.read_bytes()[:1000])
    assert Predictor.load(run).card["computed by"] == "JAX"
    assert "--runtime=onnx writes the file anew" in caplog.text


def test_what_cannot_be_had_is_said(run, tmp_path, monkeypatch, capsys):
    with pytest.raises(ArtefactError, match=r"--runtime=onnx with --flip or --scales: .*Use --runtime=jax"):
        Predictor.load(run, runtime="onnx", scales=(0.5, 1.0))
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ArtefactError, match=r"--runtime=onnx needs onnx and onnxruntime. Add it: "):
            Predictor.load(run, runtime="onnx")
    pytest.importorskip("onnxruntime")
    (run / "onnx").write_text("in the way")
    assert predict.main([str(run), str(run / "sample.png"), "--runtime=onnx", f"--out={tmp_path / 'out'}"]) == 1
    assert "--runtime=onnx: the export failed: " in capsys.readouterr().err
