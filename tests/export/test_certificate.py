"""The certificate: exact by its numbers, and no artefact without it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from seg_jax import export
from seg_jax.export import __main__ as command
from seg_jax.export import certificate
from seg_jax.export.certificate import EXACT, Samples
from seg_jax.export.network import Network
from seg_jax.predict import artefacts
from seg_jax.runtime import extras, seal
from seg_jax.train.library import train

K = 8  # classes of the synthetic scenes


def artefact(network, change, **metadata):
    """The run itself, as an artefact whose result was changed."""
    run = artefacts.rebuilt(network.functions, network.weights, {**network.metadata, **metadata})
    return artefacts.Artefact(network.table, {**network.metadata, **metadata}, lambda image: change(run(image)))


@pytest.fixture(scope="module")
def images(network, run):
    return certificate.find_samples(network, run)


def test_the_images_are_of_the_validation_split(images):
    assert images.source == "8 of 8 images of the split 'val' (synthetic)"
    assert all(image.shape == (32, 32, 3) and truth.shape == (32, 32) for image, truth in images.pairs)


def test_the_run_agrees_with_itself(network, images):
    found = certificate.compare(network, artefact(network, lambda p: p), images, EXACT)
    assert found["passed"] and found["largest_difference"] == 0 and found["agreement"] == 1
    assert found["miou"]["run"] == found["miou"]["artefact"] > 0


def test_differences_are_counted(network, images):
    one = Samples(images.pairs[:1], "one")

    def swapped(p):
        p = p.copy()
        p[0, 0, 0] = np.roll(p[0, 0, 0], 1)  # another class is the likeliest, in one of 1024 pixels
        return p

    found = certificate.compare(network, artefact(network, swapped), one, EXACT)
    assert not found["passed"] and found["agreement"] == 1023 / 1024 and found["largest_difference"] > 1e-3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_does_not_pass(network, images, value):
    lenient = replace(certificate.INT8, agreement=0.0, loss=2.0)
    found = certificate.compare(network, artefact(network, lambda p: p + value), images, lenient)
    assert not found["passed"]


def test_a_label_has_no_difference_of_probabilities(network, images):
    same = artefact(network, lambda label: label, output="label")
    found = certificate.compare(network, same, images, EXACT)
    assert found["passed"] and found["largest_difference"] is None
    other = artefact(network, lambda label: (label + 1) % K, output="label")
    assert certificate.compare(network, other, images, EXACT)["agreement"] == 0


def test_without_its_data_the_run_s_sample_counts(network, make_run, monkeypatch):
    run = make_run({"data.source": "synthetic"})

    def missing(config, split):
        raise certificate.LabelError("gone")

    monkeypatch.setattr(certificate.data, "load", missing)
    found = certificate.find_samples(network, run)
    assert found.source == "sample.png of the run; the split 'val': gone" and found.pairs[0][1] is None
    assert certificate.compare(network, artefact(network, lambda p: p), found, EXACT)["miou"]["run"] is None
    (run / "sample.png").unlink()
    with pytest.raises(certificate.ConfigError, match=r"no image to compare the artefact with.*gone"):
        certificate.find_samples(network, run)


@pytest.fixture(scope="module")
def five_bands(tmp_path_factory):
    """The run directory of a network of five bands, trained on arrays that nobody can read again."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (8, 24, 40))
    images = rng.integers(0, 4096, (8, 24, 40, 5)).astype(np.uint16)
    fields = {
        **{"model.encoder.width": 2, "model.encoder.depth": 1, "train.batch_size": 8, "eval.batch_size": 8},
        **{"train.steps": 1, "log.tensorboard": False, "data.bands": (1, 2, 3, 4, 5), "data.range": (0, 4095)},
    }
    run = tmp_path_factory.mktemp("bands") / "run"
    train(fields, run, train=(images, labels), val=(images, labels), classes=2)
    return run


