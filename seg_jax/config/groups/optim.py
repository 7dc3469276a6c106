"""The optimizer, the learning rate, and fine-tuning."""

import re

from seg_jax.config.fields import Group, Rule, field
from seg_jax.config.rules import AT_LEAST_ONE, NOT_NEGATIVE

FACTOR = Rule(lambda x: 0 < x <= 10, "a factor is positive, at most 10", "Use 1.0")


def _is_expression(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except (re.error, OverflowError):  # the latter: counts such as a{99999999999}
        return False
    return True


class OptimConfig(Group, path="optim"):
    """The optimizer and its learning rate."""

    name: str = field("adamw", "the optimizer", names="seg_jax.optim:OPTIMIZERS")
    lr: float = field(
        1e-3,
        "learning rate after warm-up",
        Rule(lambda x: x > 0, "the learning rate is positive", "Try 1e-3 with adam or adamw"),
    )
    schedule: str = field("cosine", "course of the learning rate", names="seg_jax.optim.schedules:SCHEDULES")
    milestones: tuple[float, ...] = field(
        (0.6, 0.85),
        "shares of the run after which `step` reduces the rate",
        Rule(
            lambda shares: all(0 < x < 1 for x in shares) and list(shares) == sorted(shares),
            "they are shares of the run, in rising order",
            "Use (0.6, 0.85)",
        ),
    )
    factor: float = field(
        0.1,
        "by which `step` and `plateau` multiply the rate",
        Rule(lambda x: 0 < x < 1, "it reduces the learning rate", "Use 0.1"),
    )
    patience: int = field(
        5, "evaluations without a better checkpoint.metric after which `plateau` reduces the rate", AT_LEAST_ONE
    )
    warmup_steps: int = field(0, "steps of linear growth of the learning rate", NOT_NEGATIVE)
    weight_decay: float = field(1e-4, "on kernels only", NOT_NEGATIVE)
    momentum: float = field(
        0.9, "of sgd and muon", Rule(lambda x: 0 <= x < 1, "momentum lies in [0, 1)", "Use 0.9, or 0 to switch it off")
    )
    groups: tuple[tuple[str, float, float], ...] = field(
        (),
        "(regular expression for whole paths, factor of the rate, factor of the decay); the first that fits counts",
        Rule(
            lambda groups: all(
                len(g) == 3 and isinstance(g[0], str) and all(isinstance(x, int | float) and x >= 0 for x in g[1:])
                for g in groups
            ),
            "each group is (regular expression, factor of the learning rate, factor of the weight decay)",
            "Use (('encoder/.*', 0.1, 1.0),), or () for none",
        ),
        Rule(
            lambda groups: all(_is_expression(g[0]) for g in groups),
            "the first of each group is a regular expression of Python, with every bracket closed",
            "Use an expression such as 'encoder/.*', with \\ before a character that stands for itself",
        ),
    )
    ema: float = field(
        0.0,
        "decay of an average of the weights, such as 0.999, to be evaluated and used; 0: none",
        Rule(lambda x: 0 <= x < 1, "the decay of an average lies in [0, 1)", "Use 0.999, or 0 for none"),
    )
    grad_clip: float = field(0.0, "largest global norm of the gradient; 0: off", NOT_NEGATIVE)


class FinetuneConfig(Group, path="finetune"):
    """How a pretrained encoder is trained."""

    freeze: bool = field(False, "the encoder stays as it is for the whole run, its statistics too")
    freeze_steps: int = field(
        0, "steps at the start in which the encoder stays as it is; 0: see freeze_epochs", NOT_NEGATIVE
    )
    freeze_epochs: float = field(0.0, "the same in passes over the training split", NOT_NEGATIVE)
    lr: float = field(
        0.0,
        "learning rate after that, with a new warm-up and schedule; 0: optim.lr and its schedule continue",
        NOT_NEGATIVE,
    )
    encoder_lr: float = field(1.0, "learning rate of the encoder relative to the decoder's", FACTOR)
    layer_decay: float = field(1.0, "the same for each stage of the encoder relative to the next deeper one", FACTOR)
