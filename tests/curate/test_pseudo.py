"""Labels of a network for photographs without any: ignored where it doubts, made once, recorded with their maker."""

import json

import numpy as np
import pytest
from PIL import Image

from seg_jax import data
from seg_jax.config import ConfigError
from seg_jax.curate import directory, formats, pseudo
from seg_jax.curate.__main__ import configuration, main
from seg_jax.data.depth import Depth
from seg_jax.data.images import DataError
from seg_jax.data.labels import IGNORE, LabelTable
from seg_jax.data.prepared import MANIFEST, PREDICTED
from seg_jax.predict.predictor import Predictor
from seg_jax.run import program

# How ml_collections loads a configuration file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

TABLE = LabelTable(names=("ground", "tree", "water"), colors=((9, 9, 9), (0, 255, 0), (0, 0, 255)))


class Network:
    """Sees 'tree' in a pixel with the probability green / 200, else 'ground'; counts the photographs it was given."""

    def __init__(self):
        self.seen = 0

    def __call__(self, images):
        self.seen += len(images)
        tree = images[..., 1].astype(np.float32) / 200
        return np.stack([1 - tree, tree, np.zeros_like(tree)], axis=-1)

    def labeller(self, min_confidence=0.9, identity="a1b2"):
        predictor = Predictor(self, TABLE, None, identity=identity)
        return pseudo.Labeller(predictor, "runs/teacher", min_confidence)


@pytest.fixture
def network():
    return Network()


@pytest.fixture
def root(tmp_path):
    """Ten photographs of two sizes, whose green says how much of a tree each column is: 5 %, 50 % and 95 %."""
    for i in range(10):
        image = np.zeros((32 + 8 * (i % 2), 48, 3), np.uint8)
        image[:, :16, 1], image[:, 16:32, 1], image[:, 32:, 1] = 10, 110, 190
        image[0, :, 0] = i  # they differ
        path = tmp_path / "photos" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    return tmp_path / "photos"


def prepare(root, out, labeller, *flags, to="folder"):
    return directory.prepare(root, flags, to=to, out=out, photos=None, splits=None, labeller=labeller)


def test_pixels_below_the_confidence_are_ignored(network):
    image = np.zeros((1, 4, 3), np.uint8)
    image[0, :, 1] = [10, 110, 180, 190]
    for confidence, expected in ((0.9, [0, IGNORE, 1, 1]), (0.95, [0, IGNORE, IGNORE, 1]), (0.0, [0, 1, 1, 1])):
        labeller = network.labeller(confidence)
        assert labeller.label("x.png", image).tolist() == [expected]
        assert labeller.label("x.png", image).dtype == np.uint8


def test_photographs_are_written_with_labels_and_what_made_them(network, root, tmp_path):
    out = tmp_path / "out"
    shown = prepare(root, out, network.labeller())
    assert "10 photographs with pseudo-labels of runs/teacher" in shown and "9 of train, 1 of val" in shown
    manifest = json.loads((out / MANIFEST).read_text())
    assert manifest["request"]["labels"] == {"model": "runs/teacher", "identity": "a1b2", "min_confidence": 0.9}
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]
    config = configuration([f"--config={out}/out.py"])
    program.check(config, devices=1)
    assert "evaluate on labelled data" in (out / "out.py").read_text()
    for split, count in (("train", 9), ("val", 1)):
        examples = data.load(config, split)
        assert len(examples) == count and examples.table.names == TABLE.names and examples.table.colors == TABLE.colors
        for i in range(count):
            image, label = examples.original(i)
            np.testing.assert_array_equal(image, np.asarray(Image.open(root / examples.files[i][0].name)))
            assert (label[:, :16] == 0).all() and (label[:, 16:32] == IGNORE).all() and (label[:, 32:] == 1).all()


def test_photographs_of_more_bits_are_read_as_the_network_reads_them(tmp_path):
    for i in range(4):
        image = np.full((32, 32), 3900, np.uint16)
        image[:, :16] = 40 + i
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "photos" / f"{i}.png")

    def engine(images):
        assert images.shape[-1] == 1 and images.dtype == np.float32
        tree = images[..., 0] / 255
        return np.stack([1 - tree, tree, 0 * tree], axis=-1)

    depth = Depth((1,), (0.0, 4095.0))
    labeller = pseudo.Labeller(Predictor(engine, TABLE, None, identity="a1b2", depth=depth), "runs/teacher", 0.9)
    prepare(tmp_path / "photos", tmp_path / "out", labeller)
    config = configuration([f"--config={tmp_path}/out/out.py"])
    assert (config.data.bands, config.data.range) == ((1,), (0.0, 4095.0))
    image, label = data.load(config, "train").original(0)
    assert image.shape == (32, 32, 1) and (label[:, :16] == 0).all() and (label[:, 16:] == 1).all()


