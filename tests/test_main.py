"""The whole program as its users start it: train, kill, resume, evaluate, predict."""

from __future__ import annotations

import importlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg_jax.config import to_json, with_fields
from tests.runs import QUIET, REPOSITORY, TINY, array_file, flip, manifest


@pytest.fixture(scope="module")
def run(environment):
    """run(module, *arguments) -> finished process, with text output."""

    def start(module: str, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=REPOSITORY,
            env=environment | extra,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return start


@pytest.fixture
def here(monkeypatch, capsys):
    """The same in this process, which has imported everything, for what is not about starting and ending."""
    monkeypatch.setattr("seg_jax.runtime.process.quiet", lambda: None)  # it would keep pytest from seeing logs

    def call(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        code = importlib.import_module(f"{module}.__main__").main(arguments)
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def finished(run, tmp_path_factory) -> Path:
    """The run directory of an uninterrupted training."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    result = run("seg_jax.main", *TINY, f"--workdir={workdir}")
    assert result.returncode == 0, result.stderr
    assert "finished step 12" in result.stdout and str(workdir) in result.stdout
    assert result.stdout.count("worst classes: ") == 2  # a summary of each evaluation
    assert result.stdout.count("frequency-weighted IoU") == 1  # and the whole table at the end
    assert "compiling" in result.stderr and "best mIoU 0." in result.stderr
    assert "subset" not in result.stderr  # of fonts, which PDF files make fontTools report in a hundred lines
    assert f"predictions of step 6: {workdir / 'predictions.png'}" in result.stderr
    for command in ("seg_jax.predict", "--mode=eval", "tensorboard"):
        assert command in result.stdout
    return workdir


def test_no_file_is_promised_that_is_not_there(tmp_path, tiny_config):
    from seg_jax.main import contents

    def record(config):
        (tmp_path / "config.json").write_text(to_json(config))

    (tmp_path / "metrics.jsonl").touch()  # an interrupted run, before its first evaluation
    record(tiny_config({"log.tensorboard": False}))
    said = contents(tmp_path)
    assert said.startswith("  metrics.jsonl    ") and "seg_jax.predict" in said
    for absent in ("report.json", "predictions.png", "curves.png", "checkpoints", "tensorboard", "sample.png"):
        assert absent not in said
    (tmp_path / "report.json").touch()
    (tmp_path / "checkpoints").mkdir()
    record(tiny_config())
    said = contents(tmp_path).splitlines()
    assert said[0].split() == ["report.json", "the", "best", "checkpoint", "on", "'val'"]
    assert said[2].split()[0] == "checkpoints/" and "tensorboard.main" in said[-1]


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def numbered(workdir: Path) -> list[int]:
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())


def test_run_directory_explains_itself(finished):
    names = {p.name for p in finished.iterdir()}
    assert names >= {
        *("config.json", "class_names.json", "checkpoints", "metrics.jsonl", "report.json"),
        *("curves.png", "curves.pdf", "confusion.png", "confusion.pdf", "predictions.png", "sample.png"),
        *("curves_classes.png", "pictures"),
    }
    assert {p.name for p in (finished / "pictures").iterdir()} == {"6.jpg", "12.jpg", "training.webp"}
    report = json.loads((finished / "report.json").read_text())
    assert report["protocol"]["images"] == 6
    assert (report["protocol"]["height"], report["protocol"]["width"]) == (32, 48)
    assert np.sum(report["confusion"]) == 6 * 32 * 48  # every pixel of every image exactly once
    assert report["protocol"]["step"] in numbered(finished)
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "train/loss" in line] == [3, 6, 9, 12]
    assert [line["step"] for line in lines if "val/miou" in line] == [6, 12]
    for name in ("curves", "curves_classes", "confusion", "predictions"):
        assert picture(finished / f"{name}.png").std() > 5


def test_tensorboard_shows_everything(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    tags = {tag for kind in ("scalars", "images", "tensors") for tag in events.Tags()[kind]}
    assert tags >= {
        *("train/loss", "train/lr", "train/grad_norm", "train/images_per_second", "train/input_bound"),
        *("val/loss", "val/miou", "val/fwiou", "val/pixel_accuracy", "val/mean_accuracy"),
        *("val/iou/sky", "val/iou/person", "val/0", "val/3", "_hparams_/session_start_info"),
    }
    assert any(tag.startswith("config") for tag in tags)


def test_same_command_again_changes_nothing(run, finished):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    began = time.perf_counter()
    # TensorFlow, and the data, are not even looked at.
    result = run("seg_jax.main", *TINY, f"--workdir={finished}", PYTHONPROFILEIMPORTTIME="1")
    assert time.perf_counter() - began < 20
    assert result.returncode == 0, result.stderr
    assert "finished already, step 12: nothing is left to train; everything is in" in result.stdout
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines() if "import time" in line}
    assert "jax" in imported and not imported & {"tensorflow", "clu", "orbax", "optax"}
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


@pytest.mark.parametrize("change", ["longer", "damaged", "no end", "extended, then killed"])
def test_a_run_that_is_not_finished_is_not_called_so(finished, tmp_path, change):
    from seg_jax.run.directory import RunDirectory
    from seg_jax.run.finished import finished_step

    run = RunDirectory(shutil.copytree(finished, tmp_path / "run"))
    config = run.config()
    assert finished_step(config, run) == 12
    if change == "longer":
        config = with_fields(config, {"train.steps": 13})
    elif change == "damaged":
        path = array_file(run.checkpoints_folder, 12)
        flip(path, path.stat().st_size // 2)
    elif change == "no end":
        run.facts_file.unlink()
    else:  # what the directory recorded is already longer than what the newest checkpoint was saved for
        config = with_fields(config, {"train.steps": 24, "train.extend": True, "train.extended_at": (12,)})
        run.write_config(config)
    assert finished_step(config, run) is None


def test_another_configuration_is_refused(run, finished):
    result = run("seg_jax.main", *TINY, f"--workdir={finished}", "--config.optim.lr=0.5", QUIET)
    assert result.returncode == 1
    assert "config.optim.lr: now 0.5" in result.stderr and "--workdir" in result.stderr
    assert "Traceback" not in result.stderr


def test_eval_repeats_the_report_of_training(run, here, finished):
    result = run("seg_jax.main", f"--workdir={finished}", "--mode=eval")
    assert result.returncode == 0, result.stderr
    trained = json.loads((finished / "report.json").read_text())
    step = trained["protocol"]["step"]
    again = json.loads((finished / "eval" / f"val-{step}" / "report.json").read_text())
    assert again["confusion"] == trained["confusion"]
    assert again["scores"]["loss"] == pytest.approx(trained["scores"]["loss"], rel=1e-5)
    # What the run recorded may be overridden without naming its configuration.
    flags = ("--mode=eval", "--checkpoint=6", "--config.eval.resolution=original")
    last, original = run("seg_jax.main", f"--workdir={finished}", *flags), finished / "eval" / "val-6-original"
    assert "mean IoU near true boundaries" in last.stdout
    assert json.loads((original / "report.json").read_text())["protocol"]["resolution"] == "original"
    compared = here("seg_jax.report", str(finished), str(original))
    assert compared.returncode == 0 and "resolution is 'original', there 'network'" in compared.stdout, compared.stderr
    assert last.returncode == 0
    missing = run("seg_jax.main", f"--workdir={finished}", "--mode=eval", "--checkpoint=7")
    assert missing.returncode == 1 and "'7' is not one of: best, last" in missing.stderr


def test_predict_any_size(run, here, finished, tmp_path):
    photos = tmp_path / "photos"
    (photos / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    sizes = {"wide": (37, 91), "tall": (64, 33), "deep/tiny": (5, 3)}
    for name, size in sizes.items():
        Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(photos / f"{name}.png")
    (photos / "broken.jpg").write_bytes(b"no picture")
    out = tmp_path / "out"
    command = ("seg_jax.predict", str(finished), str(photos), str(finished / "sam*.png"), f"--out={out}")
    result = run(*command)
    assert result.returncode == 1  # one input is broken; the others are done all the same
    assert "broken.jpg" in result.stderr and "Traceback" not in result.stderr
    entries = {e["name"]: e for e in map(json.loads, (out / "predictions.jsonl").read_text().splitlines())}
    for name, size in {**sizes, "sample": (32, 48)}.items():
        mask = picture(out / f"{name}_mask.png")
        assert mask.shape == size and mask.dtype == np.uint8 and mask.max() < 8
        assert picture(out / f"{name}_color.png").shape == (*size, 3)
        assert picture(out / f"{name}_overlay.png").shape[1] == size[1]
        assert f"{name}.png" in result.stdout
        assert abs(sum(entries[name]["shares"].values()) - 1) < 1e-4
    assert "4 images in" in result.stdout and "images/s" in result.stdout

    # The same command again does what is missing: what was never possible, and what was removed.
    (out / "wide_color.png").unlink()
    with Image.open(photos / "tall.png") as image:
        image.rotate(180).save(photos / "tall.png")
    again = here(*command, "--json")
    assert again.returncode == 1
    summary = json.loads(again.stdout)
    assert (summary["images"], summary["skipped"]) == (2, 2)
    assert [line["name"] for line in summary["results"]] == ["tall", "wide"]
    (why,) = summary["failed"].values()
    assert "broken.jpg is not an image" in why
    assert (out / "wide_color.png").exists()
    assert json.loads(here(*command, "--json", "--overwrite").stdout)["images"] == 4


def test_predict_without_out_writes_to_a_new_folder(here, finished, tmp_path, monkeypatch):
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(finished / "sample.png", photos / "a.png")
    monkeypatch.chdir(photos)
    for number in (1, 2):  # the second time the folder has the results of the first, which are no photographs
        result = here("seg_jax.predict", str(finished), ".")
        assert result.returncode == 0, result.stderr
        assert "1 images in" in result.stdout and result.stdout.endswith(f"results in predictions/{number}\n")
        assert (photos / "predictions" / str(number) / "a_overlay.png").is_file()
    result = here("seg_jax.predict", str(finished), "predictions/1/a_overlay.png", "--json")
    assert json.loads(result.stdout)["images"] == 1  # which was named itself
    assert sorted(path.name for path in Path("predictions").iterdir()) == ["1", "2", "3"]
    assert here("seg_jax.predict", str(finished), "nothing.png").returncode == 1
    assert not Path("predictions/4").exists()


def test_predict_writes_what_is_asked_for(here, finished, tmp_path):
    sample = finished / "sample.png"
    out = tmp_path / "out"
    kinds = ("mask", "confidence", "entropy", "probabilities")
    options = (f"--out={out}", f"--write={','.join(kinds)}", "--flip", "--scales=0.5,1")
    result = here("seg_jax.predict", str(finished), str(sample), *options)
    assert result.returncode == 0, result.stderr
    assert {p.name for p in out.iterdir()} == {
        *("predictions.jsonl", "sample_mask.png", "sample_confidence.png", "sample_entropy.png"),
        "sample_probabilities.npz",
    }
    p = np.load(out / "sample_probabilities.npz")["probabilities"]
    assert p.shape == (32, 48, 8) and np.allclose(p.sum(-1), 1, atol=2e-3)
    assert (picture(out / "sample_mask.png") == p.argmax(-1)).mean() > 0.98  # ties of rounded numbers
    assert np.abs(picture(out / "sample_confidence.png") - 255.0 * p.max(-1)).max() < 1
    entropy = -(p * np.log(np.maximum(p, 1e-12, dtype=np.float32))).sum(-1) / np.log(8)
    assert np.abs(picture(out / "sample_entropy.png") - 255.0 * entropy).max() < 3

    slid = here("seg_jax.predict", str(finished), str(sample), f"--out={tmp_path / 'slid'}", "--window=32x32")
    assert slid.returncode == 0, slid.stderr
    assert picture(tmp_path / "slid" / "sample_mask.png").shape == (32, 48)


def test_predict_takes_standard_input_and_videos(here, finished, environment, tmp_path):
    av = pytest.importorskip("av")
    sample = picture(finished / "sample.png")
    clip = tmp_path / "clip.mp4"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for i in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(sample, i, axis=1), format="rgb24")))
        container.mux(stream.encode())
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "seg_jax.predict", str(finished), "-", str(clip), str(tmp_path / "broken.mp4")),
            *(f"--out={out}", "--json", "--write=mask,overlay"),
        ],
        cwd=REPOSITORY, env=environment, input=(finished / "sample.png").read_bytes(), capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1 and b"Traceback" not in done.stderr, done.stderr
    summary = json.loads(done.stdout)
    assert summary["images"] == 6 and list(summary["failed"]) == [str(tmp_path / "broken.mp4")]
    assert picture(out / "stdin_mask.png").shape == (32, 48)
    assert [p.name for p in sorted((out / "clip_mask").iterdir())] == [f"{i:06}_mask.png" for i in range(1, 6)]
    with av.open(str(out / "clip_overlay.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert len(frames) == 5 and float(container.streams.video[0].average_rate) == 10
    assert frames[0].shape[1] == 48 and frames[0].shape[0] > 32  # with its legend
    assert not list(out.glob(".*"))

    camera = here("seg_jax.predict", str(finished), "97", f"--out={out}")
    assert camera.returncode == 1 and "camera 97 cannot be opened" in camera.stderr


def test_predict_agrees_with_evaluation(run, finished, tmp_path):
    """The mask of the first validation image holds what the network's report counts, to the pixel."""
    from seg_jax.predict import restore
    from seg_jax.predict.predictor import Predictor
    from seg_jax.run.directory import RunDirectory

    predictor = Predictor.load(finished)
    image = picture(finished / "sample.png")
    result = predictor(image, probabilities=True)
    assert (result.label == result.probabilities.argmax(-1)).all()
    engine = restore.load(RunDirectory(finished), checkpoint="best").engine
    assert (result.label == np.asarray(engine(image[None]))[0].argmax(-1)).all()
    assert predictor.card["step"] in numbered(finished) and predictor.card["architecture"] == "unet"
    assert sum(result.shares().values()) == pytest.approx(1)


def test_a_configuration_of_another_network_is_explained(finished, tmp_path):
    from seg_jax.predict.predictor import Predictor
    from seg_jax.run.checkpoint import CheckpointError

    shutil.copytree(finished, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["model"]["encoder"]["width"] = 8
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"is of another network or optimizer: .* other shape"):
        Predictor.load(tmp_path / "run")(picture(finished / "sample.png"))


def test_wrong_input_is_explained(run, here, finished, tmp_path):
    cases = {
        ("seg_jax.predict", str(tmp_path), "x.png", "--out=o"): "is not an image file",
        ("seg_jax.predict", str(tmp_path), str(finished / "sample.png"), "--out=o"): "is not a run directory",
        ("seg_jax.main", "--config=configs/synthetic_unet.py"): "--workdir is missing",
        ("seg_jax.main", *TINY, f"--workdir={tmp_path}", "--config.model.name=unett"): "Did you mean 'unet'?",
        ("seg_jax.main", *TINY, f"--workdir={tmp_path}", "--config.model.nam=unet"): 'Did you mean "name"',
        (
            "seg_jax.main",
            "--config=configs/camvid_unet.py",
            f"--workdir={tmp_path}",
            "--config.data.dir=/nonexistent",
        ): "'/nonexistent' is not a directory",
    }
    for command, message in cases.items():
        result = (here if command[0] == "seg_jax.predict" else run)(*command)
        assert result.returncode == 1, command
        assert message in result.stderr, (command, result.stderr)
        assert "Traceback" not in result.stderr


def test_dry_run_prints_costs_and_writes_nothing(run, tmp_path):
    result = run("seg_jax.main", *TINY, f"--workdir={tmp_path / 'none'}", "--mode=dry_run", "--fit_memory=4")
    assert result.returncode == 0, result.stderr
    for word in (
        "parameters",
        "FLOPs",
        "peak memory",
        "train step",
        "eval step",
        "fits into 4 GiB per device as it is",
    ):
        assert word in result.stdout
    assert not (tmp_path / "none").exists()


def test_divergence_stops_and_names_the_batch(run, tmp_path):
    workdir = tmp_path / "diverged"
    result = run(
        "seg_jax.main", *TINY, f"--workdir={workdir}", QUIET,
        "--config.optim.lr=1e30", "--config.optim.warmup_steps=0", "--config.checkpoint.every_steps=1",
    )  # fmt: skip
    assert result.returncode == 1
    assert "loss = nan at step" in result.stderr and "scene " in result.stderr
    assert "last good checkpoint is" in result.stderr and "optim.lr" in result.stderr
    assert "Traceback" not in result.stderr
    for step in numbered(workdir):
        assert all(np.isfinite(a).all() for a in arrays(workdir, step).values())


def arrays(workdir: Path, step: int) -> dict[str, np.ndarray]:
    from seg_jax.run.checkpoint import Checkpoints

    return Checkpoints(workdir / "checkpoints").arrays(step, averaged=False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_exit(environment, tmp_path, number):
    workdir = tmp_path / "signalled"
    process = subprocess.Popen(
        [sys.executable, "-m", "seg_jax.main", *TINY, QUIET, f"--workdir={workdir}", "--config.train.steps=100000",
         "--config.eval.every_steps=100000"],
        cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    wait_for(workdir / "metrics.jsonl", lambda text: text.count("train/loss") >= 2, process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert f"{signal.Signals(number).name}: saved step {numbered(workdir)[-1]}" in output


def wait_for(path: Path, ready, process: subprocess.Popen, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not (path.is_file() and ready(path.read_text())):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, f"{path} was not ready within {seconds} s"
        time.sleep(0.02)


@pytest.mark.slow
def test_twenty_kills_change_no_bit(environment, run, tmp_path):
    """SIGKILL at random moments, start-up, steps and saves alike; then the parameters of an undisturbed run."""
    steps = 120
    # Most of a start is tracing and compiling, most of an evaluation its plots.
    few = ("--config.model.encoder.depth=1", "--config.eval.every_steps=60", "--config.eval.panels=1")
    often = (*few, "--config.checkpoint.every_steps=1", f"--config.train.steps={steps}")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    begin = time.monotonic()
    assert run("seg_jax.main", *TINY, *often, QUIET, f"--workdir={whole}").returncode == 0
    rng = random.Random(0)
    stages = []
    for attempt in range(20):
        process = subprocess.Popen(
            [sys.executable, "-m", "seg_jax.main", *TINY, *often, QUIET, f"--workdir={killed}"],
            cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        if attempt % 5 == 0:  # during start-up
            time.sleep(rng.uniform(0.2, 4))
        else:  # while steps and saves are under way
            before = numbered(killed)[-1] if (killed / "checkpoints").is_dir() and numbered(killed) else 0
            end = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < end:
                if (killed / "checkpoints").is_dir() and (numbered(killed) or [0])[-1] > before:
                    break
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.6))
        process.kill()
        process.wait()
        stages.append(numbered(killed)[-1] if (killed / "checkpoints").is_dir() and numbered(killed) else 0)
    assert stages == sorted(stages) and 0 < stages[-1] < steps, stages  # progress each time, not finished early
    result = run("seg_jax.main", *TINY, *often, QUIET, f"--workdir={killed}")
    assert result.returncode == 0, result.stderr
    assert manifest(killed, steps) == manifest(whole, steps)
    lines = {d: (d / "metrics.jsonl").read_text().splitlines() for d in (whole, killed)}

    def losses(rows: list[str]) -> list[tuple[int, float]]:
        return [(r["step"], r["train/loss"]) for r in map(json.loads, rows) if "train/loss" in r]

    assert losses(lines[killed]) == losses(lines[whole])  # no line twice, none missing
    assert (killed / "report.json").read_text() == (whole / "report.json").read_text()
    print(f"{time.monotonic() - begin:.0f} s, checkpoints after each kill: {stages}")
