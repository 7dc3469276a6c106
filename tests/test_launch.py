"""launch.sh in a copy of the repository, on a machine made of stand-ins for Python, uv and nvidia-smi.

The stand-ins write down how they are called, so no case needs a network, an accelerator or a minute.
"""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from absl import app, flags

from seg_jax import main
from seg_jax.runtime import extras
from seg_jax.runtime.process import KEEP

REPOSITORY = Path(__file__).resolve().parent.parent
PINS = sorted(path.name for path in REPOSITORY.glob("requirements*.txt"))
PINS += sorted(f"requirements/{path.name}" for path in REPOSITORY.glob("requirements/*.txt"))
FILES = ["launch.sh", *PINS, "pyproject.toml", ".ci/run", "tests/wheel.sh"]

# All that launch.sh may ask of a system besides Python; nothing else is on the PATH of the tests.
SYSTEM_TOOLS = ["bash", "cat", "cksum", "dirname", "grep", "ln", "ls", "mkdir", "readlink", "rm", "sed", "sleep"]

MAIN = """
import json, os, sys
print(json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd(), "tunables": os.environ.get("GLIBC_TUNABLES")}))
"""

# Copies itself into the environments that it makes, and knows from there where it came from; {answer} is what
# it does when asked for its version.
PYTHON = """
case "$1 $2" in
  "-ISc "*_base_executable*) echo "{base}" ;;
  "-ISc "*version_info*) {answer} ;;
  "-m ensurepip") rm "$(dirname "$0")/../no pip" ;;
  "-m pip") [ ! -e "$(dirname "$0")/../no pip" ] ;;
  "-m venv") for venv; do :; done; mkdir -p "$venv/bin"; cp "$0" "$venv/bin/python" ;;
  "-m pytest" | "-m mypy" | "-m seg_jax.demo") ;;
  "-m ruff") exit "${{RUFF_STATUS:-0}}" ;;
  *) exec {real} "$@" ;;
esac
"""

INSTALL = "pip install --compile-bytecode --python .venv/bin/python -r requirements.txt"
INSTALL_TEST = INSTALL.replace("requirements.txt", "requirements-test.txt")
INSTALL_OPTIONAL = INSTALL.replace("-r requirements.txt", "--no-deps -r requirements-test-optional.txt")
INSTALL_DEMO, INSTALL_LINT = (INSTALL.replace(".txt", f"-{verb}.txt") for verb in ("demo", "lint"))
INSTALL_ACCELERATOR = INSTALL.replace("requirements.txt", "requirements/{}.txt")
ACCELERATORS = ("cuda12", "cuda13", "tpu")
DEFAULTS = ["--workdir=runs/synthetic_unet", "--config=configs/synthetic_unet.py"]

pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="launch.sh needs bash")


