"""The notebook, executed from its first cell to its last."""

import os

import pytest

from tests.runs import REPOSITORY


@pytest.mark.slow
def test_the_quick_start_runs(tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("QUICKSTART_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(REPOSITORY / "notebooks" / "quickstart.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)  # results belong to the machine that made them
    client = nbclient.NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(REPOSITORY)}})
    client.execute()  # raises what a cell raises
    outputs = [[o for o in cell.outputs if o.output_type != "stream"] for cell in notebook.cells if "outputs" in cell]
    pictures = [o for cell in outputs for o in cell if "image/png" in o.get("data", {})]
    assert len(pictures) == 4
    printed = "".join(o.text for cell in notebook.cells for o in cell.get("outputs", []) if o.output_type == "stream")
    assert "mean IoU" in printed and "of the pixels get the same class" in printed
    share = float(printed.split("% of the pixels get")[0].split()[-1])
    assert share > 99.9
