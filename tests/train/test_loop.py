"""The loop in this process, on photographs and masks in a directory."""

import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from seg_jax import data
from seg_jax.config import ConfigError, load, with_fields
from seg_jax.data import stats
from seg_jax.data.images import DataError
from seg_jax.data.labels import LabelTable
from seg_jax.evaluate.stored import evaluate_checkpoint
from seg_jax.run.checkpoint import Checkpoints
from seg_jax.train import health
from seg_jax.train.health import DivergedError
from seg_jax.train.loop import train_and_evaluate
from tests.runs import CLASSES, lines, manifest, write_pair


@pytest.mark.slow
def test_files_and_caches_feed_the_same(config_for, tmp_path):
    for cache in ("host", "none", "device"):
        train_and_evaluate(config_for(data__cache=cache), tmp_path / cache)
    for cache in ("none", "device"):
        assert manifest(tmp_path / "host", 4) == manifest(tmp_path / cache, 4)
        assert (tmp_path / "host" / "report.json").read_text() == (tmp_path / cache / "report.json").read_text()


def test_resuming_from_a_checkpoint_gives_the_same_bits(config_for, tmp_path):
    train_and_evaluate(config_for(), tmp_path / "whole")
    train_and_evaluate(config_for(), tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "4")
    pictures = tmp_path / "resumed" / "pictures"
    shutil.copy(pictures / "4.jpg", pictures / "6.jpg")  # of a step that was not reached again
    state = train_and_evaluate(config_for(), tmp_path / "resumed")
    assert int(state.step) == 4
    assert manifest(tmp_path / "resumed", 4) == manifest(tmp_path / "whole", 4)
    assert lines(tmp_path / "resumed", "train/loss") == lines(tmp_path / "whole", "train/loss")
    assert sorted(path.name for path in pictures.iterdir()) == ["2.jpg", "4.jpg", "training.webp"]
    for name in ("2.jpg", "4.jpg", "training.webp"):
        assert (pictures / name).read_bytes() == (tmp_path / "whole" / "pictures" / name).read_bytes()
    assert [step for step, _ in lines(tmp_path / "whole", "train/iou/top")] == [2, 4]


def test_other_examples_are_refused(config_for, folder, tmp_path):
    train_and_evaluate(config_for(), tmp_path / "run")
    write_pair(folder, "train", "99", seed=99)
    with pytest.raises(ConfigError, match=r"'train' \(now 17\) are not those"):
        train_and_evaluate(config_for(), tmp_path / "run")
    moved = folder.rename(tmp_path / "elsewhere")
    (moved / "train" / "99.png").unlink()
    (moved / "trainannot" / "99.png").unlink()
    train_and_evaluate(config_for(data__dir=str(moved)), tmp_path / "run")  # a moved directory is the same data


def test_a_failed_check_does_not_bind_the_configuration(config_for, folder, tmp_path):
    Image.new("RGB", (48, 48)).save(folder / "train" / "00.png")
    Image.new("L", (48, 48)).save(folder / "trainannot" / "00.png")
    with pytest.raises(DataError, match=r"set config\.data\.size"):
        train_and_evaluate(config_for(), tmp_path / "run")
    state = train_and_evaluate(config_for(data__size=(32, 32)), tmp_path / "run")
    assert int(state.step) == 4


def test_files_that_belong_to_no_run_are_not_replaced(config_for, folder, tmp_path):
    names = folder / "class_names.json"
    before = names.read_bytes()
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"data/class_names\.json, which belongs to no run .*another --workdir"):
            train_and_evaluate(config_for(), folder)
    assert names.read_bytes() == before
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"my": 1}')
    with pytest.raises(ConfigError, match=r"run/config\.json, which is no configuration"):  # not of the data
        train_and_evaluate(config_for(data__dir="nowhere"), tmp_path / "run")
    assert (tmp_path / "run" / "config.json").read_text() == '{"my": 1}'
    names.write_text(LabelTable.load(names).to_json())  # as `seg_jax.data prepare` writes it: nothing is lost
    assert int(train_and_evaluate(config_for(), folder).step) == 4


