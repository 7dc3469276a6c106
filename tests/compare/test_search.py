"""Search with optuna: what it asks for, what it is told, and that it resumes."""

import json
from types import SimpleNamespace

import pytest

from seg_jax.compare import search
from seg_jax.compare.__main__ import main
from seg_jax.compare.runs import FailedError, InterruptedByUserError, StoppedError
from seg_jax.compare.search import Search, Span
from seg_jax.config import ConfigError
from seg_jax.runtime.extras import install_command

pytestmark = pytest.mark.filterwarnings(
    "ignore:the load_module:DeprecationWarning", "ignore::optuna._experimental.ExperimentalWarning"
)

BASE = ("--config=synthetic_unet", "--config.model.encoder.width=4", "--config.model.encoder.depth=2")
SPACE = {"optim.lr": Span(0.001, 0.1, True), "model.name": ["unet", "segnet"]}


@pytest.fixture(scope="module")
def optuna():
    found = pytest.importorskip("optuna", reason="the extra 'search' is not installed")
    return found


class Runner:
    """Trains nothing: `score(config)` is the score of a run, which its evaluations have, too."""

    def __init__(self, workdir, score=lambda config: config.optim.lr, evaluations=()):
        self.workdir, self.score, self.evaluations, self.trained = workdir, score, evaluations, []

    def directory(self, run):
        checkpoints = SimpleNamespace(choose=lambda which: 1, meta=lambda step: {"score": self.score(run.config)})
        return SimpleNamespace(path=self.workdir / run.name, checkpoints=lambda: checkpoints)

    def train(self, run, *, hopeless):
        self.trained.append(run.name)
        folder = self.workdir / run.name
        folder.mkdir(parents=True, exist_ok=True)
        lines = [{"step": step, "val/miou": self.score(run.config)} for step in self.evaluations]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if hopeless():
            raise StoppedError("was stopped: the median of the other runs was better at the same step")


def make(tmp_path, trials, space=SPACE, seed=0):
    return Search(tmp_path, BASE, space, trials=trials, seed=seed)


# ----- the space


def test_values_and_spans():
    axes = {"a": ["1e-4..1e-2:log"], "b": ["1..8"], "c": ["0.0..0.5"], "d": ["x", "y"], "e": ["../x"]}
    assert search.space(axes) == {
        "a": Span(1e-4, 1e-2, True), "b": Span(1, 8, False), "c": Span(0.0, 0.5, False), "d": ["x", "y"], "e": ["../x"]
    }  # fmt: skip
    assert Span(1, 8, False).whole and not Span(0.0, 8, False).whole


@pytest.mark.parametrize("text", ["2..1", "1..1", "a..b", "0..1:log", "1..2..3", "..1", "nan..1", "1..inf"])
def test_what_is_no_span_is_refused(text):
    with pytest.raises(ConfigError, match=r"--over=optim\.lr=.*: a span is LOW\.\.HIGH, or LOW\.\.HIGH:log above 0"):
        search.space({"optim.lr": [text]})


# ----- the command line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--search=optuna", "--over=optim.lr=1,2"], "--search and --trials belong together"),
        (["--trials=3", "--over=optim.lr=1,2"], "--search and --trials belong together"),
        (["--search=optuna", "--trials=3"], "give --over"),
        (["--search=optuna", "--trials=3", "--over=optim.lr=1,2", "--random=2"], "neither --random"),
        (["--search=optuna", "--trials=3", "--over=optim.lr=2..1"], "a span is LOW..HIGH"),
    ],
)
def test_flags_that_do_not_fit_are_refused(arguments, words, tmp_path, capsys):
    assert main([BASE[0], *arguments, f"--workdir={tmp_path}"]) == 1
    assert words in capsys.readouterr().err


def test_the_plan_of_a_search_is_its_space(tmp_path, capsys):
    over = ["--over=optim.lr=1e-4..1e-2:log", "--over=model.name=unet,segnet"]
    assert main([BASE[0], "--search=optuna", "--trials=3", *over, "--plan", f"--workdir={tmp_path / 'x'}"]) == 0
    assert "optim.lr: Span(low=0.0001, high=0.01, log=True)" in capsys.readouterr().out
    assert not (tmp_path / "x").exists()


