"""What the steps try and how they judge; and all of them at toy size, as `--tiny` runs them."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

from benchmarks.accelerator import __main__ as command
from benchmarks.accelerator import functions, prepare, quality, smoke
from benchmarks.accelerator import train_step as train
from seg_jax import losses, models
from seg_jax.config import recipe
from seg_jax.run import pretrained, program
from tests.conftest import REPOSITORY


def test_every_family_and_decoder_is_tried_and_every_family_at_every_stride():
    fields = list(smoke.networks(tiny=False).values())
    assert {f["model.name"] for f in fields} == set(models.MODELS)
    families = set(smoke.families().values())
    assert {"plain", "resnet18", "vgg16", "mobilenet", "mobilenetv2", "efficientnet_b0", "mit_b0"} <= families
    # What is not reached in time is at the end: decoders come first.
    first = fields[: len(models.MODELS)]
    assert {f["model.encoder.name"] for f in first} == families
    strides = {(f["model.encoder.name"], f.get("model.encoder.output_stride")) for f in fields}
    assert strides >= {(name, stride) for name in families for stride in (8, 16, 32)}


def test_every_loss_is_tried():
    assert {f"loss {name}" for name in losses.LOSSES} | {"confusion matrix", "distance maps", "augmentation"} == set(
        functions.checks(tiny=False)
    )


def test_relative_error_by_hand():
    assert smoke.relative([3.0, 4.0], [3.0, 4.5]) == pytest.approx(0.5 / np.hypot(3, 4.5))
    assert np.isnan(smoke.relative([np.nan], [1.0]))


@pytest.mark.parametrize(("off", "status"), [(0.0, "ok"), (9e-4, "ok"), (2e-3, "wrong"), (np.nan, "wrong")])
def test_losses_may_be_off_by_a_thousandth(off, status):
    wanted = {"loss": [1.0, 1.0], "grad_norm": [2.0, 2.0], "logits": np.ones(4)}
    found = wanted | {"loss": [1 + off, 1 + off], "compile_s": 1.0}
    case = smoke.judge(found, wanted, "float32")
    assert case["status"] == status and ("loss is off" in case.get("error", "")) == (status == "wrong")


def test_a_network_that_does_not_exist_is_refused():
    steps = smoke.Steps(
        {"model.name": "unet", "model.encoder.name": "convnext_tiny", "model.encoder.depth": 1}, side=32
    )
    with pytest.raises(smoke.RefusedError):
        steps.run(jax.devices()[0], "float32")


@pytest.mark.parametrize("name", ["confusion matrix", "distance maps", "loss lovasz"])
def test_the_cpu_agrees_with_itself(name):
    case = functions.checks(tiny=False)[name]()
    assert case["status"] == "ok" and set(case["errors"]) == set(case["tolerance"])


def test_a_device_that_counts_wrongly_is_found(monkeypatch):
    both = functions.on_both
    monkeypatch.setattr(functions, "on_both", lambda *args: [both(*args)[0] + 1, None])
    case = functions.check_confusion()
    assert case["status"] == "wrong" and "counts that differ is 100, of 0" in case["error"]


def test_turns_take_about_two_seconds_in_whole_programs():
    assert [train.steps_of_turn(s, 10) for s in (10.0, 0.1, 0.033, 1e-4)] == [10, 20, 60, 200]


def test_the_length_of_a_training_fills_its_time_in_whole_programs():
    assert quality.length(12.3, 100.0) == 1200 and quality.length(0.1, 1.0) == 60
    assert quality.length(0.1, -5.0) == 60


@pytest.mark.parametrize(("name", "millions"), [("camvid_fast", 7.8), ("camvid_fast_pretrained", 3.83)])
def test_the_first_version_of_the_fast_configurations(name, millions, tmp_path):
    config = recipe(name)
    assert config.train.steps % (10 * config.train.steps_per_dispatch) == 0
    assert config.eval.every_steps % config.train.steps_per_dispatch == 0
    assert config.log.every_steps % config.train.steps_per_dispatch == 0
    config.data.dir = str(tmp_path)
    config.model.encoder.weights = ""  # a package that need not be installed
    config = pretrained.resolve(config)
    program.check(config, devices=1)
    model = models.build(config, classes=11)
    params, state = jax.eval_shape(lambda: models.init(model, jax.random.key(0), (1, 64, 64, 3)))
    assert models.count(params) / 1e6 == pytest.approx(millions, abs=0.05)
    # As float16, with room for the documents.
    assert 2 * (models.count(params) + models.count(state)) < quality.WEIGHT_BYTES - 2**16


def test_a_rate_is_taken_from_results_of_the_same_configuration(tmp_path, monkeypatch):
    monkeypatch.setattr(quality.page, "RESULTS", tmp_path)
    config = recipe("camvid_fast")
    assert quality.recorded_rate("camvid_fast", config) is None
    case = {"steps_per_second": 55.5, "fields": quality.fields(config)}
    path = tmp_path / quality.page.file_name(jax.devices()[0].device_kind)
    path.write_text(json.dumps({"steps": {"quality": {"cases": {"camvid_fast": case}}}}))
    assert quality.recorded_rate("camvid_fast", config) == 55.5
    assert quality.recorded_rate("camvid_fast_pretrained", config) is None
    config.augment.crop = (256, 256)
    assert quality.recorded_rate("camvid_fast", config) is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "one of --out=DIR, --prepare=DIR and --page is needed"),
        (["--out=x", "--page"], "one of --out=DIR"),
        (["--out=x", "--only=smoke,speed"], "the steps are smoke, train_step, infer, memory, quality"),
        (["--out=x", "--minutes=0"], "use a number above 0"),
        (["--prepare=x"], "--prepare needs --data=CAMVID"),
        (["--out=x", "--data=missing.zip"], "missing.zip is not a file"),
        (["--out=x", "found.json"], "results belong to --page"),
    ],
)
def test_flags_that_do_not_fit(monkeypatch, capsys, arguments, said):
    monkeypatch.setattr(sys, "argv", ["accelerator", *arguments])
    with pytest.raises(SystemExit):
        command.parse()
    assert said in capsys.readouterr().err


def test_steps_share_the_time_and_their_files_become_one(monkeypatch, tmp_path, capsys):
    seen = {}

    def run_step(step, path, options, *, deadline, log, environment):
        seen[step] = deadline - command.time.time()
        log.write(b"x" * 1000)
        device = {} if step == "smoke" else {"device": {"kind": "A 1"}}
        content = {"cases": {"c": {"status": "ok"}}, "seconds": 0.0, "running": {}, "planned": ["c"], **device}
        command.record.write(path, content)
        return content

    monkeypatch.setattr(command.supervisor, "run_step", run_step)
    monkeypatch.setattr(command, "LOG_BYTES", 2000)
    monkeypatch.setattr(sys, "argv", ["accelerator", f"--out={tmp_path}", "--minutes=2"])
    assert command.main() == 0
    time_left = 120 - command.RESERVE
    assert seen == pytest.approx(
        {
            "smoke": time_left * 4 / 26,
            "train_step": time_left * 8 / 22,
            "infer": time_left * 3 / 14,
            "memory": time_left * 3 / 11,
            "quality": time_left,
        },
        abs=2,
    )
    # The first step told no device: its file stays, its results are in the common one all the same.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["accelerator.log", "accelerator_A_1.json", "smoke.json"]
    assert (tmp_path / "accelerator.log").stat().st_size < 2100
    content = json.loads((tmp_path / "accelerator_A_1.json").read_text())
    assert list(content["steps"]) == ["smoke", "train_step", "infer", "memory", "quality"]
    assert "quality: 1 ok" in capsys.readouterr().out


def small_camvid(place):
    """CamVid's folders with a few pairs of coloured rectangles, in one file."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 4)):
        for folder in (split, f"{split}annot"):
            (place / folder).mkdir(parents=True)
        for i in range(count):
            mask = rng.integers(0, 12, (6, 8)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
            Image.fromarray(np.stack([mask * 20, mask * 10, mask], -1)).save(place / split / f"{i}.png")
            Image.fromarray(mask).save(place / f"{split}annot" / f"{i}.png")
    prepare.pack(place, place / "camvid.zip")
    return place / "camvid.zip"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_at_toy_size(tmp_path):
    data, out = small_camvid(tmp_path / "camvid"), tmp_path / "out"
    # As a user's: what the other tests tell XLA makes toys slow.
    own = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
    command_line = [sys.executable, "-m", "benchmarks.accelerator", "--minutes=14", "--tiny"]
    done = subprocess.run(
        [*command_line, f"--out={out}", f"--data={data}"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=880, env=own,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr + (out / "accelerator.log").read_text()[-5000:]
    names = {path.name for path in out.iterdir()}
    assert names == {
        "accelerator_cpu.json", "accelerator.log",
        *(f"{name}{end}" for name in quality.NAMES for end in ("_metrics.jsonl", "_curves.png", ".safetensors")),
    }  # fmt: skip
    assert len(names) <= 8  # as the command says
    steps = json.loads((out / "accelerator_cpu.json").read_text())["steps"]
    assert list(steps) == ["smoke", "train_step", "infer", "memory", "quality"]
    statuses = {f"{step}/{name}": case["status"] for step in steps for name, case in steps[step]["cases"].items()}
    # PyTorch is not part of the tests' environment: its side says so, ours is measured.
    assert set(statuses.values()) == {"ok"}, statuses
    row = steps["train_step"]["cases"]["toy"]
    assert set(row["images_per_second"]) >= {"1 step a program", "2 steps a program"}
    assert row["profile"]["kernels"] > 0 and ("error_peer" in row or "ratio" in row)
    assert steps["infer"]["cases"]["StableHLO"]["certificate"]["passed"]
    planned = {name: case["planned_bytes"] for name, case in steps["memory"]["cases"].items()}
    assert planned["150 classes, one by one"] < planned["150 classes, at once"]
    assert planned["evaluation, in windows"] < planned["evaluation, whole"]
    for name in quality.NAMES:
        trained = steps["quality"]["cases"][name]
        assert trained["finished_steps"] == trained["steps"] and not trained["cut_short"]
        assert trained["weights"]["against_run"]["largest_difference"] < 0.1
        lines = [json.loads(line) for line in (out / f"{name}_metrics.jsonl").read_text().splitlines()]
        scores = {line["step"]: line["val/miou"] for line in lines if "val/miou" in line}
        assert trained["scores"]["miou"] == scores[trained["best_step"]] == max(scores.values()) > 0
        assert len(trained["classes"]) == 11


def test_a_process_without_the_accelerator_that_is_there_says_so(tmp_path):
    options = {"path": str(tmp_path / "x.json"), "deadline": 0.0, "accelerator": True}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.accelerator.child", "smoke", json.dumps(options)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=120, env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert done.returncode == 1 and "there is an accelerator, but JAX has found none" in done.stderr


def test_the_environment_of_the_steps(monkeypatch):
    for name in ("JAX_PLATFORMS", "XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_FLAGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(command, "process", SimpleNamespace(has_accelerator=lambda: True))
    there = command.environment("train_step")
    assert "XLA_FLAGS" not in there and "autotune_level=0" in command.environment("smoke")["XLA_FLAGS"]
    assert there["JAX_PLATFORMS"] == "cuda,cpu" and there["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    monkeypatch.setattr(command, "process", SimpleNamespace(has_accelerator=lambda: False))
    assert "JAX_PLATFORMS" not in command.environment("smoke")
