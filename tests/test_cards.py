"""Result cards: what one has, what is refused, and the tables of docs/results.md and README, which are never stale."""

import json
import re
import shutil

import pytest

from benchmarks import cards, pages
from seg_jax.report.__main__ import main as write_comparison
from seg_jax.report.comparison import Run
from seg_jax.runtime.version import __version__


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Another results/, and two pages."""
    monkeypatch.setattr(cards, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(cards, "PAGES", (tmp_path / "results.md", tmp_path / "README.md"))
    (tmp_path / "README.md").write_text(page("cards in short"))
    (tmp_path / "results.md").write_text(page("cards") + page("times") + page("pairs"))
    return tmp_path


def page(name, content="stale"):
    return f"before\n<!-- table: {name} -->\n{content}\n<!-- end of table -->\nafter\n"


@pytest.mark.parametrize("path", cards.PAGES, ids=lambda path: path.name)
def test_the_tables_of_the_pages_are_those_of_the_cards(path):
    text = path.read_text(encoding="utf-8")
    assert text == cards.published(text), "python -m benchmarks.cards writes it"


def test_every_comparison_that_is_kept_has_its_table():
    named = {match[2] for path in cards.PAGES for match in pages.BLOCK.finditer(path.read_text(encoding="utf-8"))}
    assert set(cards.comparisons()) <= named and set(pages.TABLES) <= named


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
    text = (place / "results.md").read_text()
    low, high = (report["interval"][side] for side in ("low", "high"))
    assert text.count("| scenes |") == 1 and text.count(pages.NOTHING) == 2
    readme = (place / "README.md").read_text()
    assert readme.startswith("before\n") and readme.endswith("after\n") and "stale" not in readme
    assert "\n| result | network | time | mIoU |\n| --- |" in readme and readme.count("| scenes |") == 1
    assert f"| {report['scores']['miou']:.3f} (" in readme
    assert f"| {report['scores']['miou']:.3f} ({low:.3f} to {high:.3f}) |" in text
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
    assert pages.row(made) == [*cells, "2 cores of Z80", "0.500", "-"]
    made["cost"]["devices"] = "2 x NVIDIA H100"
    assert pages.row(made)[8] == "2 x NVIDIA H100"
    assert pages.whole([made]).splitlines()[2] == f"| {' | '.join(pages.row(made))} |"
    assert pages.short([made]).splitlines()[2] == rf"| a\|b | {cells[1]} | 1.5 min | 0.500 |"


def test_times_by_hand(place):
    def made(name, **seconds):
        targets = [{"target": float(t), "step": 1, "seconds": s, "compile_s": 2.0} for t, s in seconds.items()]
        cost = {"devices": "1 x cpu", "processor": {"model": "Z80", "cores": 2}}
        return {"name": name, "metric": "val/miou", "targets": targets, "cost": cost}

    one, two = made("a", **{"0.6": 1234.4, "0.7": None}), made("b", **{"0.65": 9.6})
    assert pages.time_row(one, [0.6, 0.65, 0.7]) == ["a", "2 cores of Z80", "val/miou", "1,234", "-", "-"]
    table = pages.timed([one, two])
    assert "| result | machine | metric | 0.6 | 0.65 | 0.7 |" in table
    assert "| b | 2 cores of Z80 | val/miou | - | 10 | - |" in table
    (place / "results").mkdir()
    whole = one | {"configuration": {}, "seed": 0}
    (place / "results" / "time_a.json").write_text(json.dumps(whole))
    assert cards.times() == [whole] and not cards.cards()


@pytest.mark.parametrize("text", ["nothing", "<!-- table: cards -->\n", f"{page('cards')}<!-- table: times -->\n"])
def test_a_page_with_an_open_block_or_none_is_refused(text):
    with pytest.raises(cards.CardError, match=r"lines '<!-- table: NAME -->', . of them with .* Give each its end"):
        pages.filled(text, cards=[], times=[], comparisons={})


def test_a_table_that_nothing_was_measured_for_says_so():
    again = pages.filled(page("cards"), cards=[], times=[], comparisons={})
    assert again == page("cards", pages.NOTHING.strip())
    assert pages.filled(again, cards=[], times=[], comparisons={}) == again


def test_a_comparison_is_kept_with_its_differences(trained_run, place, capsys):
    shutil.copytree(trained_run, place / "again")
    assert write_comparison([str(trained_run), str(place / "again"), f"--out={place / 'both'}"]) == 0
    assert cards.main([f"--comparison={place / 'both'}", "--name=pairs"]) == 0
    kept = json.loads((place / "results" / "compare_pairs.json").read_text())
    assert kept == cards.comparisons()["pairs"] and not cards.cards()
    assert [run["name"] for run in kept["runs"]] == [trained_run.name, "again"]
    facts = json.loads((trained_run / "run.json").read_text())
    assert [run["cost"]["steps"] for run in kept["runs"]] == [40, 40] and kept["runs"][0]["images"] == 8
    first, second = (place / "results.md").read_text().split(f"{'| --- ' * 5}|\n")[1].splitlines()[:2]
    worst = min((iou, name) for name, iou in kept["runs"][0]["classes"].items() if iou is not None)
    minutes = f"{facts['seconds'] / 60:.1f} min"
    ends = rf"\| - \| {worst[1]} {worst[0]:.3f} \| {minutes} \|$"
    assert re.search(rf"\| 0\.\d+ \(0\.\d+ to 0\.\d+\) {ends}", first)
    assert "| +0.000 (+0.000 to +0.000) |" in second
    report = json.loads((place / "both" / "report.json").read_text())
    report["runs"][1]["name"] = f"elsewhere/{trained_run.name}"
    (place / "both" / "report.json").write_text(json.dumps(report))
    assert cards.main([f"--comparison={place / 'both'}", "--name=pairs"]) == 1
    assert f"several runs are called {trained_run.name}. Give" in capsys.readouterr().err
    report["runs"][1]["facts"] = {}
    (place / "both" / "report.json").write_text(json.dumps(report))
    assert cards.main([f"--comparison={place / 'both'}", "--name=pairs"]) == 1
    assert "has no steps, seconds" in capsys.readouterr().err


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
        (["--comparison=nowhere", "--name=x"], "nowhere/report.json does not exist"),
        (["--comparison=nowhere"], "--name=: a name has lower-case letters"),
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
    assert "x.json" in capsys.readouterr().err and "stale" in cards.PAGES[0].read_text()
