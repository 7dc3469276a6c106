"""Errors of this program have one base class; only those, and the machine's, end a command with one line."""

import ast
import errno

import pytest

from seg_jax import SegJaxError
from seg_jax.config import ConfigError
from seg_jax.predict import __main__ as predict
from tests.runs import REPOSITORY


def test_every_error_class_has_the_base():
    classes = [
        node
        for path in (REPOSITORY / "seg_jax").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error") and node.name != "SegJaxError"
    ]
    ours = {"SegJaxError"}
    for _ in classes:  # a subclass may come before its base
        ours |= {node.name for node in classes if ours & {ast.unparse(base).split(".")[-1] for base in node.bases}}
    assert {"ConfigError", "DataError", "LockedError", "DivergedError"} < ours
    assert [node.name for node in classes if node.name not in ours] == []


def test_code_that_catches_built_in_errors_still_does():
    assert issubclass(ConfigError, SegJaxError)
    assert issubclass(ConfigError, ValueError)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConfigError("config.seed = -1: use 0."), "error: config.seed = -1: use 0.\n"),
        (OSError(errno.EMFILE, "Too many open files", "x.json"), "error: [Errno 24] Too many open files: 'x.json'\n"),
    ],
)
def test_one_line_for_errors_of_the_user_and_of_the_machine(error, text, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(predict, "find", lambda *_: (_ for _ in ()).throw(error))
    assert predict.main(["model", "photo.png", f"--out={tmp_path}"]) == 1
    assert capsys.readouterr().err == text


@pytest.mark.parametrize("error", [ValueError("a defect"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")])
def test_a_defect_keeps_its_traceback(error, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "find", lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(type(error)):
        predict.main(["model", "photo.png", f"--out={tmp_path}"])
