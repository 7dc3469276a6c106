"""Comparing runs: directories made by hand, their tables, what may not be compared, and the command line."""

import io
import json
import re
from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image

from seg_jax import report, viz
from seg_jax.config import ConfigError
from seg_jax.data.labels import LabelTable
from seg_jax.metrics import Images, Report
from seg_jax.report import html
from seg_jax.report.__main__ import main
from seg_jax.report.comparison import Comparison, Run

NAMES = ("sky", "road")
TABLE = LabelTable(names=NAMES, colors=((10, 20, 200), (200, 30, 40)))
PROTOCOL = {
    "step": 7,
    "source": "folder",
    "split": "val",
    "images": 40,
    "height": 4,
    "width": 6,
    "loss_weights": {"a": 1},
}


@dataclass
class Fake:
    """What a run directory is made of: wrong pixels of 10 in each of 40 images, and the protocol."""

    wrong: np.ndarray
    protocol: dict = field(default_factory=dict)
    names: tuple[str, ...] = NAMES
    images: bool = True
    facts: dict | None = None
    shade: int = 0

    def write(self, directory):
        n = len(self.wrong)
        confusion = np.array([[10 * n - self.wrong.sum(), self.wrong.sum()], [0, 10 * n]])
        right = 10 - self.wrong
        counts = np.stack([[right, 0 * right, self.wrong], [0 * right + 10, self.wrong, 0 * right]]).transpose(2, 1, 0)
        images = Images(tuple(f"image {i}" for i in range(n)), counts) if self.images else None
        result = Report.from_confusion(
            confusion, self.names, loss=0.5, protocol=PROTOCOL | self.protocol, images=images
        )
        np.testing.assert_array_equal(counts.sum(0), result.counts)
        photo = np.full((4, 6, 3), 90, np.uint8)
        truth, seen = np.zeros((4, 6), np.uint8), np.full((4, 6), self.shade, np.uint8)
        report.write(directory, result, {0: viz.panel(photo, truth, seen, TABLE)}, TABLE)
        (directory / "config.json").write_text("{}")
        (directory / "class_names.json").write_text(TABLE.to_json())
        lines = [{"step": step, "train/loss": 1 / (step + 1)} for step in range(3)]
        (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if self.facts:
            (directory / "run.json").write_text(json.dumps(self.facts))
        return str(directory)


FACTS = {"parameters": 1_500_000, "flops_per_image": 2.5e9, "seconds": 90, "peak_memory_bytes": 2**30}
HARD = np.random.default_rng(0).integers(2, 9, 40)


@pytest.fixture
def runs(tmp_path):
    """The names of two comparable runs, the second of which is better."""
    return [
        Fake(HARD, facts=FACTS).write(tmp_path / "one"),
        Fake(HARD - 1, shade=1).write(tmp_path / "two"),
    ]


def compared(*names):
    return Comparison([Run.load(name) for name in names])


def miou(wrong):
    return ((400 - wrong.sum()) / 400 + 400 / (400 + wrong.sum())) / 2


def test_scores_costs_and_classes(runs):
    comparison = compared(*runs)
    scores, costs, classes = comparison.tables()
    assert comparison.notes == [] and comparison.flags == {}
    first, second = (dict(zip(scores.header, row, strict=True)) for row in scores.rows)
    assert (first["run"], first["step"], first["loss"]) == (runs[0], "7", "0.5000")
    assert first["mIoU"] == f"{miou(HARD):.3f}" and second["mIoU"] == f"{miou(HARD - 1):.3f}"
    assert first["pixel accuracy"] == f"{(800 - HARD.sum()) / 800:.3f}"
    low, high = map(float, first["95 % interval"].split(" to "))
    assert low < miou(HARD) < high
    assert first["p"] == "-" and second["p"] == "0.002"  # better in every draw of a thousand
    assert second["mIoU minus first"].startswith(f"{miou(HARD - 1) - miou(HARD):+.3f} (+")
    assert costs.rows == [[runs[0], "1.50 M", "2.50 G", "1.50 min", "1024.00 MiB"], [runs[1], "-", "-", "-", "-"]]
    assert [row[0] for row in classes.rows] == list(NAMES)
    assert classes.rows[0][1] == f"{(400 - HARD.sum()) / 400:.3f}"


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (Fake(HARD, {"split": "test"}), "split is 'test', there 'val'"),
        (Fake(HARD, {"resolution": "original"}), "resolution is 'original', there None"),
        (Fake(HARD, {"height": 8}), "height is 8, there 4"),
        (Fake(HARD, {"step": 9, "left_out": {"val": []}, "flip": True}), "flip is True, there None"),
        (Fake(HARD, names=("sky", "sea")), "classes are sky, sea, there sky, road"),
        (Fake(HARD[:30]), "the images are others, or in another order"),
    ],
)
def test_what_cannot_be_compared_is_flagged(runs, other, reason, tmp_path):
    name = other.write(tmp_path / "other")
    comparison = compared(runs[0], name)
    assert comparison.flags == {name: [reason]}
    assert comparison.notes == [f"{name} cannot be compared with {runs[0]}: {reason}"]
    assert comparison.paired == {} and comparison.tables()[0].rows[1][-1] == "-"
    assert comparison.panels().shape[1] == (3 * 6 + 2 * 4) * (1200 // 26)  # its prediction is left out


def test_other_objectives_are_noted(runs, tmp_path):
    name = Fake(HARD, {"loss_weights": {"b": 1}}).write(tmp_path / "other")
    assert compared(runs[0], name).notes == [
        f"{name} has another objective than {runs[0]}: their losses cannot be compared"
    ]


def test_without_counts_of_images_there_is_no_test(runs, tmp_path):
    name = Fake(HARD, images=False).write(tmp_path / "other")
    comparison = compared(runs[0], name)
    assert comparison.flags == {} and comparison.paired == {}
    assert comparison.tables()[0].rows[1][5:] == ["-", "-", "-"]


def test_panels_side_by_side(runs):
    picture = compared(*runs).panels()
    # image, truth and two predictions of 6 pixels and 3 gaps of 4, enlarged alike
    times = 1200 // 36
    assert picture.shape[1] == 36 * times
    row = picture[picture.shape[1] // 64 + 10 + 2]  # below the titles
    assert [tuple(row[x * times].tolist()) for x in (0, 10, 20, 30)] == [(90,) * 3, TABLE.colors[0], *TABLE.colors]


def test_an_evaluation_inside_of_a_run(runs, tmp_path):
    place = tmp_path / "one" / "eval" / "val-7"
    Fake(HARD).write(place)
    (place / "config.json").unlink()
    run = Run.load(str(place))
    assert (run.root, run.facts) == ((tmp_path / "one").resolve(), FACTS)


def test_an_evaluation_on_a_split_whose_name_is_a_path(runs, tmp_path, capsys):
    place = tmp_path / "one" / "eval" / "part1" / "day" / "val-7"
    Fake(HARD).write(place)
    for name in ("config.json", "class_names.json", "metrics.jsonl"):  # they are in the run directory
        (place / name).unlink()
    run = Run.load(str(place))
    assert (run.root, run.facts) == ((tmp_path / "one").resolve(), FACTS)
    assert main([str(place), runs[1], f"--out={tmp_path / 'out'}"]) == 0, capsys.readouterr().err
    for name in ("curves.png", "panels.png"):
        assert (tmp_path / "out" / name).is_file()


def test_curves_of_a_split_whose_name_is_a_path(tmp_path, monkeypatch):
    line = {"step": 1, "train/loss": 4.0, "train/loss/lr": 3.0, "a/val/loss": 2.0, "a/val/precision/loss": 0.1}
    line |= {"/b/val/miou": 0.5, "train/iou/sky": 0.2, "a/val/iou/sky": 0.3, "a/val/iou/loss/lr": 0.4}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    assert report.read_curves(tmp_path) == {
        name: [(1, line[name])] for name in ("train/loss", "a/val/loss", "/b/val/miou")
    }
    monkeypatch.setattr(viz, "class_curves", lambda splits, names, **_: json.dumps([splits, names]).encode())
    report.write_class_curves(tmp_path, best=0)
    splits = {"train": {"sky": [[1, 0.2]]}, "a/val": {"sky": [[1, 0.3]], "loss/lr": [[1, 0.4]]}}
    assert json.loads((tmp_path / "curves_classes.png").read_bytes()) == [splits, ["sky", "loss/lr"]]


def test_no_report(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere has no report\.json\. Pass a run directory"):
        Run.load(str(tmp_path / "nowhere"))
    Fake(HARD).write(tmp_path / "run")
    (tmp_path / "run" / "report.json").write_text('{"protocol": {}}')
    with pytest.raises(ConfigError, match=r"run/report\.json: it has no 'scores'; evaluate"):
        Run.load(str(tmp_path / "run"))
    Fake(HARD).write(tmp_path / "cut")
    (tmp_path / "cut" / "images.npz").write_bytes((tmp_path / "cut" / "images.npz").read_bytes()[:100])
    with pytest.raises(ConfigError, match=r"images\.npz is damaged"):
        Run.load(str(tmp_path / "cut"))


def test_the_command_line(runs, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*runs, f"--out={out}"]) == 0
    shown = capsys.readouterr().out
    assert "Scores\n" in shown and "IoU of classes" in shown and str(out / "report.html") in shown
    content = json.loads((out / "report.json").read_text())
    assert [run["name"] for run in content["runs"]] == runs
    assert content["paired"][runs[1]]["p"] == pytest.approx(2 / 1001)
    markdown = (out / "report.md").read_text()
    assert "![Curves](curves.png)" in markdown and "| sky |" in markdown
    text = (out / "report.html").read_text()
    assert "<h2>Costs</h2>" in text and text.count("data:image/png;base64,") == 2
    assert not re.search(r'(src|href)="(?!data:)', text)  # it needs no other file
    for name in ("curves.png", "panels.png"):
        Image.open(io.BytesIO((out / name).read_bytes())).load()
    assert main([str(tmp_path / "none")]) == 1
    assert "error: " in capsys.readouterr().err
    assert main([*runs, f"--out={out}"]) == 0  # over a comparison


def test_a_comparison_does_not_replace_the_files_of_a_run(runs, tmp_path, capsys):
    evaluation = tmp_path / "one" / "eval" / "val-7"
    Fake(HARD).write(evaluation)
    (evaluation / "config.json").unlink()
    before = {path: path.read_bytes() for path in (tmp_path / "one").rglob("*") if path.is_file()}
    for out in (runs[0], evaluation):
        assert main([*runs, f"--out={out}"]) == 1
        assert f"error: --out={out} is the directory of a run or of an evaluation" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "one").rglob("*") if path.is_file()} == before


