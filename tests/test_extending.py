"""docs/extending.md: its files and lines, added to a copy of the package, are found and trained."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n# ([^\n]*)\n(.*?)```", PAGE, flags=re.S)
FILES = {
    f"{head.removeprefix('the module ').replace('.', '/')}.py": text
    for head, text in BLOCKS
    if head.startswith("the module ")
}
LINES = [(*re.fullmatch(r"in (\w+) of (\S+)", head).groups(), text) for head, text in BLOCKS if head.startswith("in ")]


def with_line(source, table, line):
    """A module with a line at the end of one of its tables or classes, and an import of what the line names."""
    begin = re.search(rf"^(class {table}\b|{table}: )", source, flags=re.M).start()
    end = re.compile(r"^}|\n\n\n", flags=re.M).search(source, begin)
    at = end.start() + (end[0] == "\n\n\n")
    source = source[:at] + line + source[at:]
    module = re.search(r"\b([a-z]+)\.\w+[,)]", line)
    beside = re.search(r"^from seg_jax\.[\w.]+ import .*$", source, flags=re.M)
    if not module or not beside:
        return source
    package = {"linear": "models.decoders", "patches": "models.encoders", "brier": "losses", "checkers": "data.sources"}
    return source.replace(beside[0], f"from seg_jax.{package[module[1]]} import {module[1]}\n{beside[0]}", 1)


def test_the_page_adds_one_of_each():
    folders = {"decoders", "encoders", "losses", "sources"}
    assert {path.split("/")[-2] for path in FILES} == folders
    assert [table for table, _, _ in LINES] == ["MODELS", "ENCODERS", "LOSSES", "LossWeights", "SOURCES"]


def test_a_line_goes_to_the_end_of_its_table():
    source = 'from seg_jax.losses import a\n\nTABLE: dict = {\n    "a": a.f,\n}\n\n\nOTHER = {}\n'
    line = '    "brier": brier.brier,\n'
    assert with_line(source, "TABLE", line) == (
        "from seg_jax.losses import brier\nfrom seg_jax.losses import a\n\n"
        'TABLE: dict = {\n    "a": a.f,\n    "brier": brier.brier,\n}\n\n\nOTHER = {}\n'
    )


@pytest.mark.timeout(300)
def test_what_the_page_adds_is_trained(tmp_path):
    for folder in ("seg_jax", "configs"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in FILES.items():
        assert not (tmp_path / path).exists()
        (tmp_path / path).write_text(text, encoding="utf-8")
    for table, path, line in LINES:
        source = (tmp_path / path).read_text(encoding="utf-8")
        (tmp_path / path).write_text(with_line(source, table, line), encoding="utf-8")
    (command,) = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.S)
    words = shlex.split(command.replace("\\\n", " "))[1:]
    done = subprocess.run(
        [sys.executable, *words, "--config.log.tensorboard=False"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert "linear on patches, 8 training and 8 validation images of 64x64, 2 classes" in done.stderr
    report = json.loads((tmp_path / "runs" / "mine" / "report.json").read_text())
    assert report["scores"]["miou"] > 0.6  # chance is a third
    assert {"brier", "cross_entropy"} <= {name.removeprefix("loss/") for name in report["scores"]} | set(
        report["protocol"]["loss_weights"]
    )