def test_left_out_examples_are_in_the_report(config_for, folder, tmp_path):
    (folder / "train" / "03.png").write_bytes(b"")
    Image.fromarray(np.full((32, 40), 77, np.uint8)).save(folder / "valannot" / "01.png")
    with pytest.raises(DataError, match=r"1 of 16 .*train.*\n.*03\.png"):
        train_and_evaluate(config_for(), tmp_path / "run")
    train_and_evaluate(config_for(data__skip_bad=True), tmp_path / "run")
    protocol = json.loads((tmp_path / "run" / "report.json").read_text())["protocol"]
    (train,), (val,) = protocol["left_out"]["train"], protocol["left_out"]["val"]
    assert "03.png" in train["name"] and "01.png" in val["name"]
    assert "77 (1280 pixels)" in val["why"]
    assert protocol["images"] == 4


@pytest.mark.slow
def test_a_bad_file_that_is_first_read_in_training(config_for, folder, tmp_path):
    """With crops that labels decide on; stopped and resumed, from files or memory, it is the same run."""
    (folder / "train" / "03.png").write_bytes(b"")
    crops = {"augment__crop": (32, 32), "augment__crop_balance": 0.5, "augment__cat_max_ratio": 0.8}
    fields = {**crops, "augment__scale": (1.0, 2.0), "data__check": "use", "data__cache": "none"}
    with pytest.raises(DataError, match=r"03\.png is not an image"):
        train_and_evaluate(config_for(**fields), tmp_path / "stopped")
    fields["data__skip_bad"] = True
    train_and_evaluate(config_for(**fields), tmp_path / "whole")
    train_and_evaluate(config_for(**{**fields, "data__cache": "host"}), tmp_path / "resumed")
    assert manifest(tmp_path / "resumed", 4) == manifest(tmp_path / "whole", 4)
    shutil.rmtree(tmp_path / "resumed" / "checkpoints" / "4")
    train_and_evaluate(config_for(**fields), tmp_path / "resumed")
    assert manifest(tmp_path / "resumed", 4) == manifest(tmp_path / "whole", 4)
    (left_out,) = json.loads((tmp_path / "whole" / "report.json").read_text())["protocol"]["left_out"]["train"]
    assert "03.png" in left_out["name"]


@pytest.mark.parametrize(("folder_of_masks", "field"), [("trainannot", "train_split"), ("valannot", "val_split")])
@pytest.mark.parametrize("cache", ["none", "host"])
def test_a_split_without_a_labelled_pixel_is_refused(
    config_for, folder, tmp_path, monkeypatch, folder_of_masks, field, cache
):
    monkeypatch.setattr("seg_jax.train.loop.train", lambda *_: pytest.fail("a step was about to run"))
    masks = sorted((folder / folder_of_masks).iterdir())
    for path in masks:
        Image.fromarray(np.full((32, 40), 255, np.uint8)).save(path)
    expected = rf"config\.data\.{field} = '\w+' has no labelled pixel: its {len(masks)} masks .*--config\.data\.{field}"
    for _ in range(2):  # the second time the files are known, and not read again
        with pytest.raises(DataError, match=expected):
            train_and_evaluate(config_for(data__cache=cache), tmp_path / "run")


def test_early_stopping_survives_a_restart(config_for, tmp_path, caplog):
    config = config_for(optim__lr=1e-12, early_stop__patience=2, train__steps=40)
    config.model.norm = "group"  # no running statistics: nothing changes, so no evaluation is a gain
    state = train_and_evaluate(config, tmp_path / "run")
    assert int(state.step) == 6  # the first evaluation, at step 2, is the best; two more without gain
    assert int(train_and_evaluate(config, tmp_path / "run").step) == 6
    assert json.loads((tmp_path / "run" / "report.json").read_text())["protocol"]["step"] == 2


def test_the_metric_of_the_best_may_be_the_loss(config_for, tmp_path):
    train_and_evaluate(config_for(checkpoint__metric="loss", train__steps=6), tmp_path / "run")
    losses = dict(lines(tmp_path / "run", "val/loss"))
    best = json.loads((tmp_path / "run" / "report.json").read_text())["protocol"]["step"]
    assert losses[best] == min(losses.values())


