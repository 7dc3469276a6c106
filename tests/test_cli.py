"""The command `seg-jax`: every verb reaches its program with its arguments, quickly, and as an installed script."""

import importlib.metadata
import importlib.util
import os
import runpy
import subprocess
import sys
import tomllib

import pytest

import seg_jax
from seg_jax import cli
from seg_jax.runtime import extras
from tests.conftest import REPOSITORY


def start(*command, **variables):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)} | variables
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def started(monkeypatch):
    """What would have been run: (module, as which name, sys.argv)."""
    calls = []
    monkeypatch.setattr(
        runpy, "run_module", lambda module, run_name, alter_sys: calls.append((module, run_name, list(sys.argv)))
    )
    return calls


@pytest.mark.parametrize(
    ("verb", "module", "arguments"),
    [
        ("train", "seg_jax.main", []),
        ("eval", "seg_jax.main", ["--mode=eval"]),
        ("predict", "seg_jax.predict", []),
        ("export", "seg_jax.export", []),
        ("data", "seg_jax.data", []),
        ("compare", "seg_jax.compare", []),
        ("report", "seg_jax.report", []),
        ("demo", "seg_jax.demo", []),
        ("models", "seg_jax.models", []),
        ("doctor", "seg_jax.doctor", []),
    ],
)
def test_a_verb_hands_its_arguments_on(started, verb, module, arguments):
    before = list(sys.argv)
    assert cli.main([verb, "a b", "--flag=1"]) == 0
    assert started == [(module, "__main__", [f"seg-jax {verb}", *arguments, "a b", "--flag=1"])]
    assert sys.argv == before
    program = module if module == "seg_jax.main" else f"{module}.__main__"
    assert importlib.util.find_spec(program) is not None


def test_every_verb_was_tried_and_is_in_the_help(capsys):
    assert list(cli.VERBS) == [
        *("train", "eval", "predict", "export", "data", "compare", "report", "demo", "models", "doctor")
    ]
    for arguments in (["--help"], ["-h"], ["help"], []):
        assert cli.main(arguments) == 0
        said = capsys.readouterr().out
        assert all(f"\n  {name:<8}  {verb.summary}\n" in said for name, verb in cli.VERBS.items())


def test_the_process_arguments_are_the_default(started, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["seg-jax", "report", "RUN"])
    cli.main()
    assert started == [("seg_jax.report", "__main__", ["seg-jax report", "RUN"])]
    monkeypatch.setattr(sys, "argv", ["seg-jax"])
    assert cli.main() == 0