def interrupted(root, out, network, monkeypatch):
    """Prepares, and is stopped when all photographs are labelled."""
    with monkeypatch.context() as patch:
        patch.setitem(formats.FORMATS, "folder", formats.Format(lambda job: 1 / 0, ""))
        with pytest.raises(ZeroDivisionError):
            prepare(root, out, network.labeller())


def test_each_photograph_passes_once_also_after_an_interruption(network, root, tmp_path, monkeypatch):
    out = tmp_path / "out"
    interrupted(root, out, network, monkeypatch)
    assert network.seen == 10
    prepare(root, out, network.labeller(), "--config.data.threads=3")
    assert network.seen == 10
    prepare(root, out, network.labeller())
    assert network.seen == 10  # it is there already


def test_predictions_that_a_removed_data_set_left_are_not_taken(network, root, tmp_path, monkeypatch):
    out = tmp_path / "out"
    interrupted(root, out, network, monkeypatch)
    for path in out.glob("[!.]*"):  # as rm OUT/* does
        path.unlink()
    assert (out / PREDICTED).is_dir()
    prepare(root, out, network.labeller(min_confidence=0.0))
    config = configuration([f"--config={out}/out.py"])
    assert IGNORE not in data.load(config, "train").original(0)[1]


@pytest.mark.parametrize(
    ("other", "what"), [({"min_confidence": 0.8}, "labels.min_confidence"), ({"identity": "c"}, "labels.identity")]
)
def test_labels_of_another_network_do_not_mix(network, root, tmp_path, other, what):
    prepare(root, tmp_path / "out", network.labeller())
    with pytest.raises(DataError, match=rf"prepared from other values of: .*{what}"):
        prepare(root, tmp_path / "out", network.labeller(**other))


def test_what_cannot_be_labelled(network, root, tmp_path):
    with pytest.raises(ConfigError, match=r"--min_confidence=1: it is a probability from 0 .* to below 1"):
        pseudo.Labeller.load("runs/x", 1)
    with pytest.raises(DataError, match=r"nothing is not a directory"):
        prepare(tmp_path / "nothing", tmp_path / "out", network.labeller())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty contains 0 image files; two are needed"):
        prepare(tmp_path / "empty", tmp_path / "out", network.labeller())
    labels = pseudo.Labeller(Predictor(lambda images: images[..., 0], TABLE, None), "net.onnx", 0.9)
    with pytest.raises(DataError, match=r"net.onnx gives labels without probabilities"):
        labels.label("x.png", np.zeros((4, 4, 3), np.uint8))
    wide = pseudo.Labeller(Predictor(network, TABLE, (512, 512)), "runs/x", 0.9)
    with pytest.raises(DataError, match=r"x.png has 8x1000000 pixels .* Cut it into tiles"):
        wide.label("x.png", np.zeros((8, 1000000, 3), np.uint8))
    for path in sorted(root.iterdir()):
        mask = np.zeros(np.asarray(Image.open(path)).shape[:2], np.uint8)
        mask[:, 20:] = 1
        (tmp_path / "both" / "masks").mkdir(parents=True, exist_ok=True)
        (tmp_path / "both" / "images").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / "both" / "masks" / path.name)
        noise = np.random.default_rng(0).integers(0, 256, (*mask.shape, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "both" / "images" / path.name)
    with pytest.raises(DataError, match=r"both has masks, such as .*, and --labels=predict would take them for photog"):
        prepare(tmp_path / "both", tmp_path / "out", network.labeller())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{root}", "--model=x"], "--model and --min_confidence belong to --labels=predict"),
        (["{root}", "--min_confidence=0"], "--model and --min_confidence belong to --labels=predict"),
        (["{root}", "--labels=predict"], "prepare DIR --labels=predict --model=RUN"),
        (["--config=x.py", "--labels=predict", "--model=x"], "prepare DIR --labels=predict --model=RUN"),
        (["{root}", "--labels=predict", "--model=/nothing"], "/nothing does not exist. Name a run directory"),
    ],
)
def test_wrong_use_is_one_line(root, tmp_path, capsys, arguments, message):
    given = [argument.format(root=root) for argument in arguments]
    assert main(["prepare", *given, "--to=folder", f"--out={tmp_path / 'out'}"]) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_trained_run_labels(trained_run, tmp_path, capsys):
    for i in range(3):
        Image.open(trained_run / "sample.png").rotate(90 * i).save(tmp_path / f"{i}.png")
    command = ["prepare", str(tmp_path), "--labels=predict", f"--model={trained_run}", "--min_confidence=0.2"]
    assert main([*command, "--to=folder", f"--out={tmp_path / 'out'}"]) == 0
    assert f"train with python -m seg_jax.main --config={tmp_path}/out/out.py" in capsys.readouterr().out
    predict = Predictor.load(trained_run)
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert manifest["request"]["labels"]["identity"] == predict.identity
    expected = predict(tmp_path / "1.png")
    (written,) = (tmp_path / "out").glob("*annot/1.png")
    np.testing.assert_array_equal(
        np.asarray(Image.open(written)), np.where(expected.confidence < 0.2, IGNORE, expected.label)
    )
