"""Checkpoints: exact round trips, what is kept, and that damage is noticed whatever byte it hits."""

import contextlib
import errno
import gc
import json
import logging
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seg_jax.run import stored
from seg_jax.run.checkpoint import CheckpointError, Checkpoints, MismatchError
from seg_jax.run.saving import CheckpointWriter
from seg_jax.runtime.errors import MachineError
from seg_jax.steps.state import TrainState
from tests.runs import array_file, flip

# Reading a damaged file leaves unfinished tasks of orbax and tensorstore behind, which Python complains about.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

META = {"wait": 2, "best": {"step": 3, "miou": 0.1 + 0.2}, "names": ["road", "Straße"], "nothing": None}


def make_state(step=0, seed=0, *, width=64, optimizer=None, extra=(), averaged=False):
    """A state with everything that a real one has: nesting, statistics, scalar integers, moments."""
    rng = np.random.default_rng([seed, step])
    params = {
        "encoder": {"conv": {"kernel": rng.standard_normal((3, 3, 2, width), np.float32)}},
        "decoder": {"head": {"bias": rng.standard_normal(3, np.float32)}, **{name: np.ones(2, "f4") for name in extra}},
    }
    optimizer = optimizer or optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(optax.constant_schedule(1e-3)))
    opt_state = jax.tree.map(
        lambda a: np.int32(step) if a.ndim == 0 else rng.standard_normal(a.shape, np.float32), optimizer.init(params)
    )
    statistics = {"batch_stats": {"encoder": {"bn": {"mean": rng.standard_normal(width, np.float32)}}}}
    state = TrainState.begin(params, statistics, opt_state).replace(step=np.int32(step), lr_scale=np.float32(0.1))
    average = {
        "params": jax.tree.map(lambda a: a / 2, params),
        "model_state": jax.tree.map(lambda a: a / 3, statistics),
    }
    return state.replace(skipped=np.int32(seed), ema=average if averaged else {})


def assert_equal_states(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def abstract(state):
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), state)


LIKE = abstract(make_state())


def save_all(directory, scores, *, keep_last=1):
    """Saves steps 1, 2, ... with these scores; returns the steps that are left."""
    checkpoints = CheckpointWriter(directory, keep_last=keep_last)
    for step, score in enumerate(scores, start=1):
        checkpoints.save(make_state(step), META, score=score)
    checkpoints.wait()
    left = checkpoints.steps()
    checkpoints.close()
    return left


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "run" / "checkpoints"