# ----- tables as text, Markdown, HTML


def test_tables_by_hand():
    table = html.Table("T", ["run", "x"], [["a|b", "1"], ["<c>", "10"]])
    assert html.text([table], ["mind"]) == "! mind\n\nT\nrun   x\na|b   1\n<c>  10\n"
    assert "| a\\|b | 1 |" in html.markdown([table], [], {})
    page = html.page([table], ["<mind>"], {"P": b"png"})
    assert "&lt;c&gt;" in page and "&lt;mind&gt;" in page and "<c>" not in page and "cG5n" in page


def test_the_confusion_matrix_as_pdf_comes_from_the_report(tmp_path, monkeypatch, caplog):
    drawn = []
    monkeypatch.setattr(
        report.viz, "confusion", lambda matrix, names, *, form: drawn.append((matrix, names)) or b"%PDF"
    )
    report.write_confusion_pdf(tmp_path)  # nothing was evaluated
    assert not drawn and not list(tmp_path.iterdir())
    matrix = np.array([[3, 1], [0, 2]])
    (tmp_path / "report.json").write_text(Report.from_confusion(matrix, ("sky", "road")).to_json())
    report.write_confusion_pdf(tmp_path)
    np.testing.assert_array_equal(drawn[0][0], matrix)
    assert drawn[0][1] == ["sky", "road"] and (tmp_path / "confusion.pdf").read_bytes() == b"%PDF"
    for damaged in ("{", "[]", '{"classes": 3}'):
        (tmp_path / "report.json").write_text(damaged)
        report.write_confusion_pdf(tmp_path)
    assert caplog.text.count("no confusion.pdf: ") == 3 and len(drawn) == 1