def test_a_misspelled_verb_is_one_line(capsys):
    assert cli.main(["trian", "--config=x.py"]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith("error: 'trian' is not one of: train, eval, ") and "Did you mean 'train'?" in said.err


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"seg_jax {seg_jax.__version__}\n"


def test_a_verb_runs_its_program(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "seg_jax.report.__main__", raising=False)  # as in a process of its own
    with pytest.raises(SystemExit) as end:
        cli.main(["report", "--help"])
    assert end.value.code == 0 and "RUN [RUN ...]" in capsys.readouterr().out


def test_help_and_the_package_load_nothing():
    """CPU time, which other programs on the machine do not change: 0.05 s here; NumPy alone would be 0.1 s."""
    code = (
        "import resource, sys; before = resource.getrusage(resource.RUSAGE_SELF).ru_utime;"
        "import seg_jax; from seg_jax import cli; cli.main(['--help']);"
        "spent = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before;"
        "print(spent, sorted({'jax', 'numpy', 'flax', 'absl', 'ml_collections'} & set(sys.modules)))"
    )
    done = start(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    spent, _, loaded = done.stdout.splitlines()[-1].partition(" ")
    assert loaded == "[]" and float(spent) < 0.1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the program starts itself anew on Linux alone")
def test_the_script_starts_itself_anew(tmp_path):
    """As pip writes it: the settings of malloc are those of the second start, whose arguments are the same."""
    script = tmp_path / "seg-jax"
    script.write_text(
        "import os, sys\nfrom seg_jax.cli import main\n"
        "print('hugetlb' in os.environ['GLIBC_TUNABLES'], sys.argv[1:], flush=True)\nsys.exit(main())\n"
    )
    arguments = ["train", "--workdir=a b", "--config=no file.py"]
    done = start(sys.executable, str(script), *arguments, GLIBC_TUNABLES="")
    assert done.stdout.splitlines() == [f"False {arguments}", f"True {arguments}"]
    assert done.returncode == 1 and "no file.py" in done.stderr
    done = start(sys.executable, "-m", "seg_jax", "train", "--help", GLIBC_TUNABLES="")
    assert "--workdir" in done.stdout and "--checkpoint" in done.stdout


def test_configurations_find_their_neighbours(tmp_path, monkeypatch, started):
    """`python -m` has the working directory among its paths, a console script has not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    cli.main(["train"])
    cli.main(["train"])
    assert sys.path[0] != str(tmp_path) and sys.path.count(str(tmp_path)) == 1


# ----- optional packages


def test_extras_are_those_of_the_package():
    package = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert package["scripts"] == {"seg-jax": "seg_jax.cli:main"}
    theirs = package["optional-dependencies"]
    assert {name: list(extra.requires) for name, extra in extras.EXTRAS.items()} == {
        name: theirs[name] for name in theirs.keys() - {"cuda12", "cuda13", "tpu", "test"}
    }


def test_how_to_add_an_extra(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/my env/bin/python")
    there = {"pip": object()}
    monkeypatch.setattr(importlib.util, "find_spec", there.get)
    assert extras.install_command("demo") == "'/my env/bin/python' -m pip install 'streamlit>=1.50'"
    assert not extras.is_installed("demo")
    del there["pip"]
    assert extras.install_command("demo") == "uv pip install --python '/my env/bin/python' 'streamlit>=1.50'"
    (tmp_path / "seg_jax.stamp").touch()
    assert extras.install_command("onnx") == "./launch.sh add onnx"
    there["onnxruntime"] = object()
    assert extras.is_installed("onnx")


DECLARED = """
[project]
dependencies = [
    "clu>=0.0.12", "jax>=0.10.2", "ml_collections>=1.1", "tqdm",
    "tensorflow-cpu>=2.20; sys_platform == 'linux'", "tensorflow>=2.20; sys_platform != 'linux'",
]
"""
HOSTED = {"jax": "99", "tqdm": "4"}


@pytest.mark.parametrize(
    ("there", "tensorflow", "wanted"),
    [
        (HOSTED, True, ["clu>=0.0.12", "ml_collections>=1.1"]),
        (HOSTED | {"clu": "0.0.12", "ml_collections": "1.1.0rc1"}, True, ["ml_collections>=1.1"]),
        (HOSTED | {"clu": "1", "ml_collections": "2"}, True, []),
        # An accelerator stays with its jax, also where only another package is missing.
        (
            HOSTED | {"clu": "1", "jax-cuda12-plugin": "0.7"},
            True,
            ["jax[cuda12]>=0.10.2", "ml_collections>=1.1"],
        ),
        (HOSTED | {"clu": "1", "ml_collections": "2", "jax": "0.7", "libtpu": "1"}, True, ["jax[tpu]>=0.10.2"]),
        (HOSTED | {"clu": "1", "ml_collections": "2", "jax": "0.7"}, True, ["jax>=0.10.2"]),
        (HOSTED | {"clu": "1", "ml_collections": "2"}, False, ["tensorflow"]),
    ],
)
def test_what_a_hosted_notebook_lacks(monkeypatch, tmp_path, there, tensorflow, wanted):
    (tmp_path / "pyproject.toml").write_text(DECLARED)

    def version(name):
        if name not in there:
            raise importlib.metadata.PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if tensorflow else None)
    found = extras.lacking(tmp_path / "pyproject.toml")
    if wanted == ["tensorflow"]:  # tensorflow-cpu where there is one
        assert len(found) == 1 and found[0].startswith("tensorflow")
    else:
        assert found == wanted


def test_here_nothing_is_lacking():
    assert extras.lacking(REPOSITORY / "pyproject.toml") == []
