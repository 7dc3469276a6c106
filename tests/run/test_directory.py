"""The run directory: the names of its files, in one place, and what may resume it."""

import ast
import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from seg_jax.config import ConfigError, checked, to_json
from seg_jax.data.labels import LabelError, LabelTable
from seg_jax.run import record
from seg_jax.run.checkpoint import CheckpointError
from seg_jax.run.directory import RunDirectory, rows
from seg_jax.run.record import require_same_examples
from seg_jax.run.stored import digest
from seg_jax.runtime import process, sharding

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path / "run")


def checkpointed(run, step="3"):
    (run.checkpoints_folder / step).mkdir(parents=True)


def test_names_by_hand(run):
    base = run.path
    assert run.config_file == base / "config.json" and run.table_file == base / "class_names.json"
    assert run.checked("train") == base / "checked" / "train.json"
    assert run.report.report == base / "report.json" and run.report.panel(7) == base / "panels" / "7.png"
    assert run.evaluation("val", "60", "flip").report == base / "eval" / "val-60-flip" / "report.json"
    assert str(run) == str(base)


def test_names_of_splits_that_are_paths_stay_inside_of_the_run(run):
    inside = {"a/val": "a/val", "/data/val": "_/data/val", "../../val": "_/_/val", "a/../val": "a/_/val"}
    for split, place in inside.items():
        assert run.checked(split) == run.path / "checked" / f"{place}.json"
        assert run.evaluation(split, "60").path == run.path / "eval" / f"{place}-60"


def test_the_run_around_a_folder(run, tiny_config):
    deep = run.evaluation("a/b/val", "60").path
    assert RunDirectory.around(deep) is None
    run.write_config(tiny_config())
    assert RunDirectory.around(deep).path == RunDirectory.around(run.path).path == run.path
    inner = RunDirectory(deep)
    inner.write_config(tiny_config())
    assert RunDirectory.around(deep).path == deep  # the nearest


def test_home_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunDirectory("~/runs/a").path == tmp_path / "runs" / "a"


def test_panels_are_in_the_order_of_their_numbers(run):
    assert run.report.panels() == {}
    for index in (10, 9, 0):
        run.report.panel(index).parent.mkdir(parents=True, exist_ok=True)
        run.report.panel(index).touch()
    assert list(run.report.panels()) == [0, 9, 10]


def test_a_directory_without_a_run(run):
    assert not run.exists and not run.has_checkpoints and record.resumable(run) is None
    with pytest.raises(ConfigError, match="is not a run directory"):
        run.config()
    with pytest.raises(CheckpointError, match="Train it first"):
        run.checkpoints()


def test_only_checkpoints_bind_a_configuration(run, tiny_config):
    config, other = tiny_config(), tiny_config({"optim.lr": 0.5, "log.every_steps": 3})
    run.write_config(config)
    assert run.exists and record.resumable(run) is None
    record.begin(run, other)
    assert run.config().optim.lr == 0.5
    record.begin(run, config)
    checkpointed(run, "3.damaged")
    assert record.resumable(run).optim.lr == config.optim.lr
    with pytest.raises(
        ConfigError, match=r"holds a run with another configuration:\n  config\.optim\.lr: now 0\.5, there"
    ):
        record.begin(run, other)
    # The length is looked at elsewhere, and where files are is free.
    free = {"train.steps": 7, "train.extend": True, "data.dir": "elsewhere", "log.every_steps": 3}
    record.begin(run, tiny_config(free))
    assert run.config().train.steps == config.train.steps  # whoever decides on the length records it


@pytest.mark.parametrize("content", ['{"my": 1}', '{"model": "x"}', "{", "[1]", ""])
def test_a_configuration_of_another_program_stays(run, tiny_config, content):
    run.path.mkdir()
    run.config_file.write_text(content)
    said = r"would replace .*run/config\.json, which is no configuration .*Use another --workdir"
    for _ in range(2):
        with pytest.raises(ConfigError, match=said):
            record.begin(run, tiny_config())
    assert run.config_file.read_text() == content and len(list(run.path.iterdir())) == 1


