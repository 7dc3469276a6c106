"""Fine-tuning through the loop: frozen encoders do not move by a bit, phases change where they should."""

import shutil

import jax
import numpy as np
import pytest

from seg_jax import optim
from seg_jax.config import ConfigError
from seg_jax.run import length, program
from seg_jax.runtime import sharding
from seg_jax.train.loop import train_and_evaluate
from tests.runs import lines, manifest

HARD = {"optim__lr": 0.05, "optim__weight_decay": 0.1, "optim__name": "sgd", "optim__momentum": 0.9}


def arrays(state, part):
    """Parameters, statistics and optimizer state of one part."""
    model_state = {name: tree[part] for name, tree in state.model_state.items()}
    return jax.device_get((state.params[part], model_state, state.opt_state[part]))


def start_of(config):
    functions = program.Functions(config, classes=3, mesh=sharding.make_mesh())
    return functions.init()


@pytest.mark.parametrize("name", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("sgd", "adam")), "adamw"])
def test_a_frozen_encoder_does_not_move_by_a_bit(config_for, tmp_path, name):
    config = config_for(finetune__freeze=True, **{**HARD, "optim__name": name})
    config.data.mean, config.data.std = (0.5,) * 3, (0.5,) * 3
    before = start_of(config)
    kept, changed = arrays(before, "encoder"), jax.device_get(before.params["decoder"])
    state = train_and_evaluate(config, tmp_path / "run")
    assert int(state.step) == 4
    jax.tree.map(np.testing.assert_array_equal, kept, arrays(state, "encoder"))
    moved = jax.tree.map(lambda a, b: (a != b).any(), changed, jax.device_get(state.params["decoder"]))
    assert all(jax.tree.leaves(moved))


@pytest.mark.slow
def test_the_second_phase_trains_everything_at_its_own_rate(config_for, tmp_path):
    fields = {
        **HARD,
        "optim__schedule": "constant",
        "log__every_steps": 1,
        "finetune__freeze_steps": 2,
        "finetune__lr": 0.01,
    }
    config = config_for(**fields)
    config.data.mean, config.data.std = (0.5,) * 3, (0.5,) * 3
    before = arrays(start_of(config), "encoder")
    state = train_and_evaluate(config, tmp_path / "run")
    moved = jax.tree.map(lambda a, b: (a != b).any(), before[:2], arrays(state, "encoder")[:2])
    assert all(jax.tree.leaves(moved))
    rates = [rate for _, rate in lines(tmp_path / "run", "train/lr")]
    assert rates == pytest.approx([0.05, 0.05, 0.01, 0.01])


# After the second step begins the second phase.
@pytest.mark.parametrize("stop", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)])
def test_resuming_across_the_phases_gives_the_same_bits(config_for, tmp_path, stop):
    fields = {**HARD, "finetune__freeze_steps": 2, "finetune__lr": 0.01, "checkpoint__every_steps": 1}
    fields |= {"checkpoint__keep_last": 4, "optim__name": "adamw"}
    train_and_evaluate(config_for(**fields), tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    for step in range(stop + 1, 5):
        shutil.rmtree(tmp_path / "resumed" / "checkpoints" / str(step))
    train_and_evaluate(config_for(**fields), tmp_path / "resumed")
    assert manifest(tmp_path / "resumed", 4) == manifest(tmp_path / "whole", 4)


def test_rates_by_part_and_stage():
    kernel = np.zeros((2, 2), np.float32)
    params = {"encoder": {"stem": {"k": kernel}, "stage1_block2": {"k": kernel}, "stage3": {"k": kernel}}}
    rates = optim.stage_rates({**params, "decoder": {"head": {"k": kernel}}}, encoder_lr=0.5, layer_decay=0.1)
    # Three stages: the third is the deepest, the stem comes before the first.
    assert rates["encoder"]["stage3"]["k"] == 0.5
    assert rates["encoder"]["stage1_block2"]["k"] == pytest.approx(0.5 * 0.1**2)
    assert rates["encoder"]["stem"]["k"] == pytest.approx(0.5 * 0.1**3)
    assert rates["decoder"]["head"]["k"] == 1.0


def test_a_second_rate_needs_a_second_phase(config_for, tmp_path):
    for fields in ({}, {"finetune__freeze_steps": 4}, {"finetune__freeze": True}):
        with pytest.raises(ConfigError, match=r"config\.finetune\.lr = 0\.01: .*Set finetune\.freeze_steps"):
            train_and_evaluate(config_for(finetune__lr=0.01, **fields), tmp_path / "run")


def test_epochs_become_steps(config_for):
    config = config_for(finetune__freeze_epochs=1.5, train__steps=20)
    assert length.freeze_length(config, examples=16, steps=20) == 3  # 16 examples in batches of 8
    config = config_for(finetune__freeze=True)
    assert length.freeze_length(config, examples=16, steps=20) == 20