def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(search, "is_installed", lambda name: False)
    with pytest.raises(ConfigError, match="optuna is not installed") as error:
        make(tmp_path, 3)
    assert install_command("search") in str(error.value)


# ----- trials


def test_trials_are_runs_and_their_scores_guide_the_search(optuna, tmp_path):
    study, runner = make(tmp_path, 4), Runner(tmp_path)
    study.run([runner])
    assert len(runner.trained) == 4 and study.runs.keys() == set(runner.trained) and not study.absent
    for name, run in study.runs.items():
        assert 0.001 <= run.config.optim.lr <= 0.1 and run.config.model.name in ("unet", "segnet")
        assert study.scores[name] == run.config.optim.lr
        assert name == f"lr={run.fields['optim.lr']}-{run.config.model.name}"
    stored = optuna.load_study(
        study_name="search",
        storage=optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(tmp_path / "comparison" / "search.journal"))
        ),
    )
    assert sorted(trial.value for trial in stored.trials) == sorted(study.scores.values())


def test_more_trials_add_runs_and_repeat_none(optuna, tmp_path):
    first = Runner(tmp_path)
    make(tmp_path, 2).run([first])
    second, study = Runner(tmp_path), make(tmp_path, 3)
    study.run([second])
    assert len(first.trained) == 2 and len(second.trained) == 1
    assert study.runs.keys() == {*first.trained, *second.trained} and len(study.runs) == 3


@pytest.mark.parametrize("error", [InterruptedByUserError, FailedError])
def test_an_interrupted_or_failed_trial_is_tried_again(optuna, tmp_path, error):
    class Broken(Runner):
        def train(self, run, *, hopeless):
            super().train(run, hopeless=hopeless)
            raise error("SIGTERM")

    broken, study = Broken(tmp_path), make(tmp_path, 1)
    if error is InterruptedByUserError:
        with pytest.raises(InterruptedByUserError):
            study.run([broken])
    else:
        study.run([broken])
        assert study.absent == {broken.trained[0]: "failed: SIGTERM"}
    again, study = Runner(tmp_path), make(tmp_path, 1)
    study.run([again])
    assert again.trained == broken.trained == list(study.runs)


def test_combinations_that_cannot_be_built_are_left_out(optuna, tmp_path):
    space = {"model.encoder.depth": ["1"], "model.name": ["fcn8s"]}
    study, runner = make(tmp_path, 1, space), Runner(tmp_path)
    study.run([runner])
    assert not runner.trained and not study.runs
    assert next(iter(study.absent.values())).startswith("was left out: ")
    study = make(tmp_path, 1, space)
    study.run([runner])
    assert len(study.absent) == 1 and not runner.trained


def test_a_trial_below_the_median_is_stopped_and_stays_so(optuna, tmp_path, monkeypatch):
    monkeypatch.setattr(search, "LOOK_SECONDS", 0.0)
    make(tmp_path, 5).run([Runner(tmp_path, evaluations=(10, 20))])  # optuna's pruner begins after five
    bad, study = Runner(tmp_path, score=lambda config: 1e-6, evaluations=(10,)), make(tmp_path, 6)
    study.run([bad])
    assert study.absent == {bad.trained[0]: "was stopped: the median of the other runs was better at the same step"}
    again, study = Runner(tmp_path), make(tmp_path, 6)
    study.run([again])
    assert not again.trained and list(study.absent) == bad.trained and len(study.runs) == 5


def test_another_space_needs_another_directory(optuna, tmp_path):
    make(tmp_path, 1)
    with pytest.raises(ConfigError, match=r"search\.journal is a search of .*Use another --workdir"):
        make(tmp_path, 1, {"optim.lr": ["0.1"]})


def test_no_trials_are_refused(optuna, tmp_path):
    with pytest.raises(ConfigError, match=r"--trials=0: .*at least 1"):
        make(tmp_path, 0)