@pytest.fixture(scope="module", autouse=True)
def leftover_tasks():
    """Ends them here, not in the middle of another file's tests."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """Two whole checkpoints, of steps 1 and 2; tests copy them."""
    directory = tmp_path_factory.mktemp("pristine") / "checkpoints"
    assert save_all(directory, [0.5, 0.25], keep_last=2) == [2, 1]
    return directory


@pytest.fixture
def copy(pristine, directory):
    shutil.copytree(pristine, directory)
    return directory


def reader(directory):
    return Checkpoints(directory)


def contents(directory):
    return {
        str(path.relative_to(directory)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in directory.rglob("*")
    }


def files(directory):
    return sorted(path for path in directory.rglob("*") if path.is_file())


# Round trips


def test_round_trip_is_exact(directory):
    checkpoints = CheckpointWriter(directory)
    state = make_state(41)
    checkpoints.save(state, META, score=0.1 + 0.2)
    checkpoints.wait()
    for store in (checkpoints, reader(directory)):
        restored, meta = store.restore(41, LIKE)
        assert_equal_states(restored, state)
        assert {key: meta[key] for key in META} == META
        assert meta["score"] == 0.1 + 0.2
        latest, latest_meta = store.restore_latest(LIKE)
        assert_equal_states(latest, state)
        assert latest_meta == meta
    checkpoints.close()


@pytest.mark.parametrize("special", [np.nan, np.inf, -0.0, 1e-45])
def test_special_values_keep_their_bits(directory, special):
    checkpoints, state = CheckpointWriter(directory), make_state(1)
    state.params["decoder"]["head"]["bias"][1] = special
    checkpoints.save(state, {}, score=None)
    checkpoints.wait()
    restored, _ = checkpoints.restore(1, LIKE)
    bits = [s.params["decoder"]["head"]["bias"].view(np.uint32) for s in (restored, state)]
    np.testing.assert_array_equal(*bits)
    checkpoints.close()


def test_a_network_without_statistics_and_an_optimizer_without_moments(directory):
    checkpoints = CheckpointWriter(directory)
    state = make_state(1, optimizer=optax.sgd(0.1)).replace(model_state={})
    checkpoints.save(state, {}, score=None)
    checkpoints.wait()
    assert_equal_states(checkpoints.restore(1, abstract(state))[0], state)
    checkpoints.close()


def test_the_state_may_be_donated_while_it_is_written(directory):
    state = jax.tree.map(jnp.asarray, make_state(0, width=4096))
    like = abstract(state)
    advance = jax.jit(lambda s: jax.tree.map(lambda a: a + 1, s), donate_argnums=0)
    checkpoints, copies = CheckpointWriter(directory, keep_last=5), []
    for _ in range(4):
        copies.append(jax.tree.map(lambda a: np.array(a, copy=True), state))
        checkpoints.save(state, {}, score=None)
        state = advance(state)
    checkpoints.wait()
    for step, expected in enumerate(copies):
        assert_equal_states(checkpoints.restore(step, like)[0], expected)
    checkpoints.close()


def test_weights_are_read_without_the_optimizer(copy):
    shutil.rmtree(copy / "2" / "training")
    state = make_state(2)
    weights = reader(copy).weights(2, {"params": LIKE.params, "model_state": LIKE.model_state})
    assert_equal_states(weights, {"params": state.params, "model_state": state.model_state})
    with pytest.raises(CheckpointError, match="cannot be read"):
        reader(copy).restore(2, LIKE)


def test_reading_changes_nothing(copy):
    shutil.copytree(copy / "2", copy / "3.orbax-checkpoint-tmp")
    before = contents(copy)
    store = reader(copy)
    store.restore(2, LIKE)
    store.weights(1, {"params": LIKE.params, "model_state": LIKE.model_state})
    assert store.choose("best") == 1 and store.steps() == [2, 1]
    assert contents(copy) == before


# What is kept, what is best


@pytest.mark.parametrize(
    ("scores", "keep_last", "kept"),
    [
        pytest.param([0.1, 0.9, 0.5, 0.3], 1, [4, 2], id="best and newest"),
        pytest.param([0.1, 0.9, 0.5, 0.3], 2, [4, 3, 2], id="best and two newest"),
        pytest.param([0.1, 0.2, 0.3], 1, [3], id="the newest is the best"),
        pytest.param([-0.1, -0.9, -0.5], 1, [3, 1], id="negative, such as a loss"),
        pytest.param([0.5, 0.5, 0.5], 1, [3, 1], id="a tie goes to the earlier"),
        pytest.param([0.2, None, None], 1, [3, 1], id="without score is never the best"),
        pytest.param([None, 0.2, None, 0.1, None], 1, [5, 2], id="without score between"),
        pytest.param([None, None, None], 1, [3], id="no score at all"),
    ],
)
def test_the_newest_and_the_best_are_kept(directory, scores, keep_last, kept):
    assert save_all(directory, scores, keep_last=keep_last) == kept
    assert sorted(int(p.name) for p in directory.iterdir()) == sorted(kept)
    known = [step for step in kept if scores[step - 1] is not None]
    best = max(known, key=lambda step: (scores[step - 1], -step)) if known else kept[0]
    assert reader(directory).choose("best") == best


def test_the_best_is_remembered_after_a_restart(directory):
    save_all(directory, [0.9, 0.5])
    checkpoints = CheckpointWriter(directory)
    for step, score in ((3, 0.6), (4, None), (5, 0.9)):
        checkpoints.save(make_state(step), META, score=score)
    checkpoints.wait()
    assert checkpoints.steps() == [5, 1] and checkpoints.choose("best") == 1
    checkpoints.close()


def test_choose(copy):
    store = reader(copy)
    assert (store.choose("best"), store.choose("last"), store.choose("1"), store.choose("2")) == (1, 2, 1, 2)
    for unknown in ("3", "latest", "-1", "1.0", ""):
        with pytest.raises(CheckpointError, match=rf"checkpoint '{unknown}' is not one of: best, last, 1, 2"):
            store.choose(unknown)


def test_choose_passes_over_damaged_ones(copy, caplog):
    (copy / "1" / "meta" / "metadata").write_text("{", encoding="utf-8")
    assert reader(copy).choose("best") == 2
    shutil.rmtree(copy / "2" / "meta")
    with pytest.raises(CheckpointError, match=r"none of the checkpoints \[2, 1\] in .* can be read"):
        reader(copy).choose("last")
    assert "passed over" in caplog.text


def test_no_checkpoint_at_all(directory):
    with pytest.raises(CheckpointError, match=r"does not exist.*Train it first"):
        reader(directory)
    assert not directory.exists()
    checkpoints = CheckpointWriter(directory)
    assert checkpoints.restore_latest(LIKE) is None and checkpoints.steps() == []
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        checkpoints.choose("best")
    with pytest.raises(CheckpointError):
        checkpoints.restore(7, LIKE)
    checkpoints.close()


# Interrupted writing


def test_leftovers_of_a_killed_process_count_for_nothing(copy):
    leftover = copy / "9.orbax-checkpoint-tmp"
    shutil.copytree(copy / "2", leftover)
    assert reader(copy).steps() == [2, 1] and leftover.exists()
    checkpoints = CheckpointWriter(copy, keep_last=3)
    assert checkpoints.steps() == [2, 1]
    checkpoints.save(make_state(3), META, score=None)
    checkpoints.wait()
    assert_equal_states(checkpoints.restore_latest(LIKE)[0], make_state(3))
    checkpoints.close()
    assert sorted(p.name for p in copy.iterdir()) == ["1", "2", "3"]


def test_an_empty_numbered_directory_counts_for_nothing(copy, caplog):
    (copy / "3").mkdir()
    assert reader(copy).choose("last") == 2 and reader(copy).choose("best") == 1
    checkpoints = CheckpointWriter(copy, keep_last=3)
    assert_equal_states(checkpoints.restore_latest(LIKE)[0], make_state(2))
    # Its step can be written again.
    checkpoints.save(make_state(3), META, score=None)
    checkpoints.wait()
    assert_equal_states(checkpoints.restore(3, LIKE)[0], make_state(3))
    assert checkpoints.steps() == [3, 2, 1]
    checkpoints.close()


# Damage


@pytest.mark.parametrize("item", ["weights", "training"])
def test_a_damaged_array_is_reported_and_the_one_before_is_used(copy, caplog, item):
    path = array_file(copy, 2, item)
    flip(path, path.stat().st_size // 2)
    checkpoints = CheckpointWriter(copy, keep_last=2)
    with caplog.at_level(logging.ERROR):
        state, meta = checkpoints.restore_latest(LIKE)
    assert_equal_states(state, make_state(1))
    assert meta["score"] == 0.5
    assert f"{copy / '2'} " in caplog.text and "set aside as 2.damaged" in caplog.text
    assert (copy / "2.damaged").is_dir() and not (copy / "2").exists() and checkpoints.steps() == [1]
    # Training resumes from there, and reaches the same step again.
    checkpoints.save(make_state(2, seed=1), META, score=None)
    checkpoints.wait()
    assert_equal_states(checkpoints.restore_latest(LIKE)[0], make_state(2, seed=1))
    checkpoints.close()
    # Damaged once more, it gets another name.
    flip(array_file(copy, 2, item), 100)
    assert_equal_states(CheckpointWriter(copy).restore_latest(LIKE)[0], make_state(1))
    assert (copy / "2.damaged").is_dir() and (copy / "2.damaged2").is_dir()


@contextlib.contextmanager
def no_descriptors():
    """No file can be opened inside, as when a process has opened the most that it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def failing(monkeypatch, name, error):
    """Reading of 'weights' or the 'meta' data fails with `error` inside."""

    def fail(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(*((stored.json, "loads") if name == "meta" else (stored, "_read")), fail)
        yield


PASSING = {
    "no descriptors": lambda _: no_descriptors(),
    "stale share, meta": lambda patch: failing(patch, "meta", OSError(errno.ESTALE, "Stale file handle")),
    "input/output error": lambda patch: failing(patch, "weights", OSError(errno.EIO, "Input/output error")),
    "tensorstore's words": lambda patch: failing(
        patch, "weights", ValueError("UNKNOWN: Failed to open: Connection timed out [os_error_code='110']")
    ),
    "no memory": lambda patch: failing(patch, "weights", MemoryError()),
}


@pytest.mark.parametrize("case", PASSING)
def test_a_passing_error_of_the_machine_sets_nothing_aside(copy, monkeypatch, case):
    before = contents(copy)
    with PASSING[case](monkeypatch), pytest.raises(OSError, match=r"2 could not be read now .*same command again"):
        reader(copy).restore(2, LIKE)
    with PASSING[case](monkeypatch), pytest.raises(OSError):  # the list of them cannot be read without descriptors
        reader(copy).restore_latest(LIKE)
    assert contents(copy) == before
    assert reader(copy).restore_latest(LIKE)[1]["score"] == 0.25


@pytest.mark.parametrize("which", ["last", "best"])
def test_no_other_checkpoint_is_chosen_because_one_could_not_be_read_now(copy, which):
    checkpoints = reader(copy)
    monkey = OSError(errno.EMFILE, "Too many open files")
    with pytest.MonkeyPatch.context() as patch, failing(patch, "meta", monkey), pytest.raises(MachineError):
        checkpoints.choose(which)
    assert checkpoints.choose(which) == {"last": 2, "best": 1}[which]


@pytest.mark.parametrize("kind", ["missing", "a loop of links", "a directory"])
def test_what_the_file_system_answers_is_damage(copy, kind, caplog):
    victim = copy / "2" / "meta" / "metadata"
    victim.unlink()
    if kind == "a loop of links":
        victim.symlink_to(victim.name)
    elif kind == "a directory":
        victim.mkdir()
    assert reader(copy).restore_latest(LIKE)[1]["score"] == 0.5
    assert "set aside as 2.damaged" in caplog.text


def test_when_all_are_damaged_the_run_stops(copy):
    for step in (1, 2):
        path = array_file(copy, step)
        flip(path, path.stat().st_size // 2)
    for _ in range(2):  # the second time too: it does not begin anew where there was a run
        with pytest.raises(CheckpointError, match=r"can be read: 1\.damaged, 2\.damaged\. Restore one from a copy"):
            CheckpointWriter(copy).restore_latest(LIKE)
        assert {p.name for p in copy.iterdir()} == {"1.damaged", "2.damaged"}


def damage(path, kind):
    size = path.stat().st_size
    if kind == "deleted":
        path.unlink()
    elif kind == "emptied":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[: size // 2])
    elif kind == "longer":
        path.write_bytes(path.read_bytes() + b"\0" * 100)
    elif kind == "zeros":
        path.write_bytes(bytes(size))
    else:
        flip(path, int(float(kind) * (size - 1)), mask=0x01 if kind == "0.9" else 0x40)


KINDS = ("deleted", "emptied", "truncated", "longer", "zeros", "0", "0.15", "0.3", "0.5", "0.7", "0.9", "1")


@pytest.mark.parametrize("kind", KINDS)
def test_damage_to_any_file_never_gives_wrong_arrays(pristine, directory, kind):
    expected = make_state(2)
    names = [path.relative_to(pristine) for path in files(pristine / "2")]
    assert len(names) > 15
    noticed = []
    for name in names:
        shutil.copytree(pristine / "2", directory / "2")
        damage(directory / name, kind)
        store = reader(directory)
        try:
            restored, meta = store.restore(2, LIKE)
        except CheckpointError as error:
            assert str(directory / "2") in str(error)
            noticed.append(name)
        else:
            assert_equal_states(restored, expected)
            assert meta["score"] == 0.25 and {key: meta[key] for key in META} == META
        shutil.rmtree(directory / "2")
    # Some files are copies or notes that nothing reads; the arrays and the meta data are not among those.
    assert len(noticed) >= 3


@pytest.mark.parametrize(
    ("old", "new"),
    [('"score": 0.25', '"score": 0.95'), ('"wait": 2', '"wait": 3'), ('"nothing": null', '"nothing": 0')],
)
def test_changed_meta_data_is_noticed(copy, old, new):
    path = copy / "2" / "meta" / "metadata"
    text = json.dumps(json.loads(path.read_text(encoding="utf-8")))
    assert old in text
    path.write_text(text, encoding="utf-8")
    assert reader(copy).meta(2)["score"] == 0.25  # the layout of the JSON text does not matter
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(CheckpointError, match="checksum of its meta data"):
        reader(copy).meta(2)


def test_arrays_of_another_step_are_noticed(copy):
    shutil.rmtree(copy / "2" / "weights")
    shutil.copytree(copy / "1" / "weights", copy / "2" / "weights")
    with pytest.raises(CheckpointError, match=r"damaged: \d arrays differ from their checksums"):
        reader(copy).restore(2, LIKE)


# Other networks


@pytest.mark.parametrize(
    ("like", "message"),
    [
        pytest.param(
            make_state(extra=("gate",)), r"missing \['params/decoder/gate'\], unknown \[\]", id="parameter more"
        ),
        pytest.param(
            make_state().replace(model_state={}),
            r"missing \[\], unknown \['model_state/batch_stats/encoder/bn/mean'\]",
            id="parameter less",
        ),
        pytest.param(
            make_state(width=6),
            r"other shape \[.*'params/encoder/conv/kernel \(3, 3, 2, 64\) instead of \(3, 3, 2, 6\)'",
            id="other width",
        ),
        pytest.param(
            make_state(optimizer=optax.sgd(0.1, momentum=0.9)),
            r"another network or optimizer: missing \['opt_state/0/trace/",
            id="other optimizer",
        ),
        pytest.param(make_state().replace(step=np.int64(0)), r"other shape \['step", id="other type"),
    ],
)
def test_another_network_is_refused_by_name(copy, like, message):
    with pytest.raises(MismatchError, match=message):
        reader(copy).restore(2, like)
    with pytest.raises(MismatchError, match=message):
        CheckpointWriter(copy).restore_latest(like)
    assert {p.name for p in copy.iterdir()} == {"1", "2"}  # whole checkpoints are not set aside
