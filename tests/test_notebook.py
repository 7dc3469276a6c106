"""The notebook, executed from its first cell to its last, and the places where it finds the repository."""

import re
import subprocess
import sys

import pytest

from tests.runs import REPOSITORY

NOTEBOOK = REPOSITORY / "notebooks" / "quickstart.ipynb"


@pytest.fixture(scope="module")
def notebook():
    nbformat = pytest.importorskip("nbformat")
    return nbformat.read(NOTEBOOK, as_version=4)


def cells(notebook, kind):
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def pictures(notebook):
    outputs = [output for cell in cells(notebook, "code") for output in cell.outputs]
    return [o for o in outputs if any(kind.startswith("image/") for kind in o.get("data", {}))]


def printed(notebook):
    return "".join(o.text for cell in cells(notebook, "code") for o in cell.outputs if o.output_type == "stream")


def test_its_outputs_are_stored_and_whole(notebook):
    assert len(pictures(notebook)) == 4
    text = printed(notebook)
    assert "mean IoU" in text and "of the pixels get the same class" in text
    assert re.search(r"this notebook took \d+\.\d minutes on 2 CPU cores\n", text)
    assert str(REPOSITORY) not in text and not re.search(r"(^|[\s=])/(?!kaggle)\w", text)  # nobody's own paths
    assert all("\\n" not in cell.source for cell in cells(notebook, "markdown"))


@pytest.mark.slow
def test_the_quick_start_runs(notebook, tmp_path, monkeypatch):
    """With every extra, in Jupyter; tests/wheel.sh runs the cells in the environment of ./launch.sh, without either."""
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("QUICKSTART_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = notebook.copy()
    for cell in cells(notebook, "code"):
        cell.source = cell.source.replace("200", "80").replace("100", "40")  # scenes and steps; 60 are the warm-up
        cell.outputs = []
    client = nbclient.NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    client.execute()  # raises what a cell raises
    assert len(pictures(notebook)) == 4
    text = printed(notebook)
    assert "step 40, val" in text and "80/80" in text  # a table, and the bar
    assert "model.onnx  " in text
    share = float(text.split("% of the pixels get")[0].split()[-1])
    assert share > 99.9


@pytest.mark.parametrize(
    "place",
    ["start", "start/..", "start/seg_jax", "inputs/seg_jax", "inputs/a/seg_jax", "inputs/datasets/someone/a/seg_jax"],
)
def test_it_finds_the_repository(notebook, tmp_path, place):
    """In a clone, in Colab, and among Kaggle's inputs, which cannot be written to; nothing is installed here."""
    first, *_ = (cell.source for cell in cells(notebook, "code"))
    assert first.count('"/kaggle/input"') == 1
    (tmp_path / "start").mkdir()
    root = (tmp_path / place).resolve()
    root.mkdir(parents=True, exist_ok=True)
    for name in ("launch.sh", "seg_jax", "pyproject.toml"):
        (root / name).symlink_to(REPOSITORY / name)
    first = first.replace('"/kaggle/input"', repr(str(tmp_path / "inputs"))) + "\nprint(root, sys.path[0], os.getcwd())"
    done = subprocess.run(
        [sys.executable, "-c", first], cwd=tmp_path / "start", capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == [str(root)] * 3, done.stderr


def test_without_the_repository_it_says_what_to_do(notebook, tmp_path):
    first, *_ = (cell.source for cell in cells(notebook, "code"))
    done = subprocess.run([sys.executable, "-c", first], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "AssertionError: the repository is not here: clone it, or upload it to a folder seg_jax" in done.stderr
