"""Where results go: the folders of their inputs, no name twice, and nothing of another input overwritten."""

import errno
import json
import os
import sys
import unicodedata

import numpy as np
import pytest
from PIL import Image

from seg_jax.data.images import DataError
from seg_jax.data.labels import LabelTable
from seg_jax.predict import __main__ as predict
from seg_jax.predict.inputs import find
from seg_jax.predict.output import BEGUN, MAX_NAME, Results, read_record, shortened
from seg_jax.predict.predictor import Predictor

TABLE = LabelTable(names=("red", "green", "blue"))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working directory, and a network whose class is the strongest colour."""

    def engine(images):
        shares = images.astype(np.float32) + 1
        return shares / shares.sum(-1, keepdims=True)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Predictor, "load", lambda *_, **__: Predictor(engine, TABLE, (8, 8), identity="known"))
    return tmp_path


def photo(path, channel=0):
    """A photograph of one class."""
    path = str(path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    Image.fromarray(np.eye(3, dtype=np.uint8)[np.full((8, 8), channel)] * 255).save(path)


def run(*arguments, out="out", kinds="mask"):
    return predict.main(["model", *map(str, arguments), f"--out={out}", f"--write={kinds}"])


def masks(out="out"):
    """{name below `out`: class of its pixels}."""
    return {
        os.path.relpath(os.path.join(folder, name), out).removesuffix("_mask.png"): int(
            np.asarray(Image.open(os.path.join(folder, name)))[0, 0]
        )
        for folder, _, names in os.walk(out)
        for name in names
        if name.endswith("_mask.png")
    }


def test_results_keep_the_folders_of_their_inputs():
    for channel, name in enumerate(("a/x.png", "b/x.png", "b/deep/x.png")):
        photo(f"photos/{name}", channel)
    assert run("photos") == 0
    assert masks() == {"a/x": 0, "b/x": 1, "b/deep/x": 2}
    assert run("photos/*/x.png", out="pattern") == 0
    assert masks("pattern") == {"a/x": 0, "b/x": 1}


def test_a_second_call_overwrites_nothing_of_the_first():
    photo("first/x.png", 0)
    photo("second/x.png", 1)
    for folder in ("first", "second"):
        assert run(folder) == 0
    assert masks() == {"x": 0, "second/x": 1}
    assert run("first/x.png", "second/x.png", out="files") == 0
    assert masks("files") == {"x": 0, "second/x": 1}
    # Both are known, in any order and from any call.
    assert run("second", "first") == 0
    assert masks() == {"x": 0, "second/x": 1}
    assert len(read_record(find(["first"], None)[0].item.parent.parent / "out")) == 2


def test_names_do_not_shift_when_a_file_joins():
    photo("p/x.png", 1)
    assert run("p") == 0
    photo("p/x.bmp", 0)  # sorted before
    photo("q/p/x.png", 2)
    assert run("p", "q/p") == 0
    assert masks() == {"x": 1, "x.bmp": 0, "p/x": 2}


def test_a_third_input_of_one_name_gets_a_number():
    for channel, folder in enumerate(("a/p", "b/p", "c/p")):
        photo(f"{folder}/x.png", channel)
    photo("p/x.png", 0)
    assert run("a/p", "b/p", "c/p", "p") == 0
    assert set(masks()) == {"x", "p/x", "p/x.png", "x.png"}
    photo("d/p/x.png", 1)
    assert run("d/p") == 0
    assert masks()["x-2"] == 1


@pytest.mark.parametrize(
    ("one", "two"), [("X.png", "x.png"), (unicodedata.normalize("NFC", "é.png"), unicodedata.normalize("NFD", "é.png"))]
)
def test_names_differ_on_file_systems_that_see_one_file(one, two):
    photo(f"p/{one}", 0)
    photo(f"p/{two}", 1)
    if len(os.listdir("p")) < 2:
        pytest.skip("this file system sees one file")
    assert run("p") == 0
    names = [unicodedata.normalize("NFC", name).casefold() for name in masks()]
    assert len(set(names)) == 2 and sorted(masks().values()) == [0, 1]


def test_a_changed_photograph_keeps_its_name():
    photo("p/x.png", 0)
    assert run("p") == 0
    photo("p/x.png", 2)
    assert run("p") == 0
    assert masks() == {"x": 2}


def test_what_holds_no_input_says_what_would(tmp_path):
    for text, said in (
        (str(tmp_path), r"contains no image and no video\. Name one with files that end in .*\.jpg.* \.mp4"),
        (str(tmp_path / "*.png"), r"a pattern that matches one\. Name one\."),
        ("/dev/null", r"neither a file nor a folder\. Name photographs, folders or videos\."),
    ):
        with pytest.raises(DataError, match=said):
            find([text], None)


@pytest.mark.parametrize("out", ["p", "p/out", "."])
def test_results_never_become_inputs(out, capsys):
    photo("p/x.png", 0)
    os.makedirs(out, exist_ok=True)
    codes = [run("p" if out != "." else ".", out=out) for _ in range(3)]
    if out == "p/out":
        assert codes == [0, 0, 0] and masks("p/out") == {"x": 0}
        assert sum(len(files) for _, _, files in os.walk("p")) == 3  # photograph, mask, record
    else:
        assert codes == [1, 1, 1]
        assert "the next call would take results for photographs" in capsys.readouterr().err
        assert masks(out) == {} and not os.path.exists("p/predictions.jsonl")


def test_results_beside_or_around_the_photographs_are_fine():
    photo("p/x.png", 0)
    for _ in range(3):
        assert run("p", out=".") == 0
    assert set(masks(".")) == {"x"}


def test_results_of_other_calls_below_a_searched_folder_are_no_inputs():
    photo("x.png", 0)
    for out in ("one", "two/three", "one"):
        assert run(".", out=out) == 0
    assert set(masks("one")) == set(masks("two/three")) == {"x"}


def test_files_that_are_no_results_are_not_overwritten(capsys):
    photo("x.png", 0)
    photo("masks/x_mask.png", 2)
    before = open("masks/x_mask.png", "rb").read()  # noqa: SIM115
    assert run("x.png", out="masks") == 1
    assert "masks/x_mask.png exists, and no line of predictions.jsonl says" in capsys.readouterr().err
    assert open("masks/x_mask.png", "rb").read() == before  # noqa: SIM115
    assert predict.main(["model", "x.png", "--out=masks", "--write=mask", "--overwrite"]) == 0
    assert masks("masks") == {"x": 0}


def test_files_beside_results_are_not_overwritten_either(capsys):
    photo("x.png", 0)
    photo("y.png", 1)
    photo("masks/y_mask.png", 2)
    before = open("masks/y_mask.png", "rb").read()  # noqa: SIM115
    assert run("x.png", out="masks") == 0
    assert run("y.png", out="masks") == 1
    assert "masks/y_mask.png exists, and no line of" in capsys.readouterr().err
    assert open("masks/y_mask.png", "rb").read() == before  # noqa: SIM115


def test_what_a_killed_call_has_written_is_written_again(monkeypatch):
    photo("x.png", 0)
    with monkeypatch.context() as killed, pytest.raises(SystemExit):
        killed.setattr(Results, "done", lambda *args: sys.exit("killed"))
        run("x.png", out="masks")
    assert set(os.listdir("masks")) == {"x_mask.png", "predictions.jsonl", BEGUN}
    assert run("x.png", out="masks") == 0
    assert set(os.listdir("masks")) == {"x_mask.png", "predictions.jsonl"}


@pytest.mark.parametrize("name", ["n" * 239, "n" * 251, "ü" * 125, "n" * 251 + "/" + "m" * 251])
def test_long_names_end_nothing(name):
    photo("p/a.png", 1)
    try:
        photo(f"p/{name}.png", 2)
    except OSError:
        pytest.skip("this file system refuses the name")
    photo("p/z.png", 0)
    for _ in range(2):
        assert run("p", kinds="mask,color,overlay,probabilities") == 0
    found = masks()
    assert found["a"] == 1 and found["z"] == 0 and len(found) == 3 and sorted(found.values()) == [0, 1, 2]


def test_shortened_by_hand():
    assert shortened("a/b") == "a/b" and shortened("n" * MAX_NAME) == "n" * MAX_NAME
    one, two = shortened("d/" + "n" * 201), shortened("d/" + "n" * 202)
    assert one != two and one.startswith("d/" + "n" * 191 + "-") and len(one) == 2 + MAX_NAME
    assert len(os.fsencode(shortened("ü" * 125))) <= MAX_NAME


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENAMETOOLONG, errno.EACCES, errno.EIO])
def test_one_result_that_cannot_be_written_does_not_end_the_others(code, monkeypatch, capsys):
    for name in ("a", "b", "c"):
        photo(f"p/{name}.png")
    write = Results.write

    def refuse(self, name, result):
        if name == "b":
            raise OSError(code, os.strerror(code), "b_mask.png")
        write(self, name, result)

    monkeypatch.setattr(Results, "write", refuse)
    assert run("p") == 1
    assert set(masks()) == {"a", "c"} and os.strerror(code) in capsys.readouterr().err
    monkeypatch.undo()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_ends_the_folder(code, monkeypatch, capsys):
    for name in ("a", "b", "c"):
        photo(f"p/{name}.png")
    monkeypatch.setattr(Results, "write", lambda *_: (_ for _ in ()).throw(OSError(code, os.strerror(code))))
    assert run("p") == 1
    said = capsys.readouterr().err
    assert said.count("error:") == 1 and os.strerror(code) in said


def test_an_input_that_vanishes_does_not_end_the_others(monkeypatch, capsys):
    photo("p/a.png")
    photo("p/b.png")
    named = Results.named

    def vanish(self, inputs):
        os.unlink("p/a.png")
        return named(self, inputs)

    monkeypatch.setattr(Results, "named", vanish)
    assert run("p") == 1 and set(masks()) == {"b"}


def test_names_of_files_are_no_commands_to_the_terminal(capsys):
    name = "a\x1b[31m\nb\udcff.png"
    try:
        photo(f"p/{name}")
        with open(os.fsencode("p/\x1bbad.png"), "wb") as file:
            file.write(b"no picture")
    except OSError:
        pytest.skip("this file system refuses the name")
    assert run("p") == 1
    said = "".join(capsys.readouterr())
    assert "\x1b" not in said and "\udcff" not in said
    assert r"a\x1b[31m\nb\udcff.png (8x8) -> " in said and r"p/\x1bbad.png is not an image" in said


TORN = ["{", "[]", "null", '{"name": 1}', '{"name": "x"}', '{"name": "x", "state": [], "identity": "", "frames": null}']
TORN += ['{"name": "../x", "state": ["KEY", 1, 2], "identity": "", "frames": null}', "[" * 100_000, "\xff"]


@pytest.mark.parametrize("torn", TORN, ids=range(len(TORN)))
def test_a_damaged_record_costs_at_most_a_repetition(torn, here):
    photo("p/x.png", 1)
    os.makedirs("out")
    key = json.dumps(str((here / "p/x.png").resolve()))[1:-1]
    (here / "out/predictions.jsonl").write_bytes(torn.replace("KEY", key).encode("latin-1") + b"\n")
    assert run("p") == 0 and run("p") == 0
    assert masks() == {"x": 1} and masks(".") == {"out/x": 1}