def test_without_its_data_a_network_of_other_bands_sees_drawn_images(five_bands):
    network = Network.load(five_bands)
    found = certificate.find_samples(network, five_bands)
    assert found.source.startswith("8 images of random patches, drawn with the seed 0; the split 'val': config.data.s")
    for (image, truth), (again, _) in zip(
        found.pairs, certificate.find_samples(network, five_bands).pairs, strict=True
    ):
        assert (image.shape, image.dtype, truth) == ((24, 40, 5), np.float32, None)
        assert 0 <= image.min() < 20 and 235 < image.max() <= 255
        np.testing.assert_array_equal(image, again)
    assert len({image.tobytes() for image, _ in found.pairs}) == 8
    assert certificate.compare(network, artefact(network, lambda p: p), found, EXACT)["passed"]
    assert not certificate.compare(network, artefact(network, lambda p: p[..., ::-1]), found, EXACT)["passed"]
    fixed = Network.load(five_bands, size=(16, 21), fixed=True)
    assert certificate.find_samples(fixed, five_bands, resized=True).pairs[0][0].shape == (16, 21, 5)
    own_scale = replace(network, metadata={**network.metadata, "trained_size": None})
    assert certificate.find_samples(own_scale, five_bands).pairs[0][0].shape == (256, 256, 5)


def test_a_network_of_other_bands_is_exported_without_its_data(five_bands, tmp_path, capsys):
    out = tmp_path / "a.stablehlo"
    assert command.main([str(five_bands), "--format=stablehlo", f"--out={out}"]) == 0, capsys.readouterr().err
    assert "random patches" in json.loads((tmp_path / "a.stablehlo.parity.json").read_text())["images"]
    assert command.main([str(five_bands), "--format=onnx", "--int8", f"--out={tmp_path / 'b'}"]) == 1
    said = capsys.readouterr().err
    assert "error: --int8 measures" in said and said.endswith("or export without --int8.\n")
    assert not (tmp_path / "b").exists()


def test_a_damaged_artefact_is_not_written(run, tmp_path, monkeypatch, capsys):
    whole = export.FORMATS["onnx"]

    def damaged(network, path):
        import onnx
        from onnx import numpy_helper

        whole.write(network, path)
        model = onnx.load(path)
        weights = next(array for array in model.graph.initializer if len(array.dims) == 4)
        weights.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weights), weights.name))
        onnx.save(model, path)
        seal.seal(path)

    monkeypatch.setitem(command.FORMATS, "onnx", replace(whole, write=damaged))
    out = tmp_path / "there" / "a.onnx"
    assert command.main([str(run), "--format=onnx", f"--out={out}"]) == 1
    assert "it would disagree with" in capsys.readouterr().err
    assert list(out.parent.iterdir()) == []  # neither the file nor a part of it
    monkeypatch.undo()
    assert command.main([str(run), "--format=onnx", f"--out={out}"]) == 0
    assert "mIoU" in capsys.readouterr().out
    found = json.loads((tmp_path / "there" / "a.onnx.parity.json").read_text())
    assert found["passed"] and found["sha256"] == seal.digest(out) and found["versions"]["onnx"]


def test_what_cannot_be_done_is_said(run, tmp_path, capsys, monkeypatch):
    def error(*arguments):
        assert command.main(list(arguments)) == 1
        return capsys.readouterr().err

    out = f"--out={tmp_path / 'a'}"
    assert "only ONNX has 8-bit integers" in error(str(run), "--format=stablehlo", out, "--int8")
    assert "is a directory that exists already" in error(str(run), "--format=onnx", f"--out={tmp_path}")
    assert "is not a run directory" in error(str(tmp_path), "--format=onnx", out)
    assert "checkpoint '7' is not one of: best, last, 0" in error(str(run), "--format=onnx", out, "--checkpoint=7")
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    assert extras.install_command("onnx") in error(str(run), "--format=onnx", out)
    with pytest.raises(SystemExit):
        command.main([str(run), "--format=onnx", out, "--size=0x8"])
    assert "not height x width in pixels" in capsys.readouterr().err


def test_the_digest_of_a_directory_is_of_its_files(tmp_path):
    def write(place, files):
        for name, text in files.items():
            (tmp_path / place / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place / name).write_text(text)
        return seal.digest(tmp_path / place)

    first = write("a", {"x": "1", "y/z": "2"})
    assert first == write("b", {"y/z": "2", "x": "1"})
    assert len({first, write("c", {"x": "12", "y/z": ""}), write("d", {"x": "1", "z": "2"})}) == 3
