"""Every command of the README and of docs/, executed on small data."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags
from PIL import Image

import seg_jax.compare.__main__ as compare_command
import seg_jax.curate.__main__ as data_command
import seg_jax.export.__main__ as export_command
import seg_jax.models.__main__ as models_command
import seg_jax.report.__main__ as report_command
from seg_jax.doctor import __main__ as doctor
from seg_jax.predict import __main__ as predict
from seg_jax.runtime import process
from seg_jax.train.loop import train_and_evaluate
from tests.models import parity
from tests.runs import REPOSITORY, free_port, trace, write_frame

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
PAGES.remove(REPOSITORY / "docs" / "extending.md")  # tests/test_extending.py runs it, with the code that it adds

# Overrides for every training command: it must be understood and run, not learn anything.
QUICK = {
    "model.encoder.width": 4,
    "model.encoder.depth": 2,
    "data.size": (32, 32),
    "data.synthetic.train_scenes": 8,
    "data.synthetic.val_scenes": 4,
    "train.batch_size": 8,
    "eval.batch_size": 8,
    "train.steps": 2,
    "optim.warmup_steps": 0,
    "log.tensorboard": False,
}

# Further overrides for commands that contain these words.
ALSO = {
    "camvid": {"augment.crop": (32, 32)},
    "camvid_cpu": {"model.decoder_channels": (4,), "model.encoder.weights": ""},
    "mine": {"augment.crop": (32, 32)},
    "my_config": {"augment.crop": (32, 32)},
    "encoder.weights": {"model.decoder_channels": (4,)},
    "deeplabv3plus": {"model.channels": 8, "model.aspp_rates": (1, 2)},
    "loss.teacher": {"model.encoder.depth": 3, "data.size": (48, 64)},  # as the teacher's
}

# Training commands with one of these words run; of the others, which differ in fields alone, the data are read and both
# steps are traced, in a fifth of the time.
TRAINED = ("encoder.weights", "mesh.space", "train.seeds", "loss.teacher", "zoo.py", "OUT.py")

# Commands that are not run here -> where they are tested. For `python -m benchmarks...` only the options are checked:
# they measure for minutes, against PyTorch; tests/test_benchmarks.py runs their parts.
ELSEWHERE = {
    "seg_jax.config": "tests/config/test_fields.py compares the page that it prints",
    "./launch.sh": "tests/test_launch.py; with a --config, what it starts is run here",
    "seg_jax.demo": "tests/test_demo.py",
    "tensorboard": "it serves until it is stopped; tests/run/test_log.py reads its files",
    "pip": "it installs",
    "source": "a command of the shell",
}


def commands():
    """(page, command) of every line of a code block, and every row of a table, that starts a program."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        shared = dict(re.findall(r'^(\w+)="(python .*)"$', text, flags=re.M))
        for line in text.splitlines():
            line = re.sub(r"\[[^\]]*\]", "", line)  # what may be left out
            for name, start in shared.items():
                line = line.replace(f"${name}", start)
            if line.startswith("|"):
                yield from ((page.name, row) for row in re.findall(r"`(python -m seg_jax\.[^`]*)`", line))
            found = re.match(r"(?:    |srun )?\s*((?:python -m|\./launch\.sh|tensorboard|pip|source) .*)", line)
            if found and (line.startswith("    ") or in_block(text, line)):
                yield page.name, re.sub(r"\s+", " ", found[1]).strip()


def in_block(text, line):
    """Whether a line is inside of a fenced block of shell commands."""
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.S)
    return any(re.sub(r"\s+", " ", line.split("--config")[0]).strip() in re.sub(r"\s+", " ", block) for block in blocks)


COMMANDS = sorted(set(commands()))


def test_there_are_commands():
    programs = {command.split()[2] for _, command in COMMANDS if command.startswith("python -m")}
    modules = ("main", "predict", "export", "report", "data")
    assert programs >= {f"seg_jax.{name}" for name in modules} and len(COMMANDS) > 30