@pytest.mark.parametrize("name", ["metrics.jsonl", "report.json", "confusion.pdf", "pictures/7.jpg", "panels/0.png"])
def test_files_that_belong_to_no_run_stay(run, tiny_config, name):
    file = run.path / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(ConfigError, match=rf"would replace {file}, which belongs to no run\. Use another --workdir"):
        record.begin(run, tiny_config())
    assert file.read_text() == "mine" and not run.exists
    run.write_config(tiny_config())  # an earlier start that failed
    record.begin(run, tiny_config())


def test_other_files_do_not_matter(run, tiny_config):
    for name in ("pictures/photo.jpg", "lr_range.json", "checked/train.json", "notes.txt"):
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_text("mine")
    record.begin(run, tiny_config())
    assert run.exists


def test_a_table_that_belongs_to_no_run_stays(run, tiny_config):
    one, two = LabelTable(names=("a", "b")), LabelTable(names=("a", "c"))
    run.path.mkdir()
    run.table_file.write_text(one.to_json())
    for _ in range(2):  # the first start must not make it the table of a run
        record.begin(run, tiny_config())
        with pytest.raises(ConfigError, match=r"replace .*/class_names\.json, which belongs to no run and differs"):
            record.write_table(run, two)
    assert run.table() == one and not run.exists
    record.write_table(run, one)
    run.write_config(tiny_config())
    record.write_table(run, two)  # an earlier start that failed has left it
    assert run.table() == two


def test_files_of_no_run_end_all_processes(run, tiny_config, monkeypatch):
    monkeypatch.setattr(process, "is_first", lambda: False)
    monkeypatch.setattr(sharding, "exchange", lambda said: ["training in run would replace x", said])
    for start in (lambda: record.begin(run, tiny_config()), lambda: record.write_table(run, LabelTable(("a", "b")))):
        with pytest.raises(ConfigError, match="training in run would replace x"):
            start()


def trained_with(run, config, step="3", **more):
    """A checkpoint as far as its meta data."""
    meta = {"score": None, "config": json.loads(to_json(config)), **more}
    file = run.checkpoints_folder / step / "meta" / "metadata"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(meta | {"sha256": digest(meta)}))


def test_a_lost_configuration_is_that_of_the_newest_checkpoint(run, tiny_config):
    config = tiny_config({"optim.lr": 0.25})
    trained_with(run, tiny_config({"optim.lr": 0.125}), "2")
    trained_with(run, config, "3")
    assert not run.exists and record.resumable(run).optim.lr == 0.25
    with pytest.raises(ConfigError, match=r"config\.optim\.lr: now 0\.5, there 0\.25"):
        record.begin(run, tiny_config({"optim.lr": 0.5}))
    assert not run.exists  # refused before anything was written
    record.begin(run, tiny_config({"optim.lr": 0.25, "train.steps": 9}))
    assert run.config().optim.lr == 0.25


def test_what_prediction_counts_on_fits_together(run, tiny_config):
    table = LabelTable(names=("a", "b"))
    normal = {"data.mean": (0.5,) * 3, "data.std": (0.5,) * 3}
    config = checked(tiny_config(normal))
    meta = {"classes": table.to_json(), "image_size": [32, 48]}
    record.begin(run, config)
    record.write_table(run, table)
    assert run.trained(config, meta) == (table, (32, 48))
    with pytest.raises(ConfigError, match=r"config\.json: config\.data\.mean or std is empty"):
        run.trained(checked(tiny_config()), meta)
    with pytest.raises(ConfigError, match=r"config\.json: config\.model\.norm = 'x' is not one of"):
        run.trained(checked(tiny_config(normal | {"model.norm": "x"})), meta)
    with pytest.raises(CheckpointError, match="does not say image_size"):
        run.trained(config, {"classes": table.to_json()})
    record.write_table(run, LabelTable(names=tuple("abcdefgh")))
    with pytest.raises(LabelError, match=r"class_names\.json has 8 classes, the network 2: a, b\. Restore"):
        run.trained(config, meta)


