"""Result cards: what one has, what is refused, and docs/results.md, which is never stale."""

import json

import pytest

from benchmarks import cards
from seg_jax.report.comparison import Run
from seg_jax.runtime.version import __version__


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Another results/ and page."""
    monkeypatch.setattr(cards, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(cards, "PAGE", tmp_path / "results.md")
    monkeypatch.setattr(cards, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text(f"before\n{cards.MARKS[0]}stale\n{cards.MARKS[1]}after\n")
    return tmp_path


def test_the_page_is_that_of_the_cards():
    made = cards.render(cards.cards(), cards.times())
    assert cards.PAGE.read_text(encoding="utf-8") == made, "python -m benchmarks.cards writes it"


def test_the_table_of_the_readme_is_that_of_the_cards():
    text = cards.README.read_text(encoding="utf-8")
    assert text == cards.with_table(text, cards.render_short(cards.cards())), "python -m benchmarks.cards writes it"


def test_a_card_has_what_the_run_recorded(trained_run, place, capsys):
    assert cards.main([str(trained_run), "--name=scenes"]) == 0
    card = json.loads((place / "results" / "scenes.json").read_text())
    report = json.loads((trained_run / "report.json").read_text())
    facts = json.loads((trained_run / "run.json").read_text())
    assert card["scores"] == report["scores"] and card["interval"]["low"] == report["interval"]["low"]
    assert card["classes"] == {entry["name"]: entry["iou"] for entry in report["classes"]}
    assert (card["split"], card["images"], card["step"]) == ("val", 8, report["protocol"]["step"])
    assert card["cost"] == {key: facts[key] for key in cards.NEEDED} and card["cost"]["steps"] == 40
    assert card["cost"]["versions"]["seg_jax"] == __version__ and card["cost"]["processor"]["cores"] >= 1
    assert set(card["examples"]) == {"train", "val"} and all(len(digest) >= 32 for digest in card["examples"].values())
    assert card["configuration"]["model.encoder.width"] == 8 and card["seed"] == card["configuration"].get("seed", 0)
    page = (place / "results.md").read_text()
    low, high = (report["interval"][side] for side in ("low", "high"))
    assert page.count("| scenes |") == 1
    readme = (place / "README.md").read_text()
    assert readme.startswith("before\n") and readme.endswith("after\n") and "stale" not in readme
    assert "\n| result | network | data | time | mIoU |\n| --- |" in readme and readme.count("| scenes |") == 1
    assert f"| {report['scores']['miou']:.3f} (" in readme
    assert f"| {report['scores']['miou']:.3f} ({low:.3f} to {high:.3f}) |" in page
    assert str(place / "results.md") in capsys.readouterr().out


def test_a_row_by_hand():
    made = {
        "name": "a|b",
        "configuration": {"model.name": "unet", "model.encoder.name": "plain", "data.source": "folder"},
        "seed": 3,
        "split": "test",
        "images": 12,
        "scores": {"miou": 0.5, "pixel_accuracy": None},
        "interval": None,
        "cost": {
            "steps": 1200,
            "seconds": 90,
            "devices": "1 x cpu",
            "parameters": 1_500_000,
            "peak_memory_bytes": 2**30,
            "processor": {"model": "Z80", "cores": 2},
        },
    }
    cells = [r"a\|b", "unet on plain, 1.50 M", "folder", "test, 12 images", "3", "1,200", "1.5 min", "1,024 MiB"]
    assert cards.row(made) == [*cells, "2 cores of Z80", "0.500", "-"]
    made["cost"]["devices"] = "2 x NVIDIA H100"
    assert cards.row(made)[8] == "2 x NVIDIA H100"
    assert cards.NOTHING in cards.render([]) and cards.NOTHING not in cards.render([made])


def test_times_by_hand(place):
    def made(name, **seconds):
        targets = [{"target": float(t), "step": 1, "seconds": s, "compile_s": 2.0} for t, s in seconds.items()]
        cost = {"devices": "1 x cpu", "processor": {"model": "Z80", "cores": 2}}
        return {"name": name, "metric": "val/miou", "targets": targets, "cost": cost}

    one, two = made("a", **{"0.6": 1234.4, "0.7": None}), made("b", **{"0.65": 9.6})
    assert cards.time_row(one, [0.6, 0.65, 0.7]) == ["a", "2 cores of Z80", "val/miou", "1,234", "-", "-"]
    page = cards.render([], [one, two])
    assert "| result | machine | metric | 0.6 | 0.65 | 0.7 |" in page
    assert "| b | 2 cores of Z80 | val/miou | - | 10 | - |" in page
    assert cards.TIME_HEAD not in cards.render([])
    (place / "results").mkdir()
    whole = one | {"configuration": {}, "seed": 0}
    (place / "results" / "time_a.json").write_text(json.dumps(whole))
    assert cards.times() == [whole] and not cards.cards()


def test_a_readme_without_marks_is_refused():
    with pytest.raises(cards.CardError, match="lacks the lines '<!-- cards"):
        cards.with_table("nothing", "")


def test_places_of_a_disk_are_left_out(trained_run, monkeypatch):
    run = Run.load(str(trained_run))
    config = json.loads((trained_run / "config.json").read_text())
    config["data"]["dir"] = "/home/somebody/data"
    monkeypatch.setattr(cards.RunDirectory, "config", lambda self: config)
    assert "somebody" not in json.dumps(cards.card(run, "x"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere has no report.json"),
        (["{run}", "--name=accelerator_x"], "does not begin with accelerator_"),
        (["{run}", "--name=../x"], "--name=../x"),
        (["{run}", "{run}", "--name=x"], "--name is that of one card"),
    ],
)
def test_wrong_use(trained_run, place, capsys, arguments, message):
    assert cards.main([argument.format(run=trained_run) for argument in arguments]) == 1
    assert message in capsys.readouterr().err and not (place / "results").exists()


def test_a_run_that_is_not_finished_has_no_card(trained_run):
    run = Run.load(str(trained_run))
    with pytest.raises(cards.CardError, match=r"has no steps, .*Let the run finish"):
        cards.card(Run(run.name, run.directory, run.root, run.report, {}, run.images), "x")


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "x"}'])
def test_a_damaged_card_is_one_line(place, capsys, text):
    (place / "results").mkdir()
    (place / "results" / "x.json").write_text(text)
    assert cards.main([]) == 1
    assert "x.json" in capsys.readouterr().err and not cards.PAGE.exists()
