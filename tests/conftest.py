"""What all tests share: eight virtual CPU devices, quick compilation, the real data set, a tiny configuration."""

import json
import os
from importlib.metadata import version
from pathlib import Path

# XLA reads its options when JAX starts. Compilation is most of what a test costs: without optimisation it takes half of
# the time (initial parameters a tenth), with its older code generator for fused operations, where there still is one, a
# quarter of that, and more parts than this one only keep other cores busy. What is computed differs in the last bits
# only. An option that XLA does not know ends the program.
os.environ["XLA_FLAGS"] = " ".join(
    (
        os.environ.get("XLA_FLAGS", ""),
        "--xla_backend_optimization_level=0",
        "--xla_cpu_parallel_codegen_split_count=1",
        "--xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else "",
    )
)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import filelock
import hypothesis
import jax
import pytest

from configs import default
from seg_jax import viz
from seg_jax.config import to_json
from seg_jax.run.program import Functions
from seg_jax.runtime import process
from tests.runs import OF_FOLDER, REPOSITORY, write_folder

# Not as a variable of the environment: programs that tests start see one device, as a user's do.
jax.config.update("jax_num_cpu_devices", 8)
process.collect_rarely()
process.use_compilation_cache()  # a second run of the tests takes half the time
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

# The first example may compile for seconds.
hypothesis.settings.register_profile("seg_jax", deadline=None)
hypothesis.settings.load_profile("seg_jax")


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled_programs():
    """Programs of one module are of no use to the next, and hundreds of them take gigabytes."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def real_data():
    """The directory of real data sets: $SEG_JAX_DATA, or ../shared/data beside the repository."""
    place = Path(os.environ.get("SEG_JAX_DATA") or REPOSITORY.parent / "shared" / "data")
    if not place.is_dir():
        pytest.skip(f"no real data: {place} does not exist; set SEG_JAX_DATA to the directory that holds it")
    return place


@pytest.fixture(scope="session")
def tiny_config():
    """A function ({'model.norm': 'group', ...}) -> configs/default.py with a tiny network, 32x32, batches of 8."""

    def make(overrides=None):
        config = default.get_config()
        tiny = {
            "model.encoder.width": 4,
            "model.encoder.depth": 2,
            "model.aspp_rates": (1, 2),
            "data.size": (32, 32),
            "data.synthetic.train_scenes": 16,
            "data.synthetic.val_scenes": 8,
            "train.batch_size": 8,
            "eval.batch_size": 8,
        }
        config.update_from_flattened_dict({**tiny, **(overrides or {})})
        return config

    return make


@pytest.fixture
def undrawn(monkeypatch):
    """Plots are files without a picture: drawing them takes longer than the training of a tiny network."""
    for plot in ("curves", "class_curves", "confusion"):
        monkeypatch.setattr(viz, plot, lambda *_, **__: bytes(100))


@pytest.fixture
def folder(tmp_path):
    """The directory of a small data set: 16 pairs to train on and 5 to validate with, of three classes."""
    return write_folder(tmp_path / "data")


# (group, its fields or all) of a configuration that have no part in what is compiled.
NOT_COMPILED = (
    *(("log",), ("checkpoint",), ("profile",), ("early_stop",)),
    *(("data", "dir", "cache", "skip_bad"), ("train", "steps", "steps_per_dispatch")),
    ("eval", "every_steps", "every_epochs", "panels"),
)


@pytest.fixture(scope="session")
def compiled_programs():
    """What `shared_programs` keeps; programs of tiny networks take little memory."""
    return {}


@pytest.fixture
def shared_programs(compiled_programs, monkeypatch):
    """Runs with equal programs share the compiled objects: compiling is most of what a run of four steps costs.

    That the same program, compiled again, computes the same bits is shown by test_main.py, in other processes.
    """

    def identity(functions):
        config = json.loads(to_json(functions.config))
        for group, *fields in NOT_COMPILED:
            for field in fields or list(config[group]):
                config[group].pop(field)
        return json.dumps(config, sort_keys=True), functions.classes, functions.mesh

    def once(name):
        make = getattr(Functions, name)

        def shared(self, *arguments, **options):
            length = (self.length.steps, self.length.frozen, self.length.restarts)
            key = (name, identity(self), length, arguments, tuple(sorted(options.items())))
            if key not in compiled_programs:
                compiled_programs[key] = make(self, *arguments, **options)
            return compiled_programs[key]

        return shared

    begin = Functions.init

    def init(self):
        if self.config.model.weights or self.config.model.encoder.weights:
            return begin(self)
        key = ("init", identity(self))
        if key not in compiled_programs:
            state = begin(self)
            compiled_programs[key] = jax.device_get(state), jax.tree.map(lambda leaf: leaf.sharding, state)
        return jax.device_put(*compiled_programs[key])

    for name in ("train_step", "eval_step", "predict"):
        monkeypatch.setattr(Functions, name, once(name))
    monkeypatch.setattr(Functions, "init", init)


@pytest.fixture
def config_for(tiny_config, folder, undrawn, shared_programs):
    """config_for(optim__lr=0.1, ...) -> the tiny configuration, four steps on `folder`."""

    def make(**overrides):
        fields = {key.replace("__", "."): value for key, value in overrides.items()}
        return tiny_config({**OF_FOLDER, "data.dir": str(folder), **fields})

    return make


@pytest.fixture(scope="session")
def environment(shared_directory) -> dict[str, str]:
    """Of programs as users start them, on one device; all of them have one compilation cache."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_NUM_CPU_DEVICES"}
    return environment | {
        "JAX_COMPILATION_CACHE_DIR": str(shared_directory / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PLATFORMS": "cpu",
    }


@pytest.fixture(scope="session")
def shared_directory(tmp_path_factory):
    """A temporary directory of all workers."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def trained_run(shared_directory):
    """The run directory of a small U-Net, a few steps on synthetic scenes; all workers share it, none may change it."""
    place = shared_directory / "trained_run"
    with filelock.FileLock(shared_directory / "trained_run.lock"):
        if not (place / "done").exists():
            from configs import synthetic_unet
            from seg_jax.train.loop import train_and_evaluate

            config = synthetic_unet.get_config()
            config.update_from_flattened_dict(
                {
                    "data.size": (48, 64),
                    "data.synthetic.train_scenes": 64,
                    "data.synthetic.val_scenes": 8,
                    "model.encoder.width": 8,
                    "model.encoder.depth": 3,
                    "train.batch_size": 8,
                    "eval.batch_size": 8,
                    "train.steps": 40,
                    "eval.every_steps": 20,
                    "optim.warmup_steps": 4,
                    "log.tensorboard": False,
                }
            )
            train_and_evaluate(config, place)
            (place / "done").touch()
    return place
