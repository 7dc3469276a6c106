"""Every field with its type and default: the groups that a configuration consists of.

A field stands in its group below `groups/`: what it is, what it may be, and why. A recipe of `configs/` is a few lines
over these defaults, `--config.GROUP.FIELD=VALUE` on the command line overrides both, and docs/configuration.md lists
them all.
"""

from seg_jax.config.fields import Group, Rule, field, group
from seg_jax.config.groups.augment import AugmentConfig
from seg_jax.config.groups.data import DataConfig
from seg_jax.config.groups.loss import LossConfig
from seg_jax.config.groups.model import ModelConfig
from seg_jax.config.groups.optim import FinetuneConfig, OptimConfig
from seg_jax.config.groups.training import (
    CheckpointConfig,
    EarlyStopConfig,
    EvalConfig,
    LogConfig,
    MeshConfig,
    ProfileConfig,
    TrainConfig,
)


class Config(Group, path=""):
    """The groups below, and what belongs to none: a draft, until `check.checked` makes one that can be relied on."""

    seed: int = field(
        0,
        "seed of the initial parameters, the order of examples, and every augmentation",
        Rule(lambda n: n >= 0, "random streams start from a number that is not negative", "Use 0 or a positive number"),
    )
    data: DataConfig = group(DataConfig)
    augment: AugmentConfig = group(AugmentConfig)
    model: ModelConfig = group(ModelConfig)
    loss: LossConfig = group(LossConfig)
    optim: OptimConfig = group(OptimConfig)
    finetune: FinetuneConfig = group(FinetuneConfig)
    train: TrainConfig = group(TrainConfig)
    mesh: MeshConfig = group(MeshConfig)
    eval: EvalConfig = group(EvalConfig)
    early_stop: EarlyStopConfig = group(EarlyStopConfig)
    checkpoint: CheckpointConfig = group(CheckpointConfig)
    log: LogConfig = group(LogConfig)
    profile: ProfileConfig = group(ProfileConfig)


def get_config() -> Config:
    """The defaults, to be changed: a small U-Net on the synthetic street scenes."""
    return Config()