# Features whose state a resumed run has to take up: averages, the middle of a plateau, parts of a batch, mixing.
STATEFUL = {
    "ema": {"optim__ema": 0.9},
    "plateau": {"optim__schedule": "plateau", "optim__patience": 1, "optim__factor": 0.5, "optim__lr": 1e-12},
    "parts": {
        "train__accumulate": 2,
        "train__batch_size": 16,
        "optim__grad_clip": 0.1,
        "augment__cutmix": 0.5,
        "augment__classmix": 0.5,
    },
    "skip": {"train__nonfinite": "skip", "optim__name": "muon", "data__cache": "device", "optim__ema": 0.9},
}


# In the quick tests an average is resumed together with skipping, and a plateau in test_length.py.
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ("parts", "skip") else [pytest.mark.slow]) for name in STATEFUL]
)
def test_every_feature_resumes_bit_by_bit(config_for, tmp_path, name):
    fields = {**STATEFUL[name], "eval__every_steps": 1, "checkpoint__keep_last": 4, "log__every_steps": 1}
    train_and_evaluate(config_for(**fields), tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    for step in (3, 4):
        shutil.rmtree(tmp_path / "resumed" / "checkpoints" / str(step))
    train_and_evaluate(config_for(**fields), tmp_path / "resumed")
    assert manifest(tmp_path / "resumed", 4) == manifest(tmp_path / "whole", 4)
    for metric in ("train/loss", "train/lr", "val/miou"):
        assert lines(tmp_path / "resumed", metric) == lines(tmp_path / "whole", metric)


@pytest.mark.slow
def test_several_steps_run_as_one_program(config_for, tmp_path, caplog):
    caplog.set_level("INFO")
    fields = {"train__steps": 7, "eval__every_steps": 7, "checkpoint__every_steps": 3, "log__every_steps": 1000}
    train_and_evaluate(config_for(**fields), tmp_path / "single")
    fields |= {"train__steps_per_dispatch": 3, "checkpoint__keep_last": 3}
    for cache in ("host", "device"):
        train_and_evaluate(config_for(data__cache=cache, **fields), tmp_path / cache)
    assert "compiled the 3 training steps" in caplog.text
    assert manifest(tmp_path / "host", 7) == manifest(tmp_path / "device", 7)
    single, together = (Checkpoints(tmp_path / name / "checkpoints").arrays(7) for name in ("single", "host"))
    assert all(np.allclose(single[name], together[name], rtol=1e-3, atol=1e-5) for name in single)

    shutil.rmtree(tmp_path / "host" / "checkpoints" / "7")
    shutil.rmtree(tmp_path / "host" / "checkpoints" / "6")
    train_and_evaluate(config_for(**fields), tmp_path / "host")
    assert manifest(tmp_path / "host", 7) == manifest(tmp_path / "device", 7)


def test_a_step_inside_of_a_program_that_is_not_finite_is_named(config_for, tmp_path):
    fields = {"train__steps_per_dispatch": 4, "optim__lr": 1e30, "eval__every_steps": 4, "log__every_steps": 4}
    with pytest.raises(DivergedError, match=r"at step [2-4], on the batch"):
        train_and_evaluate(config_for(**fields), tmp_path / "run")


def test_plateau_lowers_the_rate_when_the_score_stays_behind(config_for, tmp_path):
    # With such a small rate only the first evaluation is a gain; patience of one lets the rate fall after each other.
    fields = {**STATEFUL["plateau"], "eval__every_steps": 1, "log__every_steps": 1}
    train_and_evaluate(config_for(**fields), tmp_path / "run")
    rates = [rate for _, rate in lines(tmp_path / "run", "train/lr")]
    assert rates == pytest.approx([1e-12, 1e-12, 0.5e-12, 0.25e-12])


@pytest.mark.slow
def test_the_average_is_what_is_evaluated_and_predicted_with(config_for, tmp_path):
    state = train_and_evaluate(config_for(optim__ema=0.9, optim__lr=0.1), tmp_path / "run")
    stored = Checkpoints(tmp_path / "run" / "checkpoints")
    for averaged in (True, False):
        expected = state.weights(averaged=averaged)["params"]["decoder"]["head"]["bias"]
        np.testing.assert_array_equal(stored.arrays(4, averaged=averaged)["params/decoder/head/bias"], expected)
    assert (np.asarray(state.ema["params"]["decoder"]["head"]["bias"]) != state.params["decoder"]["head"]["bias"]).any()
    config = load(tmp_path / "run" / "config.json")
    scores = []
    for averaged in (True, False):
        chosen = with_fields(config, {"eval.averaged": averaged})
        scores.append(evaluate_checkpoint(chosen, tmp_path / "run", "last").scores["loss"])
    assert scores[0] == dict(lines(tmp_path / "run", "val/loss"))[4] and scores[0] != scores[1]


def test_steps_that_are_not_finite_are_skipped_until_there_are_too_many(config_for, tmp_path, monkeypatch, caplog):
    fields = {"train__nonfinite": "skip", "optim__lr": 1e30, "optim__name": "sgd", "optim__schedule": "constant"}
    state = train_and_evaluate(config_for(**fields), tmp_path / "run")
    assert int(state.skipped) > 0 and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
    assert "is skipped: " in caplog.text
    monkeypatch.setattr(health, "MAX_SKIPPED_STEPS_IN_A_ROW", 2)
    with pytest.raises(DivergedError, match=r"at step \d, on the batch"):
        train_and_evaluate(config_for(**fields), tmp_path / "other")


def test_profile_window(config_for, tmp_path):
    train_and_evaluate(config_for(profile__start_step=1, profile__steps=2), tmp_path / "run")
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb"))


def test_divergence_is_not_saved(config_for, tmp_path):
    config = config_for(optim__lr=1e30, optim__schedule="constant", checkpoint__every_steps=1, train__steps=20)
    with pytest.raises(
        DivergedError, match=r"nan at step \d+, on the batch\n  train/\d\d\.png \+ trainannot/\d\d\.png"
    ):
        train_and_evaluate(config, tmp_path / "run")


def test_class_weights_are_checked_before_files_are_read(config_for, folder, tmp_path):
    (folder / "train" / "03.png").write_bytes(b"")  # would be found by reading
    with pytest.raises(ConfigError, match=r"loss\.class_weights = \(1\.0, 2\.0\).*3 classes"):
        train_and_evaluate(config_for(loss__class_weights=(1.0, 2.0)), tmp_path / "run")


@pytest.mark.slow
def test_class_weights_by_name(config_for, folder, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = tmp_path / "run"
    named = config_for(loss__class_weights=("median_frequency",))
    with caplog.at_level("INFO"):
        train_and_evaluate(named, run)
    counted = stats.load(data.load(named, "train"), named.data)
    numbers = stats.class_weights(counted, "median_frequency")
    assert load(run / "config.json").loss.class_weights == numbers
    assert f"class weights by median_frequency: left {numbers[0]:g}, " in caplog.text
    # The numbers give the same run.
    train_and_evaluate(config_for(loss__class_weights=numbers), tmp_path / "numbers")
    assert manifest(run, 4) == manifest(tmp_path / "numbers", 4)
    # A resumed run has those that were recorded, whatever the files say by now.
    shutil.rmtree(run / "checkpoints" / "4")
    monkeypatch.setattr(stats, "load", None)
    train_and_evaluate(named, run)
    assert manifest(run, 4) == manifest(tmp_path / "numbers", 4)
    assert evaluate_checkpoint(named, run, "last").scores["loss"] > 0
    with pytest.raises(ConfigError, match=r"loss\.class_weights"):
        train_and_evaluate(config_for(loss__class_weights=(1.0, 2.0, 3.0)), run)


def test_unknown_scheme_of_class_weights(config_for, tmp_path):
    with pytest.raises(ConfigError, match=r"loss\.class_weights = 'median' is not one of: .*'median_frequency'\?"):
        train_and_evaluate(config_for(loss__class_weights=("median",)), tmp_path / "run")


def test_class_that_occurs_nowhere_has_no_weight(config_for, folder, tmp_path, caplog):
    (folder / "class_names.json").write_text(json.dumps([*CLASSES, "unseen"]))
    train_and_evaluate(config_for(loss__class_weights=("inverse_log",), train__steps=1), tmp_path / "run")
    assert load(tmp_path / "run" / "config.json").loss.class_weights[3] == 0
    assert "weight 0, because they occur nowhere in training: unseen" in caplog.text
