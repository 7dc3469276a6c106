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

import seg_jax.data.__main__ as data_command
import seg_jax.export.__main__ as export_command
import seg_jax.report.__main__ as report_command
from seg_jax import predict, process, program
from seg_jax.train import train_and_evaluate
from tests.conftest import REPOSITORY

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]

# Over whatever a training command says: it shall be understood and run, not learn anything.
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

# Commands that are only read: they need weights or devices that are not here, or are tested elsewhere as they stand.
READ_ONLY = ("--distributed", "--coordinator", "WEIGHTS", ".safetensors", "zoo.py", "mesh.space", "mesh.model")
ELSEWHERE = ("./launch.sh", "streamlit", "tensorboard", "pip", "source")  # test_launch, test_demo, test_main


def commands():
    """(page, command) of every line of a code block that starts a program."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        shared = dict(re.findall(r'^(\w+)="(python .*)"$', text, flags=re.M))
        for line in text.splitlines():
            line = re.sub(r"\[[^\]]*\]", "", line)  # what may be left out
            for name, start in shared.items():
                line = line.replace(f"${name}", start)
            found = re.match(
                r"(?:    |srun )?\s*((?:python -m|\./launch\.sh|streamlit|tensorboard|pip|source) .*)", line
            )
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
    (root / "configs").symlink_to(REPOSITORY / "configs")
    return root


def configuration(arguments, quick):
    """What main.py makes of its flags, with the fields of `quick` that the command leaves open."""
    line, values = ["main", *arguments], flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=line)
    for name in ("workdir", "mode", "coordinator", "num_processes", "process_id"):
        flags.DEFINE_string(name, "", "", flag_values=values)
    flags.DEFINE_bool("distributed", False, "", flag_values=values)
    assert values(line) == ["main"]
    config = holder.value
    said = " ".join(arguments)
    config.update_from_flattened_dict({name: v for name, v in quick.items() if f"--config.{name}=" not in said})
    return config


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the load_module")  # how ml_collections reads a configuration
@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_command(place, monkeypatch, page, command):
    monkeypatch.chdir(place)
    monkeypatch.setattr(process, "quiet", lambda: None)  # it would keep pytest from seeing logs
    monkeypatch.setattr(process, "use_compilation_cache", lambda: None)
    given = command
    # Names that stand for something of the reader's.
    command = command.replace("MODEL INPUT...", "RUN photo.jpg").replace("RUN RUN...", "RUN runs/synthetic_unet")
    command = re.sub(
        r"=DIR\b", "=CAMVID" if "seg_jax.main" in command and "submission" not in command else "=out", command
    )
    command = command.replace("inspect DIR", "inspect CAMVID").replace("RUN RUN", "RUN runs/synthetic_unet")
    words = shlex.split(command, comments=True)
    if words[0] in ELSEWHERE:
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
        overrides = [a for a in arguments if a.startswith("--config.")]
        if any("submission" in a for a in overrides):
            pytest.skip("tests/test_evaluate.py runs it on frames like those of Cityscapes")
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments], cwd=place, capture_output=True, text=True, timeout=200,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY), "XLA_FLAGS": ""},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "mean IoU" in done.stdout
    elif module == "seg_jax.main":
        if any(word in command for word in READ_ONLY):
            config = configuration(arguments, {})
            program.check(config, devices=1)
            return
        if page == "training.md" and "camvid" in command:
            quick = QUICK | {"data.dir": "CAMVID", "augment.crop": (32, 32)}
        elif "camvid" in command or "mine" in command or "my_config" in command:
            quick = QUICK | {"augment.crop": (32, 32)}
        else:
            quick = QUICK
        config = configuration(arguments, quick)
        workdir = place / f"{page} {COMMANDS.index((page, given))}"
        if config.loss.teacher:
            config.model.encoder.depth = 3
            config.data.size = (48, 64)
        state = train_and_evaluate(config, workdir)
        assert int(state.step) == 2
        assert json.loads((workdir / "report.json").read_text())["protocol"]["step"] == 2
    else:
        if "inspect" in arguments:
            arguments = [a.replace("--out=", f"--out={page}.d/") for a in arguments]
        runs = {
            "seg_jax.predict": predict.main,
            "seg_jax.export": export_command.main,
            "seg_jax.report": report_command.main,
            "seg_jax.data": data_command.main,
        }
        code = runs[module](arguments)
        assert code == 0 or ("lint" in arguments and code == 1 and (place / "findings.json").exists())