class Machine:
    def __init__(self, directory: Path):
        self.root = directory / "a copy"  # the space finds missing quotes
        self.bin = directory / "bin"
        self.devices = directory
        self.log = directory / "log"
        self.venv = self.root / ".venv"
        self.bin.mkdir()
        self.log.touch()
        for tool in SYSTEM_TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))

        (self.root / "seg_jax").mkdir(parents=True)
        text = re.sub(r"\s+", "", (REPOSITORY / "seg_jax/main.py").read_text())
        defined = re.findall(r'DEFINE_\w+\("\w+"', text)
        (self.root / "seg_jax/main.py").write_text(MAIN + f"# {defined}")
        for name in ("config", "runtime"):  # which know the fields, with Python's own library alone
            (self.root / "seg_jax" / name).symlink_to(REPOSITORY / "seg_jax" / name)
        for name in ("x.py", "configs/x.py"):
            (self.root / name).parent.mkdir(exist_ok=True)
            (self.root / name).touch()
        (self.root / ".ci").mkdir()
        for name in FILES:
            (self.root / name).parent.mkdir(exist_ok=True)
            shutil.copy(REPOSITORY / name, self.root / name)
        # TPUs are looked for among the devices of the test, not of this machine.
        script = (self.root / "launch.sh").read_text()
        for path in ("/dev/accel0", "/dev/vfio/", "/sys/"):
            assert path in script
            script = script.replace(path, f"{self.devices}{path}")
        (self.root / "launch.sh").write_text(script)

        self.system("Linux")
        self.python("python3")
        self.fake("uv")

    def fake(self, name: str, body: str = "") -> None:
        """Puts a program `name` on the PATH that logs its call, then does `body` with all system tools."""
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{self.log}"\nPATH=/usr/bin:/bin\n{body}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def python(self, name: str, version: str | None = None) -> None:
        real = f"'{sys.executable}'"
        answer = f"echo {version}" if version else f'exec {real} "$@"'
        self.fake(name, PYTHON.format(answer=answer, base=self.bin / name, real=real))

    def nvidia(self, driver: str, status: int = 0) -> None:
        self.fake("nvidia-smi", f"printf '%s\\n' '{driver}'; exit {status}")

    def system(self, name: str) -> None:
        self.fake("uname", f'case $1 in -s) echo {name} ;; -n) echo "here" ;; esac')

    def start(self, *args: str, cwd: Path | None = None, script: str = "launch.sh", **environment: str):
        return subprocess.Popen(
            [self.root / script, *args],
            cwd=cwd or self.root,
            env={"PATH": str(self.bin), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *args: str, **options) -> subprocess.CompletedProcess[str]:
        process = self.start(*args, **options)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def launch(self, *args: str, **options) -> dict:
        """Runs to success; returns what seg_jax.main saw, and the messages."""
        done = self.run(*args, **options)
        assert done.returncode == 0, done.stderr
        return {**json.loads(done.stdout), "messages": done.stderr}

    def calls(self, name: str) -> list[str]:
        """The arguments of each call of `name` so far."""
        lines = self.log.read_text().splitlines()
        return [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


# --- first and later launches


def test_first_launch_installs_the_pins_and_starts_with_the_defaults(machine):
    seen = machine.launch()
    assert seen["argv"] == DEFAULTS
    assert machine.calls("uv") == [INSTALL]
    assert "-m venv --without-pip .venv" in machine.calls("python3")
    version = ".".join(map(str, sys.version_info[:3]))
    assert f"launch.sh: installing into .venv for Python {version} and cpu" in seen["messages"]


def test_without_uv_pip_installs(machine):
    (machine.bin / "uv").unlink()
    machine.launch()
    assert "-m venv .venv" in machine.calls("python3")
    assert "-m pip install --disable-pip-version-check -r requirements.txt" in machine.calls("python3")


def test_second_launch_installs_nothing_and_is_silent(machine):
    machine.launch()
    machine.python("python3", "3.13.99")  # the environment's Python counts, not today's first on the PATH
    seen = machine.launch()
    assert machine.calls("uv") == [INSTALL]
    assert seen["messages"] == ""


def change_pins(machine):
    with (machine.root / "requirements.txt").open("a") as file:
        file.write("another==1.0\n")
    return {}


def change_accelerator(machine):
    return {"SEG_JAX_ACCELERATOR": "tpu"}


def change_python(machine):
    machine.python("other", "3.12.99")
    return {"PYTHON": str(machine.bin / "other")}


def upgrade_python(machine):
    machine.python("python3", "3.12.99")
    shutil.copy(machine.bin / "python3", machine.venv / "bin/python")  # in truth a link, and its target changes
    return {}


def lose_python(machine):
    (machine.venv / "bin/python").unlink()
    return {}


@pytest.mark.parametrize("change", [change_pins, change_accelerator, change_python, upgrade_python, lose_python])
def test_a_change_makes_the_environment_anew(machine, change):
    machine.launch()
    leftover = machine.venv / "leftover"
    leftover.touch()
    environment = change(machine)
    machine.launch(**environment)
    calls = machine.calls("uv")
    assert calls[:2] == [INSTALL, INSTALL] and len(calls) == (3 if environment.get("SEG_JAX_ACCELERATOR") else 2)
    assert not leftover.exists()
    machine.launch(**environment)
    assert machine.calls("uv") == calls


def test_the_environment_itself_may_be_the_python_that_remakes_it(machine):
    machine.launch()
    change_pins(machine)
    machine.launch(PYTHON=".venv/bin/python")  # as when it is activated
    assert len(machine.calls("uv")) == 2


def test_a_killed_install_is_done_again(machine):
    machine.fake("uv", "kill -9 $PPID")
    assert machine.run().returncode == -9
    assert os.path.lexists(machine.root / ".venv.lock")  # nobody was left to remove it
    (machine.venv / "leftover").touch()

    machine.fake("uv")
    assert machine.launch()["argv"] == DEFAULTS
    assert machine.calls("uv") == [INSTALL, INSTALL]
    assert not (machine.venv / "leftover").exists()
    assert not os.path.lexists(machine.root / ".venv.lock")


def test_a_failed_install_is_reported_and_done_again(machine):
    machine.fake("uv", "echo no such package >&2; exit 2")
    done = machine.run()
    assert done.returncode == 1
    assert done.stdout == ""
    assert "no such package" in done.stderr
    assert "launch.sh: the installation failed" in done.stderr

    machine.fake("uv")
    assert machine.launch()["argv"] == DEFAULTS


def test_two_launches_at_once_install_once(machine):
    machine.fake("uv", "sleep 1")
    first, second = machine.start("--mode=train"), machine.start("--mode=eval")
    out = [process.communicate(timeout=60) for process in (first, second)]
    assert [json.loads(text)["argv"][-1] for text, _ in out] == ["--mode=train", "--mode=eval"]
    assert machine.calls("uv") == [INSTALL]
    assert sum("waiting for another launch" in messages for _, messages in out) == 1


def test_an_environment_of_someone_else_is_left_alone(machine):
    machine.venv.mkdir()
    (machine.venv / "precious").touch()
    done = machine.run()
    assert done.returncode == 1
    assert "launch.sh: .venv was not made by launch.sh and is left alone" in done.stderr
    assert (machine.venv / "precious").exists()
    assert machine.calls("uv") == []


def test_the_environment_may_be_elsewhere(machine, tmp_path):
    place = tmp_path / "else where/venv"
    machine.launch(SEG_JAX_VENV=f"{place}/")
    assert (place / "bin/python").exists()
    assert not machine.venv.exists()
    assert machine.calls("uv") == [INSTALL.replace(".venv", str(place))]


# --- flags


@pytest.mark.parametrize(
    "args, argv",
    [
        (["--config.seed=3", "a b", ""], [*DEFAULTS, "--config.seed=3", "a b", ""]),
        (["--config=configs/x.py"], ["--workdir=runs/x", "--config=configs/x.py"]),
        (["--config", "x.py:y/z"], ["--workdir=runs/x", "--config", "x.py:y/z"]),
        (["-config", "x.py"], ["--workdir=runs/x", "-config", "x.py"]),
        (["-config=x.py", "--config.seed=1"], ["--workdir=runs/x", "-config=x.py", "--config.seed=1"]),
        (["--workdir=here"], [DEFAULTS[1], "--workdir=here"]),
        (["--workdir", "here"], [DEFAULTS[1], "--workdir", "here"]),
        (["--workdir=here", "--config=x.py"], ["--workdir=here", "--config=x.py"]),
        (["--helpfull"], [*DEFAULTS, "--helpfull"]),
    ],
)
def test_flags(machine, args, argv):
    assert machine.launch(*args)["argv"] == argv


def test_no_flag_that_the_program_has_is_refused(machine):
    app.define_help_flags()
    modules = flags.FLAGS.flags_by_module_dict()
    own = (main.__name__, "seg_jax.config.flags")
    mine = [module for module in modules if module in own or re.match(r"absl\.(?!testing)", module)]
    names = [flag.name for module in mine for flag in modules[module]]
    assert {"config", "workdir", "fit_memory", "verbosity", "help"} <= set(names)
    arguments = [f"--{name}=1" for name in names if name not in ("config", "workdir")]
    arguments += ["--config.optim.momentum", "-0.5", "--process_id", "-1", "--nodistributed", "-v", "1", "--", "--?"]
    assert machine.launch(*arguments)["argv"] == [*DEFAULTS, *arguments]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--hlep"], "unknown flag --hlep. Did you mean --help? ./launch.sh --help lists them"),
        (["--config=x.py", "-wrokdir=y"], "unknown flag -wrokdir=y. Did you mean --workdir?"),
        (["--zzz.y=3"], "unknown flag --zzz.y=3. ./launch.sh --help"),
        (["--epochs=3"], "unknown flag --epochs=3. Did you mean --config.train.epochs=3?"),
        (["--config.epochs=3"], 'config has no field "epochs". Did you mean --config.train.epochs=3?'),
        (["--config.optim.lrr=3"], 'config.optim has no field "lrr". Did you mean "lr"? Nothing was installed'),
        (["--config=camvid_unett"], "--config=camvid_unett: there is no file 'camvid_unett', and no recipe of that"),
        (["--config", "configs/nowhere.py"], "--config=configs/nowhere.py: there is no file"),
        (["demo", "--hlep"], "demo --hlep: it takes run directories and exported files alone"),
        (["demo", "nowhere"], "demo nowhere: there is no such run directory, file or network of the package"),
        (["lint", "--fix"], "lint --fix: it takes no arguments"),
        (["tset"], "unknown command 'tset', not one of: test, lint, demo, add, help"),
    ],
)
def test_a_typo_is_refused_before_anything_is_installed(machine, arguments, message):
    done = machine.run(*arguments)
    assert done.returncode == 1
    assert f"launch.sh: {message}" in done.stderr
    assert machine.calls("uv") == []
    assert not machine.venv.exists()


