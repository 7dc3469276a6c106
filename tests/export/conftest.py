"""Run directories with networks of random weights: what an export needs of a training, without the training."""

from pathlib import Path

import jax
import numpy as np
import pytest

from seg_jax import config as configs
from seg_jax import data
from seg_jax.data.images import write_image
from seg_jax.export.network import Network
from seg_jax.run import pretrained, program
from seg_jax.run.saving import CheckpointWriter
from seg_jax.runtime import sharding
from seg_jax.steps.state import TrainState


def random_weights(like):
    """Weights as large as training makes them; no statistic of batch norm is 0 or 1, which would hide its part."""
    rng = np.random.default_rng(0)

    def draw(path, array):
        name = jax.tree_util.keystr(path)
        if "var" in name or "scale" in name:
            return rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
        deviation = (2 / np.prod(array.shape[:-1])) ** 0.5 if len(array.shape) > 1 else 0.3
        return (deviation * rng.normal(size=array.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, like)


@pytest.fixture(scope="session")
def make_run(tiny_config, tmp_path_factory):
    """make_run({'model.name': 'unet', ...}) -> a run directory; `image_size` is None at the photographs' own scale."""

    def make(overrides=None, image_size=(32, 32)) -> Path:
        run = tmp_path_factory.mktemp("run")
        config = pretrained.resolve(tiny_config(overrides))
        table = data.load(config, "val").table
        functions = program.Functions(config, classes=len(table), mesh=sharding.make_mesh(1))
        weights = random_weights(functions.abstract_state.weights(averaged=False))
        (run / "config.json").write_text(configs.to_json(config))
        (run / "class_names.json").write_text(table.to_json())
        write_image(run / "sample.png", data.load(config, "val").read(0)[0])
        checkpoints = CheckpointWriter(run / "checkpoints")
        state = TrainState.begin(weights["params"], weights["model_state"], {}, averaged=config.optim.ema > 0)
        checkpoints.save(state, {"image_size": image_size and [*image_size]}, score=0.5)
        checkpoints.close()
        return run

    return make


@pytest.fixture(scope="session")
def run(make_run):
    """That of a tiny U-Net."""
    return make_run()


@pytest.fixture(scope="session")
def network(run):
    """That of `run`, as it is exported without options."""
    return Network.load(run)