@pytest.fixture(scope="module")
def place(tmp_path_factory, trained_run):
    """A directory with what the commands name: data sets, photographs, runs."""
    root = tmp_path_factory.mktemp("docs")
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        for i in range(count):
            for folder, shape, top in ((split, (32, 32, 3), 256), (f"{split}annot", (32, 32), 11)):
                (root / "CAMVID" / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, top, shape).astype(np.uint8)).save(
                    root / "CAMVID" / folder / f"{i}.png"
                )
    for name in ("RUN", "runs/synthetic_unet"):
        shutil.copytree(trained_run, root / name)
    for name in ("photo.jpg", "folder/one.png", "more/two.png"):
        (root / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(root / name)
    config = "from configs import camvid_unet\n\n\ndef get_config():\n    config = camvid_unet.get_config()\n"
    config += "    config.data.dir = 'CAMVID'\n    return config\n"
    for name in ("my_config.py", "mine.py"):
        (root / name).write_text(config)
    (root / "OUT").mkdir()
    shutil.copy(root / "my_config.py", root / "OUT" / "OUT.py")
    for i in range(12):
        (root / "examples" / str(i)).mkdir(parents=True)
        shutil.copy(root / "CAMVID" / "train" / f"{i % 8}.png", root / "examples" / str(i) / "rgb.png")
        shutil.copy(root / "CAMVID" / "trainannot" / f"{i % 8}.png", root / "examples" / str(i) / "label.png")
    parity.torch_file(root, "mobilenet_v2")  # mobilenet_v2.safetensors, as torchvision's
    (root / "configs").symlink_to(REPOSITORY / "configs")
    return root


def of_cityscapes(place):
    """A run directory of a network for Cityscapes, and frames for it."""
    for split, city, count in (("train", "bonn", 8), ("val", "ulm", 2)):
        for i in range(count):
            write_frame(place / "frames", split, f"{city}_{i:06}_000019", (48, 64 + 32 * (i % 2)), seed=i)
    config = configuration(["--config=configs/default.py"], QUICK)
    config.data.source, config.data.dir = "cityscapes", "frames"
    train_and_evaluate(config, place / "cityscapes")
    return place / "cityscapes"


def overrides(command, arguments):
    """What makes a training short: its length, and what the command leaves open."""
    fields = dict(QUICK)
    for word, values in ALSO.items():
        if word in command:
            fields |= values
    said = " ".join(arguments)
    return {name: v for name, v in fields.items() if name == "train.steps" or f"--config.{name}=" not in said}


def configuration(arguments, fields):
    """What main.py makes of its flags, with `fields` over it."""
    line, values = ["main", *arguments], flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=line)
    flags.DEFINE_string("workdir", "", "", flag_values=values)
    assert values(line) == ["main"]
    config = holder.value
    config.update_from_flattened_dict(fields)
    return config


def run_together(place, *lines, **environment):
    """What `python -m seg_jax.main` prints for each line of arguments, all at the same time."""
    programs = [
        subprocess.Popen(
            [sys.executable, "-m", "seg_jax.main", *line], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment,
        )
        for line in lines
    ]  # fmt: skip
    try:
        said = [program.communicate(timeout=200) for program in programs]
    finally:
        for program in programs:
            program.kill()
    assert [program.returncode for program in programs] == [0] * len(lines), "\n".join(map("".join, said))
    return [out for out, _ in said]


def distributed(place, command, arguments):
    """A command for several processes: by hand two of them on this machine, else a job of SLURM with one task."""
    port = str(free_port())
    fields = [f"--config.{name}={value}" for name, value in overrides(command, arguments).items()]
    arguments = [a.replace("first-host:1234", f"127.0.0.1:{port}") for a in arguments]
    for folder in re.findall(r"--workdir=(\S+)", " ".join(arguments)):  # of another command of the docs
        shutil.rmtree(place / folder, ignore_errors=True)
    lines = [[*arguments, *fields]]
    job = {"JOB_ID": "1", "STEP_NODELIST": "127.0.0.1", "STEP_NUM_NODES": "1", "NTASKS": "1"}
    if "--process_id=0" in arguments:
        assert "--num_processes=2" in arguments
        lines, job = [lines[0], [a.replace("--process_id=0", "--process_id=1") for a in lines[0]]], {}
    else:
        assert "--distributed" in arguments
        job |= {"PROCID": "0", "LOCALID": "0"}
    first, *others = run_together(
        place, *lines, JAX_COORDINATOR_PORT=port, **{f"SLURM_{name}": value for name, value in job.items()}
    )
    assert "finished step 2" in first and not any("finished" in other for other in others)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the load_module")  # how ml_collections reads a configuration