def test_an_edited_configuration_is_compared_with_the_newest_checkpoint(run, tiny_config):
    trained_with(run, tiny_config({"optim.lr": 0.25}))
    run.write_config(tiny_config({"optim.lr": 0.5}))
    with pytest.raises(ConfigError, match=r"config\.optim\.lr: now 0\.5, there 0\.25"):
        record.begin(run, tiny_config({"optim.lr": 0.5}))


def test_a_checkpoint_of_a_later_version_says_so(run, tiny_config):
    trained_with(run, tiny_config())
    file = run.checkpoints_folder / "3" / "meta" / "metadata"
    meta = {"score": None, "config": {"optim": {"warp": 9}}}
    file.write_text(json.dumps(meta | {"sha256": digest(meta)}))
    with pytest.raises(ConfigError, match=r"newest checkpoint in .*checkpoints: .*warp"):
        record.resumable(run)


def test_checkpoints_that_cannot_be_listed_do_not_make_a_new_run(run, tiny_config, monkeypatch):
    trained_with(run, tiny_config())

    def refuse(_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        record.begin(run, tiny_config({"optim.lr": 0.5}))
    assert not run.exists


def test_another_table_is_refused_where_there_are_checkpoints(run, tiny_config):
    one, two = (LabelTable(names=names, colors=((0, 0, 0), (9, 9, 9))) for names in (("a", "b"), ("a", "c")))
    run.write_config(tiny_config())
    record.write_table(run, one)
    record.write_table(run, two)
    checkpointed(run)
    record.write_table(run, two)
    with pytest.raises(ConfigError, match=r"label table of the data has changed .*class_names\.json differs"):
        record.write_table(run, one)
    assert run.table().names == ("a", "c")
    run.table_file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="label table of the data has changed"):
        record.write_table(run, two)


def test_a_lost_table_is_that_of_the_newest_checkpoint(run, tiny_config):
    one, two = (LabelTable(names=names, colors=((0, 0, 0), (9, 9, 9))) for names in (("a", "b"), ("a", "c")))
    trained_with(run, tiny_config(), classes=one.to_json())
    with pytest.raises(ConfigError, match="label table of the data has changed"):
        record.write_table(run, two)
    record.write_table(run, one)
    assert run.table() == one


def test_other_examples_are_refused_by_split():
    class Split(SimpleNamespace):
        def __len__(self):
            return 5

    meta = {"examples": {"train": "x", "val": "y"}}
    require_same_examples(meta, Split(split="train", digest="x"), Split(split="val", digest="y"))
    with pytest.raises(ConfigError, match=r"split 'val' \(now 5\) are not those"):
        require_same_examples(meta, Split(split="train", digest="x"), Split(split="val", digest="z"))


def test_rows_by_hand():
    assert rows({"a.b": (1, "x"), "c": (None, ())}) == "  config.a.b: now 1, there 'x'\n  config.c: now None, there ()"


def names_of(path):
    """The literals of a module that spell a file name of a run, docstrings aside."""
    names = {"config.json", "run.json", "checkpoints", "metrics.jsonl", "curves.png", "sample.png", "images.npz"}
    names |= {"report.json", "confusion.png", "predictions.png", "worst.png", "lr_range.json", "lr_range.png", "panels"}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return sorted({node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value in names})


def test_no_other_module_spells_a_file_of_a_run():
    package = REPOSITORY / "seg_jax"
    spelled = {
        str(path.relative_to(package)): found
        for path in package.rglob("*.py")
        if (found := names_of(path)) and path.relative_to(package).parts[0] != "curate"
    }
    assert len(spelled.pop("run/directory.py")) == 14
    # Folders of other libraries have a file of that name.
    for path in (
        "models/folders/__init__.py",
        "models/folders/document.py",
        "models/identify.py",
        "models/weights/hub.py",
    ):
        assert set(spelled.pop(path)) == {"config.json"}
    # A comparison of runs has files of its own.
    assert spelled == {"report/__main__.py": ["curves.png", "report.json"]}
