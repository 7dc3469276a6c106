"""Configurations: typed fields, what they may be, and their JSON.

`default` has the fields, `check` makes a configuration that can be relied on, `late` adds what devices and classes
decide, `text` stores it, `recipes` finds ready
ones, `flags` reads the command line. What can be wrong in a configuration by itself is found when it is made, before
any file is read, and is reported with the value, the rule and the cure.
"""

from seg_jax.config.check import check_names, checked, draft, require, with_fields
from seg_jax.config.default import (
    AugmentConfig,
    Config,
    DataConfig,
    EvalConfig,
    FinetuneConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
)
from seg_jax.config.errors import ConfigError, did_you_mean, lookup
from seg_jax.config.fields import Size
from seg_jax.config.late import check_classes, weighting
from seg_jax.config.recipes import recipe
from seg_jax.config.text import FREE, defaults, differences, flatten, from_json, load, to_json

__all__ = [
    "FREE",
    "AugmentConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "EvalConfig",
    "FinetuneConfig",
    "LossConfig",
    "ModelConfig",
    "OptimConfig",
    "Size",
    "check_classes",
    "check_names",
    "checked",
    "defaults",
    "did_you_mean",
    "differences",
    "draft",
    "flatten",
    "from_json",
    "load",
    "lookup",
    "recipe",
    "require",
    "to_json",
    "weighting",
    "with_fields",
]