def test_called_from_another_directory(machine, tmp_path):
    seen = machine.launch(cwd=tmp_path)
    assert Path(seen["cwd"]) == machine.root.resolve()
    assert machine.venv.exists()


def test_cdpath_does_not_lead_astray(machine, tmp_path):
    astray = tmp_path / "astray"
    (astray / machine.root.name).mkdir(parents=True)
    done = subprocess.run(
        ["bash", f"{machine.root.name}/launch.sh"],
        cwd=tmp_path,
        env={"PATH": str(machine.bin), "CDPATH": str(astray)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert Path(json.loads(done.stdout)["cwd"]) == machine.root.resolve()


# --- accelerators


@pytest.mark.parametrize(
    "driver, accelerator",
    [
        ("580.65.06", "cuda13"),
        ("1000.1", "cuda13"),
        ("580.65.06\n580.65.06", "cuda13"),  # two GPUs
        ("579.99", "cuda12"),
        ("550.54.14", "cuda12"),
        ("525.60.13", "cuda12"),
    ],
)
def test_nvidia_driver_chooses_cuda(machine, driver, accelerator):
    machine.nvidia(driver)
    seen = machine.launch()
    assert machine.calls("uv") == [INSTALL, INSTALL_ACCELERATOR.format(accelerator)]
    assert machine.calls("nvidia-smi") == ["--query-gpu=driver_version --format=csv,noheader"]
    assert seen["tunables"] is None


@pytest.mark.parametrize("driver, named", [("470.223.02", "470.223.02"), ("No devices", "unknown")])
def test_unusable_nvidia_driver_warns_and_uses_the_cpu(machine, driver, named):
    machine.nvidia(driver)
    assert f"launch.sh: using the CPU: the NVIDIA driver is {named}," in machine.launch()["messages"]
    assert machine.calls("uv") == [INSTALL]


def test_failing_nvidia_smi_means_no_gpu(machine):
    machine.nvidia("NVIDIA-SMI has failed", status=9)
    assert "NVIDIA" not in machine.launch()["messages"]
    assert machine.calls("uv") == [INSTALL]


@pytest.mark.parametrize(
    "system, files, environment, found",
    [
        ("Linux", {"dev/accel0": ""}, {"TPU_NAME": "a"}, True),
        ("Linux", {"dev/vfio/0": ""}, {"TPU_WORKER_ID": "0"}, True),
        ("Linux", {"dev/accel0": "", "sys/class/dmi/id/product_name": "Google Compute Engine\n"}, {}, True),
        ("Linux", {"dev/accel0": "", "sys/bus/pci/devices/7/vendor": "0x1ae0\n"}, {}, True),
        ("Linux", {"dev/accel0": "", "sys/bus/pci/devices/7/vendor": "0x8086\n"}, {}, False),
        ("Linux", {"dev/accel0": ""}, {}, False),
        ("Linux", {}, {"TPU_NAME": "a"}, False),
        ("Darwin", {"dev/accel0": ""}, {"TPU_NAME": "a"}, False),
    ],
)
def test_tpu(machine, system, files, environment, found):
    machine.system(system)
    for name, text in files.items():
        path = machine.devices / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    machine.launch(**environment)
    assert machine.calls("uv") == [INSTALL, INSTALL_ACCELERATOR.format("tpu")] if found else [INSTALL]


@pytest.mark.parametrize("name", ["cuda12", "cuda13", "tpu", "cpu"])
def test_accelerator_override(machine, name):
    machine.nvidia("580.65.06")
    machine.launch(SEG_JAX_ACCELERATOR=name)
    accelerator = [] if name == "cpu" else [INSTALL_ACCELERATOR.format(name)]
    assert machine.calls("uv") == [INSTALL, *accelerator]


def test_unknown_accelerator(machine):
    done = machine.run(SEG_JAX_ACCELERATOR="gpu")
    assert done.returncode == 1
    assert "SEG_JAX_ACCELERATOR = 'gpu' is not one of: cpu, cuda12, cuda13, tpu" in done.stderr
    assert machine.calls("uv") == []


@pytest.mark.parametrize(
    "system, given, tunables",
    [
        ("Linux", {}, KEEP),
        ("Linux", {"GLIBC_TUNABLES": "glibc.malloc.check=0"}, f"glibc.malloc.check=0:{KEEP}"),
        ("Linux", {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, "glibc.malloc.hugetlb=0"),
        ("Linux", {"SEG_JAX_ACCELERATOR": "tpu"}, None),
        ("Darwin", {}, None),
    ],
)
def test_malloc(machine, system, given, tunables):
    machine.system(system)
    assert machine.launch(**given)["tunables"] == tunables


# --- Python


@pytest.mark.parametrize("version", ["3.11.0", "3.12.1", "3.13.99"])
def test_fitting_pythons(machine, version):
    machine.python("python3", "3.10.13")
    machine.python("python3.12", version)
    assert f"Python {version} " in machine.launch()["messages"]


@pytest.mark.parametrize("version", ["3.10.13", "3.14.0", "3.1.1", "4.11.0"])
def test_unfit_python_is_named_with_the_rule_and_the_cure(machine, version):
    machine.python("python3", version)
    done = machine.run()
    assert done.returncode == 1
    assert f"launch.sh: no Python that fits (python3 is {version});" in done.stderr
    assert "needs 3.11, 3.12 or 3.13" in done.stderr
    assert "PYTHON=/path/to/python3.12 ./launch.sh" in done.stderr
    assert machine.calls("uv") == []
    assert not machine.venv.exists()


def test_no_python_at_all(machine):
    (machine.bin / "python3").unlink()
    done = machine.run()
    assert done.returncode == 1
    assert "none runs of: python3 python3.13 python3.12 python3.11" in done.stderr


def test_a_python_that_was_asked_for_is_not_replaced_by_another(machine):
    done = machine.run(PYTHON="/no/such/python")
    assert done.returncode == 1
    assert "none runs of: /no/such/python" in done.stderr


# --- test, lint, help


def test_test_adds_its_tools_and_runs_pytest(machine):
    machine.launch()
    (machine.venv / "kept").touch()
    done = machine.run("test", "-k", "a  or  b")
    assert done.returncode == 0, done.stderr
    assert machine.calls("uv") == [INSTALL, INSTALL_TEST, INSTALL_OPTIONAL]
    assert machine.calls("python3")[-1] == f"{PYTEST} -k a  or  b"  # both spaces: still one argument
    assert (machine.venv / "kept").exists()

    machine.run("test")
    machine.launch()
    assert machine.calls("uv") == [INSTALL, INSTALL_TEST, INSTALL_OPTIONAL]


def test_test_on_a_fresh_machine_installs_once(machine):
    assert machine.run("test").returncode == 0
    assert machine.calls("uv") == [INSTALL_TEST, INSTALL_OPTIONAL]


def test_what_few_tests_need_breaks_nothing(machine):
    machine.fake("uv", 'case $* in *--no-deps*) echo "no wheel for this system" >&2; exit 1 ;; esac')
    done = machine.run("test")
    assert done.returncode == 0
    assert "no wheel for this system" in done.stderr
    assert (
        "requirements-test-optional.txt could not be installed, see above; the tests that need it skip" in done.stderr
    )
    assert machine.run("test").stderr == ""  # and it is not tried again each time


@pytest.mark.parametrize("verb, install", [("demo", INSTALL_DEMO), ("lint", INSTALL_LINT)])
def test_each_verb_installs_its_own_pins(verb, install, machine):
    machine.run(verb)
    machine.run(verb)
    machine.launch()
    assert machine.calls("uv") == [install]
    machine.run("test")
    machine.run(verb)
    assert machine.calls("uv") == [install, INSTALL_TEST, INSTALL_OPTIONAL]


def test_verbs_together(machine):
    for _ in range(2):
        machine.launch()
        machine.run("demo")
        machine.run("lint")
    assert machine.calls("uv") == [INSTALL, INSTALL_DEMO, INSTALL_LINT]
    with (machine.root / "requirements-demo.txt").open("a") as file:
        file.write("another==1.0\n")
    machine.run("lint")
    machine.run("demo")
    machine.run("demo")
    assert machine.calls("uv") == [INSTALL, INSTALL_DEMO, INSTALL_LINT, INSTALL_DEMO]


def test_after_uv_is_gone_pip_is_put_into_its_environment(machine):
    machine.launch()
    (machine.bin / "uv").unlink()
    (machine.venv / "no pip").touch()
    assert machine.run("lint").returncode == 0
    calls = machine.calls("python3")
    assert calls[calls.index("-m ensurepip") + 1].startswith("-m pip install")


# --- add


def test_add_takes_the_versions_of_the_pins(machine):
    machine.launch()
    done = machine.run("add", "onnx", "tfds")
    assert done.returncode == 0, done.stderr
    assert machine.calls("uv")[1] == INSTALL.replace(
        "requirements.txt", "requirements/onnx.txt -r requirements/tfds.txt"
    )
    machine.launch()
    assert len(machine.calls("uv")) == 2


def test_add_on_a_fresh_machine(machine):
    assert machine.run("add", "video").returncode == 0
    assert machine.calls("uv") == [INSTALL, INSTALL.replace("requirements.txt", "requirements/video.txt")]


def extras_of(machine):
    """The extras that each call of `add`, or one like it, has installed."""
    named = [re.findall(r"requirements/(\w+)\.txt", call) for call in machine.calls("uv")]
    return [extras for names in named if (extras := [name for name in names if name not in ACCELERATORS])]


@pytest.mark.parametrize("change", [change_pins, change_accelerator, change_python, lose_python])
def test_extras_outlive_the_environment(machine, change):
    machine.launch()
    machine.run("add", "video")
    machine.run("add", "onnx", "video")
    environment = change(machine)
    machine.launch(**environment)
    assert extras_of(machine) == [["video"], ["onnx", "video"], ["video"], ["onnx"]]
    machine.launch(**environment)
    machine.run("lint", **environment)
    assert len(extras_of(machine)) == 4


def test_extras_outlive_an_interrupted_installation(machine):
    machine.launch()
    machine.run("add", "onnx")
    change_pins(machine)
    machine.fake("uv", "kill -9 $PPID")
    assert machine.run().returncode == -9
    machine.fake("uv")
    machine.launch()
    assert extras_of(machine) == [["onnx"]] * 2


def test_an_extra_that_fails_breaks_nothing(machine):
    machine.launch()
    machine.run("add", "video")
    change_pins(machine)
    machine.fake("uv", 'case $* in *requirements/*) echo "no wheel for this Python" >&2; exit 1 ;; esac')
    seen = machine.launch()
    assert "no wheel for this Python" in seen["messages"]
    assert "launch.sh: the packages of video could not be installed again" in seen["messages"]
    assert machine.launch()["messages"] == ""


@pytest.mark.parametrize("arguments", [[], ["onxn"], ["onnx", "nothing"], ["cuda12"]])
def test_add_names_what_there_is_before_it_installs(arguments, machine):
    done = machine.run("add", *arguments)
    assert done.returncode == 1
    assert "not one of deep, demo, geo, hub, huggingface, onnx, pretrained, search, tfds, tflite, video" in done.stderr
    assert machine.calls("uv") == []


@pytest.mark.parametrize("name", extras.EXTRAS)
def test_the_hint_of_an_extra_installs_what_it_needs(machine, monkeypatch, name):
    machine.launch()
    monkeypatch.setattr(sys, "prefix", str(machine.venv))
    program, *arguments = extras.install_command(name).split()
    assert program == "./launch.sh" and machine.run(*arguments).returncode == 0
    assert machine.calls("uv")[-1] == INSTALL.replace("requirements.txt", f"requirements/{name}.txt")


def test_there_are_no_other_hints_than_that_of_extras():
    """Hints in code are those of `install_command`; those in pages and tests name extras that there are."""
    sources = [path for path in (REPOSITORY / "seg_jax").rglob("*.py") if path.name != "extras.py"]
    written = re.compile(r"pip install|launch\.sh add|seg_jax\[\w")
    assert [str(path) for path in sources if written.search(path.read_text(encoding="utf-8"))] == []
    kinds = (".md", ".py", ".ipynb")
    files = [path for folder in ("docs", "tests", "notebooks") for path in (REPOSITORY / folder).rglob("*")]
    pages = [path for path in files if path.suffix in kinds]
    named = {
        name
        for path in [*pages, REPOSITORY / "README.md"]
        for names in re.findall(r"launch\.sh add ((?:[a-z]+ ?)+)`?", path.read_text(encoding="utf-8"))
        for name in names.split()
    }
    assert {"onnx", "tfds", "tflite", "video"} <= named <= set(extras.EXTRAS)


def test_help_names_every_extra(machine):
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.search(r"of these: ([\w, \n]+?)\n  +./launch", machine.run("--help").stdout)[1]
    assert set(re.findall(r"\w+", named)) == extras.keys() - {*ACCELERATORS}


def test_changed_test_pins_concern_only_test(machine):
    machine.run("test")
    with (machine.root / "requirements-test.txt").open("a") as file:
        file.write("another==1.0\n")
    machine.launch()
    assert machine.calls("uv") == [INSTALL_TEST, INSTALL_OPTIONAL]
    machine.run("test")
    assert machine.calls("uv") == [INSTALL_TEST, INSTALL_OPTIONAL] * 2


PYTEST = "-m pytest -n auto --maxprocesses 4 --dist worksteal -m not slow"
CI_TESTS = f"{PYTEST} -m slow or not slow"
LINT = ["-m ruff format --check .", "-m ruff check .", "-m mypy"]


def test_demo_hands_its_models_on(machine):
    (machine.root / "runs/a b").mkdir(parents=True)
    (machine.root / "model.onnx").touch()
    assert machine.run("demo", "runs/a b", "model.onnx").returncode == 0
    assert machine.calls("uv") == [INSTALL_DEMO]
    assert machine.calls("python3")[-1] == "-m seg_jax.demo runs/a b model.onnx"


@pytest.mark.parametrize("status", [0, 1])
def test_lint_runs_every_check_and_fails_when_one_does(machine, status):
    assert machine.run("lint", RUFF_STATUS=str(status)).returncode == status
    assert machine.calls("python3")[-3:] == LINT


@pytest.mark.parametrize("status", [0, 3])
def test_continuous_integration_lints_tests_and_builds_with_pip(machine, tmp_path, status):
    wheel = f'#!/bin/sh\necho "wheel $PWD" >>"$LOG"\necho "what the wheel says"\nexit {status}'
    (machine.root / "tests/wheel.sh").write_text(wheel)
    (tmp_path / "of uv").mkdir()
    (machine.bin / "uv").rename(tmp_path / "of uv/uv")
    search = f"{tmp_path / 'of uv'}:{machine.bin}"
    done = machine.run(script=".ci/run", cwd=tmp_path, PATH=search, LOG=str(machine.log))
    assert done.returncode == status and "what the wheel says" in done.stdout, done.stderr
    assert [call for call in machine.calls("python3") if call in [*LINT, CI_TESTS]] == [*LINT, CI_TESTS]
    assert machine.calls("wheel") == [str(machine.root.resolve())]
    assert machine.calls("uv") == []


def test_continuous_integration_fails_with_the_tests_and_leaves_no_wheel_behind(machine):
    (machine.root / "tests/wheel.sh").write_text(f"#!/bin/sh\necho $$ >pid\nexec {shutil.which('sleep')} 60")
    (machine.root / "launch.sh").write_text(
        '#!/bin/sh\n[ "$1" = lint ] || while [ ! -s pid ]; do :; done; [ "$1" = lint ]'
    )
    assert machine.run(script=".ci/run").returncode == 1
    wheel, end = int((machine.root / "pid").read_text()), time.monotonic() + 10
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < end:
            os.kill(wheel, 0)
            time.sleep(0.05)


@pytest.mark.parametrize("flag", ["-h", "--help", "help"])
def test_help_installs_nothing_and_names_every_variable(machine, flag):
    done = machine.run(flag)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: ./launch.sh")
    assert max(map(len, done.stdout.splitlines())) <= 100
    script = (REPOSITORY / "launch.sh").read_text()
    read = set(re.findall(r"\$\{([A-Z_]+):", script)) - {"TPU_NAME", "TPU_WORKER_ID"}
    assert {"PYTHON", "SEG_JAX_VENV"} < read
    assert [name for name in read if f"  {name}" not in done.stdout] == []
    assert machine.log.read_text() == ""


# --- the real thing


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("SEG_JAX_TEST_INSTALL") != "1",
    reason="downloads gigabytes into a new environment; SEG_JAX_TEST_INSTALL=1 runs it",
)
def test_real_installation(tmp_path):
    root = tmp_path / "copy"
    (root / "seg_jax").mkdir(parents=True)
    for name in ("launch.sh", "requirements.txt"):
        shutil.copy(REPOSITORY / name, root / name)
    (root / "seg_jax/main.py").write_text("import jax; print(f'jax=={jax.__version__}')")
    for name in ("config", "runtime"):
        (root / "seg_jax" / name).symlink_to(REPOSITORY / "seg_jax" / name)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SEG_JAX_")}
    try:
        for _ in range(2):
            done = subprocess.run(
                [root / "launch.sh"],
                env={**environment, "SEG_JAX_ACCELERATOR": "cpu", "PYTHON": sys.executable},
                capture_output=True,
                text=True,
                timeout=550,
            )
            assert done.returncode == 0, done.stderr
            assert re.search(rf"^{done.stdout.strip()}( ;| \\$)", (REPOSITORY / "requirements.txt").read_text(), re.M)
        assert done.stderr == ""  # the second launch had nothing to do
    finally:
        shutil.rmtree(root)  # pytest keeps temporary directories, and this one has gigabytes