@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_command(place, undrawn, monkeypatch, caplog, page, command):
    monkeypatch.chdir(place)
    monkeypatch.setattr(process, "quiet", lambda: None)  # it would keep pytest from seeing logs
    monkeypatch.setattr(process, "use_compilation_cache", lambda: None)
    workdir = place / f"{page} {COMMANDS.index((page, command))}"
    # Names that stand for something of the reader's.
    command = command.replace("MODEL INPUT...", "RUN photo.jpg").replace("RUN RUN...", "RUN runs/synthetic_unet")
    command = re.sub(
        r"=DIR\b", "=CAMVID" if "seg_jax.main" in command and "submission" not in command else "=out", command
    )
    command = command.replace("inspect DIR --images", "inspect examples --images").replace("DIR --to=", "CAMVID --to=")
    command = re.sub(r"\b(inspect|browse) DIR", r"\1 CAMVID", command)
    command = command.replace("RUN RUN", "RUN runs/synthetic_unet")
    command = command.replace("--to=folder --out=OUT", f"--to=folder --out='{page} written'").replace(
        "=FILE", "=my_config.py"
    )
    command = command.replace("=WEIGHTS", "=mobilenet_v2.safetensors")
    command = command.replace("/shared/camvid", "CAMVID").replace("/shared/", "")
    words = shlex.split(command, comments=True)
    if words[0] == "./launch.sh" and "--config" in command:
        distributed(place, command, words[1:])
        return
    if words[0] in ELSEWHERE or words[2] in ELSEWHERE:
        return
    module, arguments = words[2], words[3:]
    if module.startswith("benchmarks"):
        done = subprocess.run(
            [sys.executable, "-m", module, "--help"], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        for argument in arguments:
            if argument.startswith("-"):
                assert argument.split("=")[0] in done.stdout, argument
    elif module == "seg_jax.main" and "--mode=eval" in arguments:
        if "submission" in command:
            arguments[arguments.index("--workdir=RUN")] = f"--workdir={of_cityscapes(place)}"
        (said,) = run_together(place, arguments)
        assert "mean IoU" in said
        if "submission" in command:
            assert len(list((place / "out").glob("ulm_*_pred_labelIds.png"))) == 2
    elif module == "seg_jax.main" and not any(word in command for word in TRAINED):
        config = configuration(arguments, overrides(command, arguments))
        train_step, _ = trace(config)
        assert train_step.in_avals[0][1]["image"].shape[0] == config.train.batch_size
    elif module == "seg_jax.main":
        with caplog.at_level("INFO"):
            state = train_and_evaluate(configuration(arguments, overrides(command, arguments)), workdir)
        assert int(state.step) == 2
        assert json.loads((workdir / "report.json").read_text())["protocol"]["step"] in (1, 2)  # the better one
        if "encoder.weights" in command:
            assert "arrays from mobilenet_v2.safetensors, named as in torchvision" in caplog.text
        if "mesh.space=2" in command:
            assert dict(state.step.sharding.mesh.shape)["space"] == 2
    else:
        if "inspect" in arguments:
            arguments += [] if "--out=" in command else [f"--out={arguments[1]}.py"]
            arguments = [a.replace("--out=", f"--out={page}.d/") for a in arguments]
        if module == "seg_jax.compare":
            arguments += [f"--config.{name}={value}" for name, value in overrides(command, arguments).items()]
            arguments.append("--plan")  # tests/compare/test_compare.py trains, too
        runs = {
            "seg_jax.compare": compare_command.main,
            "seg_jax.predict": predict.main,
            "seg_jax.export": export_command.main,
            "seg_jax.report": report_command.main,
            "seg_jax.data": data_command.main,
            "seg_jax.doctor": doctor.main,
            "seg_jax.models": models_command.main,
        }
        code = runs[module](arguments)
        assert code == 0 or ("lint" in arguments and code == 1 and (place / "findings.json").exists())
