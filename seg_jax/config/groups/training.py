"""The course of a run: steps, devices, evaluations, checkpoints, logs."""

from seg_jax.config.fields import Group, Rule, Size, field
from seg_jax.config.rules import AT_LEAST_ONE, NOT_NEGATIVE

METRICS = ("fwiou", "loss", "mean_accuracy", "mean_dice", "miou", "miou_above", "pixel_accuracy")

A_BATCH = Rule(lambda n: n > 0, "a batch has at least one image", "Use a positive number")


class TrainConfig(Group, path="train"):
    """Length and batches of the training."""

    batch_size: int = field(16, "images a step, over all devices", A_BATCH)
    steps: int = field(0, "length of the run in steps; 0: see epochs", NOT_NEGATIVE)
    epochs: float = field(10.0, "length of the run in passes over the training split", NOT_NEGATIVE)
    extend: bool = field(
        False, "where a run is resumed with a greater length: begin a new schedule where the recorded one ends"
    )
    extended_at: tuple[int, ...] = field((), "steps after which the schedule begins anew; the run records them")
    seeds: int = field(
        1,
        "networks trained side by side, each from its own seed, whose mean probabilities are the prediction",
        AT_LEAST_ONE,
    )
    steps_per_dispatch: int = field(
        1, "steps compiled as one program, so that a fast device never waits for Python", AT_LEAST_ONE
    )
    accumulate: int = field(
        1, "parts into which a batch is cut, computed one after the other to save memory", AT_LEAST_ONE
    )
    nonfinite: str = field(
        "stop",
        "at a loss or gradient that is not finite: stop, or skip the step and count it",
        choices=("skip", "stop"),
    )
    deterministic: bool = field(
        False, "bit-equal runs on one kind of machine; costs speed on a GPU, a CPU always gives them"
    )


class MeshConfig(Group, path="mesh"):
    """How devices share the work: data x model x space devices."""

    data: int = field(
        -1,
        "devices over which the images of a batch are split; -1: all that the other axes leave",
        Rule(lambda n: n == -1 or n >= 1, "it is a number of devices", "Use -1 for all that the other axes leave"),
    )
    model: int = field(
        1, "of these, devices over which large parameters and the optimizer's state are split too", AT_LEAST_ONE
    )
    space: int = field(1, "devices over which the rows of every image are split", AT_LEAST_ONE)


class EvalConfig(Group, path="eval"):
    """Evaluations during training, and those of mode eval."""

    batch_size: int = field(16, "images a step, over all devices", A_BATCH)
    every_steps: int = field(0, "evaluate after this many steps; 0: see every_epochs", NOT_NEGATIVE)
    every_epochs: float = field(1.0, "evaluate after this many passes; 0: at the end only", NOT_NEGATIVE)
    threshold: float = field(
        0.0,
        "also score each class where its probability exceeds this (miou_above); 0: not",
        Rule(lambda x: 0 <= x < 1, "this is a probability below 1", "Use 0.5, or 0 to switch it off"),
    )
    averaged: bool = field(True, "evaluate and predict with the average of the weights, where optim.ema keeps one")
    panels: int = field(4, "photographs shown as image | truth | prediction | error", NOT_NEGATIVE, free=True)
    resolution: str = field(
        "network",
        "mode eval: score at the size that the network sees, or 'original': that of each image",
        choices=("network", "original"),
        free=True,
    )
    flip: bool = field(False, "mode eval: mean over the image and its mirror image", free=True)
    scales: tuple[float, ...] = field(
        (1.0,),
        "mode eval: mean over the image at these sizes",
        Rule(
            lambda s: bool(s) and all(0.1 <= x <= 4 for x in s),
            "these are sizes relative to the image, from 0.1 to 4, at least one",
            "Use (1.0,), or (0.75, 1.0, 1.25)",
        ),
        free=True,
    )
    window: Size = field(
        (0, 0),
        "mode eval: (height, width) of windows that slide over the image; (0, 0): the whole image",
        Rule(
            lambda s: tuple(s) == (0, 0) or (len(s) == 2 and min(s) >= 32),
            "a window has a height and a width of at least 32 pixels",
            "Use (512, 512), or (0, 0) for the whole image",
        ),
        free=True,
    )
    overlap: float = field(
        0.25,
        "share that neighbouring windows have in common at least",
        Rule(lambda x: 0 <= x < 1, "neighbours share a part of a window, not all of it", "Try 0.25"),
        free=True,
    )
    submission: str = field(
        "", "mode eval: directory for predictions in the form of Cityscapes' evaluation server; '': none", free=True
    )


class EarlyStopConfig(Group, path="early_stop"):
    """Ending a run before its last step."""

    patience: int = field(0, "stop after this many evaluations without improvement; 0: never", NOT_NEGATIVE)


class CheckpointConfig(Group, path="checkpoint"):
    """Which checkpoints are kept."""

    every_steps: int = field(0, "save after this many steps, besides at each evaluation; 0: only there", NOT_NEGATIVE)
    keep_last: int = field(2, "newest checkpoints to keep, besides the best", AT_LEAST_ONE, free=True)
    metric: str = field(
        "miou",
        "the score by which a checkpoint is the best",
        choices=METRICS,
    )


class LogConfig(Group, path="log"):
    """Metrics of the training."""

    every_steps: int = field(20, "write training metrics after this many steps", AT_LEAST_ONE, free=True)
    tensorboard: bool = field(True, "write TensorBoard events; metrics.jsonl is always written", free=True)


class ProfileConfig(Group, path="profile"):
    """A window of the profiler."""

    start_step: int = field(10, "first step of the profiler's window", NOT_NEGATIVE, free=True)
    steps: int = field(0, "length of the window, written to WORKDIR/profile; 0: no profile", NOT_NEGATIVE, free=True)
