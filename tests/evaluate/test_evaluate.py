"""A detailed evaluation from end to end, on frames like those of Cityscapes, of several sizes."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_jax import data, viz
from seg_jax.config import ConfigError
from seg_jax.data.images import read_image, read_mask, resize_label
from seg_jax.data.labels.cityscapes import TABLES
from seg_jax.evaluate.stored import evaluate_checkpoint
from seg_jax.metrics import boundary, counts
from seg_jax.predict.predictor import Predictor
from seg_jax.report import read_images
from seg_jax.run import program
from seg_jax.train.loop import train_and_evaluate
from tests.runs import write_frame

pytestmark = pytest.mark.usefixtures("undrawn")
TABLE = TABLES["trainids"]
SIZES = {"aachen_000000_000019": (48, 96), "aachen_000001_000019": (64, 128), "ulm_000002_000019": (40, 72)}


@pytest.fixture(scope="module")
def run(tiny_config, tmp_path_factory):
    """(configuration, run directory) of a few steps on 32x64; three frames to evaluate on, in batches of eight."""
    root = tmp_path_factory.mktemp("cityscapes")
    for i in range(8):
        write_frame(root, "train", f"bonn_{i:06}_000019", (64, 128), seed=i)
    for i, (frame, size) in enumerate(SIZES.items()):
        write_frame(root, "val", frame, size, seed=100 + i)
    config = tiny_config(
        {
            "data.source": "cityscapes",
            "data.dir": str(root),
            "data.size": (32, 64),
            "train.steps": 12,
            "eval.every_steps": 12,  # an evaluation's plots take longer than its epoch of one step
            "optim.lr": 0.01,
            "log.tensorboard": False,
            "eval.panels": 2,
        }
    )
    workdir = root / "run"
    train_and_evaluate(config, workdir)
    return config, workdir


@pytest.mark.slow
def test_training_leaves_counts_of_images_and_costs(run):
    _, workdir = run
    content = json.loads((workdir / "report.json").read_text())
    images = read_images(workdir)
    assert images.names == tuple(SIZES)
    np.testing.assert_array_equal(
        images.counts.sum(0), [[c[key] for c in content["classes"]] for key in ("tp", "fp", "fn")]
    )
    assert images.counts[:, [0, 2]].sum((1, 2)).max() <= 32 * 64
    assert content["compat"]["mmsegmentation"]["mIoU"] == round(100 * content["scores"]["miou"], 2)
    assert content["compat"]["cityscapesScripts"]["mean_classes"] == content["scores"]["miou"]
    assert "TASM" not in content["compat"] and "boundary" not in content  # which need every pixel on the host
    facts = json.loads((workdir / "run.json").read_text())
    assert facts["steps"] == 12 and facts["parameters"] > 1000 and facts["devices"].startswith("8 x ")
    assert facts["flops_per_image"] > 1000 * 32 * 64 and facts["peak_memory_bytes"] > 0 and facts["seconds"] > 0
    assert sorted(path.name for path in (workdir / "panels").iterdir()) == ["0.png", "2.png"]


def test_in_detail_at_the_size_of_the_network(run, counters):
    config, workdir = run
    result = evaluate_checkpoint(config, workdir, "last")
    (counter,) = counters
    # Counted on the host from probabilities, and on the devices from logits.
    np.testing.assert_array_equal(counter.totals["confusion"], result.confusion)
    np.testing.assert_array_equal(counter.totals["images"], result.images.counts)
    assert counter.totals["scores"][0] == result.confusion.sum()
    # Of a softmax the likelihood is the cross-entropy.
    assert result.sections["calibration"]["nll"] == pytest.approx(result.scores["loss"], rel=1e-5)
    assert counter.totals["with_instances"] == 0  # they are of another size
    assert "instance_classes" not in result.sections["compat"]["cityscapesScripts"]
    near = counter.totals["bands"].sum((1, 2))
    assert (np.diff(near) > 0).all() and near[-1] < 2 * result.confusion.sum()
    place = next((workdir / "eval").iterdir())
    content = json.loads((place / "report.json").read_text())
    assert content["protocol"]["resolution"] == "network"
    assert content.keys() >= {"interval", "worst", "confused", "compat", "boundary", "trimap", "calibration"}
    worst = [entry["name"] for entry in content["worst"]]
    assert sorted(worst) == sorted(SIZES)
    assert [e["miou"] for e in content["worst"]] == sorted(e["miou"] for e in content["worst"])
    with Image.open(place / "worst.png") as picture:
        assert picture.width > 1000


def test_submission_at_the_size_of_every_image(run, counters, tmp_path, capsys, monkeypatch):
    official = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # the package uses what NumPy 2.4 removed
    config, workdir = run
    config = config.copy()
    config.eval.resolution, config.eval.submission = "original", str(tmp_path / "submission")
    result = evaluate_checkpoint(config, workdir, "last")
    assert result.protocol["resolution"] == "original"
    assert sorted(path.name for path in (tmp_path / "submission").iterdir()) == [
        f"{f}_pred_labelIds.png" for f in SIZES
    ]

    confusion, table = np.zeros((19, 19), np.int64), np.zeros((3, 19), np.int64)
    predictor, truths, predictions = Predictor.load(workdir, checkpoint="last"), [], []
    root = workdir.parent
    for frame, size in SIZES.items():
        truths.append(str(root / "gtFine" / "val" / frame.split("_")[0] / f"{frame}_gtFine_labelIds.png"))
        predictions.append(str(tmp_path / "submission" / f"{frame}_pred_labelIds.png"))
        label, seen = (TABLE.encode(read_mask(Path(paths[-1]))) for paths in (truths, predictions))
        assert seen.shape == label.shape == size
        confusion += counts.confusion_of(seen, label, 19)
        table += boundary.boundary_counts(seen, label, 19)
    np.testing.assert_array_equal(result.confusion, confusion)
    np.testing.assert_array_equal(result.images.counts.sum(0), result.counts)
    np.testing.assert_array_equal(counters[0].totals["boundary"], table)
    # The frame that has the training's proportions is predicted as by the predictor.
    with Image.open(root / "leftImg8bit" / "val" / "aachen" / "aachen_000001_000019_leftImg8bit.png") as photo:
        alone = predictor(np.asarray(photo)).label
    assert (alone == TABLE.encode(read_mask(Path(predictions[1])))).mean() > 0.999

    official.args.quiet, official.args.JSONOutput = True, False
    theirs = official.evaluateImgLists(predictions, truths, official.args)
    ours = result.sections["compat"]["cityscapesScripts"]
    assert theirs["averageScoreClasses"] == pytest.approx(result.scores["miou"], rel=1e-12)
    for kind, name in (
        ("classes", "Classes"),
        ("categories", "Categories"),
        ("instance_classes", "InstClasses"),
        ("instance_categories", "InstCategories"),
    ):
        assert (
            ours[f"mean_{kind}"] == pytest.approx(theirs[f"averageScore{name}"], rel=1e-12) and ours[f"mean_{kind}"] > 0
        )
    said = capsys.readouterr().out
    assert f"Cityscapes: classes {result.scores['miou']:.3f}, categories" in said
    assert "boundary IoU" in said and "worst images: " in said


def test_a_submission_needs_the_original_resolution(run, tmp_path):
    config, workdir = run
    config = config.copy()
    config.eval.submission = str(tmp_path)
    with pytest.raises(ConfigError, match=r"eval\.submission = .* Add --config\.eval\.resolution=original"):
        evaluate_checkpoint(config, workdir, "last")


def test_windows_sizes_and_the_mirror_image_are_those_of_prediction(run, monkeypatch):
    config, workdir = run
    config = config.copy()
    config.eval.flip, config.eval.scales, config.eval.window = True, (0.5, 1.0), (32, 32)
    config.eval.threshold = 0.1
    with monkeypatch.context() as patch:  # no network sees a whole image, be it as large as it may
        predict = program.Functions.predict

        def in_windows(self, *, flip, scales, rows):
            assert flip and scales == (0.5, 1.0) and not rows
            return predict(self, flip=flip, scales=scales)

        patch.setattr(program.Functions, "eval_step", None)
        patch.setattr(program.Functions, "predict", in_windows)
        result = evaluate_checkpoint(config, workdir, "last")
        config.eval.resolution = "original"
        original = evaluate_checkpoint(config, workdir, "last")
        config.eval.resolution = "network"
    assert math.isnan(result.scores["loss"]) and "windows" in result.protocol["loss"]
    assert result.protocol["flip"] and result.protocol["window"] == [32, 32] and result.protocol["scales"] == [0.5, 1.0]
    predictor = Predictor.load(workdir, checkpoint="last", flip=True, scales=(0.5, 1.0), window=(32, 32))
    examples = data.load(config, "val")
    confusion, above = np.zeros_like(result.confusion), np.zeros((3, len(examples.table)), np.int64)
    for i in range(len(examples)):
        image, label = examples.read(i)
        seen = predictor(image, probabilities=True)
        confusion += counts.confusion_of(seen.label, label, len(examples.table))
        above += np.asarray(counts.above(seen.probabilities[None], label[None], 0.1))[0]
    assert (result.confusion == confusion).all() and result.images.counts[:, 0].sum() == np.trace(confusion)
    assert (result.above[1] == above).all() and above[0].any()
    assert result.scores["miou_above"] == counts.mean(counts.iou(above))
    # Panels show what was counted, at the size of the network.
    for place, size in (("", 0), ("original-", 1)):
        image = examples.original(2)[0] if size else examples.read(2)[0]
        panel = read_image(workdir / "eval" / f"val-12-{place}flip-scales-window" / "panels" / "2.png")
        expected = TABLE.colorize(resize_label(predictor(image).label, (32, 64)))
        assert (viz.parts(panel)[2] == expected).all()
    plain = evaluate_checkpoint(run[0], workdir, "last")
    assert (plain.confusion != confusion).any() and "flip" not in plain.protocol
    assert original.confusion.sum() > confusion.sum()  # photographs are larger than what training saw
