"""Configurations: names, JSON, differences, and one failing case for every rule."""

import ast
import functools
import json
import operator
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict

from configs import default
from seg_jax.config import (
    ConfigError,
    check_classes,
    did_you_mean,
    differences,
    flatten,
    from_json,
    load,
    lookup,
    to_json,
)
from seg_jax.config.default import Config
from seg_jax.config.fields import declarations
from seg_jax.losses import LOSSES
from seg_jax.models import MODELS
from seg_jax.run import program

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(p.stem for p in (ROOT / "configs").glob("*.py") if p.stem != "__init__")


def config_named(name):
    """The configuration of a file; a data directory is named, which only the command line can do."""
    config = import_module(f"configs.{name}").get_config()
    config.data.dir = "data"
    return config


def changed(**fields):
    """The defaults with some fields changed: `changed(**{"optim.lr": 0.0})`."""
    config = default.get_config()
    config.update_from_flattened_dict(fields)
    return config


# ----- lookup


def test_lookup_finds():
    assert lookup({"unet": 1, "fcn": 2}, "fcn", "model.name") == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unett", "config.model.name = 'unett' is not one of: deeplabv3plus, fcn, unet. Did you mean 'unet'?"),
        ("UNet", "config.model.name = 'UNet' is not one of: deeplabv3plus, fcn, unet. Did you mean 'unet'?"),
        ("", "config.model.name = '' is not one of: deeplabv3plus, fcn, unet."),
        (5, "config.model.name = 5 is not one of: deeplabv3plus, fcn, unet."),
        ("zzz", "config.model.name = 'zzz' is not one of: deeplabv3plus, fcn, unet."),
    ],
)
def test_lookup_names_the_choices_and_the_nearest(name, message):
    with pytest.raises(ConfigError) as error:
        lookup({"unet": 1, "fcn": 2, "deeplabv3plus": 3}, name, "model.name")
    assert str(error.value) == message


@pytest.mark.parametrize(("name", "expected"), [("deeplab", " Did you mean 'deeplabv3plus'?"), ("qqqq", ""), (7, "")])
def test_did_you_mean(name, expected):
    assert did_you_mean(name, ["unet", "deeplabv3plus"]) == expected


# ----- flatten, JSON, differences


def test_flatten():
    config = ConfigDict({"model": {"name": "unet", "encoder": {"width": 8}}, "crop": [64, 96], "a": ()})
    assert flatten(config) == {"a": (), "crop": (64, 96), "model.encoder.width": 8, "model.name": "unet"}
    assert list(flatten(config)) == sorted(flatten(config))
    assert flatten(config.to_dict()) == flatten(config)


@pytest.mark.parametrize("name", CONFIGS)
def test_json_keeps_every_configuration(name):
    config = config_named(name)
    back = from_json(to_json(config))
    assert back == config
    assert {k: type(v) for k, v in flatten(back).items()} == {k: type(v) for k, v in flatten(config).items()}
    assert to_json(back) == to_json(config)


FIELDS = {field: (kind, spec) for field, kind, _, spec in declarations(Config)}
# What no rule restricts.
FREE_TEXT = [field for field, (kind, spec) in FIELDS.items() if kind is str and not spec.choices]
NOT_NEGATIVE = [
    (field, kind)
    for field, (kind, spec) in FIELDS.items()
    if kind in (int, float)
    and [rule.rule for rule in spec.rules] == ["this cannot be negative"]
    and field != "data.short_side"  # goes with a crop
]
anything = st.tuples(
    st.dictionaries(st.sampled_from([f for f in FREE_TEXT if f not in ("loss.teacher", "eval.submission")]), st.text()),
    st.fixed_dictionaries(
        {
            field: st.integers(1) if kind is int else st.floats(0, exclude_min=True, allow_infinity=False)
            for field, kind in NOT_NEGATIVE
        }
    ),
    st.fixed_dictionaries(
        {
            "data.ignore_classes": st.lists(st.text(), max_size=3).map(tuple),
            "model.aspp_rates": st.lists(st.integers(1), max_size=3, unique=True).map(tuple),
            "optim.groups": st.lists(
                st.tuples(st.text().map(re.escape), st.floats(0, 9), st.integers(0, 9)), max_size=2
            ).map(tuple),
            "loss.class_weights": st.lists(st.floats(0, 9) | st.text(), max_size=3).map(tuple),
            "log.tensorboard": st.booleans(),
        }
    ),
)


@given(anything)
def test_json_round_trip_of_anything(parts):
    fields = {name: value for part in parts for name, value in part.items()}
    config = changed(**fields)
    back = from_json(to_json(config))
    assert back == config
    assert {**flatten(back), **fields} == flatten(config)


def test_read_back_configurations_have_no_other_fields():
    with pytest.raises(AttributeError, match="modell"):
        from_json(to_json(default.get_config())).modell = 1


def test_load(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(to_json(default.get_config()), encoding="utf-8")
    assert load(path) == default.get_config()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not a run directory: it has no config.json. Pass the --workdir of a run"),
        (b'{"seed": 0', "config.json is not a configuration in JSON"),
        (b"", "config.json is not a configuration in JSON"),
        (b"[1, 2]", "config.json is not a configuration in JSON"),
        (b"\xff\xfe{}", "config.json is not a configuration in JSON"),
    ],
)
def test_load_says_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(message)) as error:
        load(path)
    assert str(tmp_path) in str(error.value)


def test_differences():
    ours = ConfigDict({"optim": {"lr": 0.1, "name": "sgd"}, "log": {"every": 5}, "crop": (8, 8), "new": 1})
    theirs = {"optim": {"lr": 0.2, "name": "sgd"}, "log": {"every": 9}, "crop": [8, 8], "old": None}
    everything = {
        "log.every": (5, 9),
        "new": (1, "(absent)"),
        "old": ("(absent)", None),
        "optim.lr": (0.1, 0.2),
    }
    assert differences(ours, theirs) == everything
    assert list(differences(ours, theirs)) == sorted(everything)
    assert differences(ours, ours) == {}


@pytest.mark.parametrize(
    ("free", "left"),
    [
        (("log.",), ["login", "optim.lr"]),  # a group, and nothing whose name begins like it
        (("log",), ["log.every", "login", "optim.lr"]),  # a field of that name, not the group
        (("optim.lr", "log.every"), ["login"]),
        (("optim.",), ["log.every", "login"]),
    ],
)
def test_free_fields_and_groups(free, left):
    ours = {"log": {"every": 1}, "login": 1, "optim": {"lr": 1}}
    theirs = {"log": {"every": 2}, "login": 2, "optim": {"lr": 2}}
    assert list(differences(ours, theirs, free=free)) == left


# ----- validate


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("devices", [1, 2])
def test_every_configuration_is_valid(name, devices):
    program.check(config_named(name), devices=devices)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("optim.lr", 1e-9),
        ("loss.label_smoothing", 0.999),
        ("augment.flip", 1.0),
        ("model.dropout", 0.999),
        ("augment.scale", (1.5, 1.5)),
        ("augment.shear", 89.0),
        ("augment.blur_sigma", (1.0, 1.0)),
        ("augment.randaugment", (1, 10)),
        ("augment.randaugment", (2, 9.5)),
        ("augment.cutmix", 1.0),
        ("augment.crop", (32, 48)),
        ("data.size", (7, 9)),
        ("eval.every_epochs", 0.0),
        ("train.steps", 1),
        ("optim.momentum", 0.0),
        ("log.every_steps", 1),
        ("model.encoder.depth", 5),
        ("model.encoder.output_stride", 8),
        ("finetune.encoder_lr", 10.0),
        ("loss.aux_weight", 0.0),
        ("loss.weights.dice", 0.01),
        ("loss.ohem.share", 1.0),
        ("loss.ohem.share", 0.0),
        ("loss.ohem.threshold", 0.0),
        ("loss.ohem.threshold", 1.0),
        ("loss.focal.gamma", 0.0),
        ("data.mean", (0.0, 0.0, 0.0)),
        ("data.mean", (1.0, 1.0, 1.0)),
        ("data.std", (1.0, 1.0, 1.0)),
        ("seed", 2**31 - 1),
        ("model.aspp_rates", ()),
    ],
)
def test_limits_are_allowed(field, value):
    program.check(changed(**{field: value}), devices=1)


# Every field that names something, and what it may name.
NAMES = {
    field: spec.choices or tuple(pkgutil.resolve_name(spec.names))
    for field, _, _, spec in declarations(Config)
    if spec.choices or spec.names
}

POSITIVE = "Use a positive number"
OFF = "Use 0 to switch it off"
PROBABILITY = ("this is a probability below 1", "Use a number in [0, 1)")
A_SIZE = ("a size is (height, width) in pixels", "Use two positive integers")
STRENGTH = ("a strength is not negative", OFF)
FACTOR = ("factors are drawn from 1 +- strength and stay positive", "Use a number in [0, 1)")
FACTORS = ("a factor is positive, at most 10", "Use 1.0")
NOT_NEGATIVE = ("this cannot be negative", OFF)

# field, bad value, rule, cure: every rule has its case, and each message has all four.
BAD = [
    ("train.batch_size", 0, "a batch has at least one image", POSITIVE),
    ("eval.batch_size", -4, "a batch has at least one image", POSITIVE),
    ("train.batch_size", 17, "split evenly over 2 devices", "Use a multiple of 2, such as 18"),
    ("eval.batch_size", 1, "split evenly over 2 devices", "Use a multiple of 2, such as 2"),
    *(
        (field, -1, *NOT_NEGATIVE)
        for field in (
            "train.steps",
            "eval.every_steps",
            "checkpoint.every_steps",
            "early_stop.patience",
            "optim.warmup_steps",
            "profile.start_step",
            "profile.steps",
            "eval.panels",
            "finetune.freeze_steps",
        )
    ),
    *(
        (field, -0.5, *NOT_NEGATIVE)
        for field in (
            "eval.every_epochs",
            "optim.grad_clip",
            "optim.weight_decay",
            "finetune.freeze_epochs",
            "finetune.lr",
            "loss.aux_weight",
        )
    ),
    *(
        (field, 0, "this is at least 1", POSITIVE)
        for field in (
            "log.every_steps",
            "checkpoint.keep_last",
            "data.threads",
            "data.prefetch",
            "model.encoder.width",
            "data.synthetic.train_scenes",
            "data.synthetic.val_scenes",
        )
    ),
    ("data.pets.val_share", 1.0, "this is a share", "Use 0.1"),
    ("data.huggingface.val_share", 1.0, "this is a share", "Use 0.1"),
    ("seed", -1, "random streams start from a number that is not negative", "Use 0 or a positive number"),
    ("seed", 2**31, "random streams start from a number of 31 bits", "Use at most 2147483647"),
    ("optim.lr", 0.0, "the learning rate is positive", "Try 1e-3"),
    ("optim.lr", -1e-3, "the learning rate is positive", "Try 1e-3"),
    ("optim.lr", float("nan"), "the learning rate is positive", "Try 1e-3"),
    ("optim.momentum", 1.0, "momentum lies in [0, 1)", "Use 0.9"),
    ("optim.momentum", -0.1, "momentum lies in [0, 1)", "Use 0.9"),
    ("loss.label_smoothing", 1.0, "smoothing lies in [0, 1)", OFF),
    ("loss.label_smoothing", -0.1, "smoothing lies in [0, 1)", OFF),
    *((f"loss.weights.{name}", -0.5, "the weight of a loss is not negative", "Use 1.0, or 0") for name in LOSSES),
    ("loss.weights.cross_entropy", float("nan"), "the weight of a loss is not negative", "Use 1.0, or 0"),
    ("loss.weights.cross_entropy", float("inf"), "the weight of a loss is not negative", "Use 1.0, or 0"),
    ("loss.weights.cross_entropy", 0.0, "at least one of loss.weights is positive", "Use 1.0"),
    ("loss.focal.gamma", -0.1, "the exponent is not negative", "Use 2.0"),
    ("loss.focal.alpha", 0.0, "it scales the loss", "Use 0.25"),
    ("loss.ohem.share", 1.1, "this is a share of the pixels", "Use 0.1"),
    ("loss.ohem.threshold", 1.1, "this is a probability", "Use 0.7"),
    ("loss.tversky.alpha", 0.0, "errors have a positive weight", "Use 0.3 and 0.7"),
    ("loss.tversky.beta", 0.0, "errors have a positive weight", "Use 0.3 and 0.7"),
    ("loss.tversky.gamma", 0.0, "the exponent is positive", "Use 1.0"),
    ("loss.temperature", 0.0, "logits are divided by the temperature", "Use 2.0"),
    (
        "eval.submission",
        "out",
        "the evaluation server takes predictions at the size",
        "--config.eval.resolution=original",
    ),
    ("data.short_side", 512, "photographs that keep their aspect train in crops", "Set augment.crop=(512, 512)"),
    ("loss.teacher", "runs/one", "a teacher goes with a weight of distillation (now 0.0)", "or neither"),
    ("model.dropout", 1.0, *PROBABILITY),
    ("model.dropout", -0.1, *PROBABILITY),
    *(
        (f"augment.{field}", bad, "this is a probability", "Use a number in [0, 1]")
        for field in ("crop_balance", "flip", "vertical_flip", "grayscale", "blur", "cutmix", "classmix")
        for bad in (-0.1, 1.1)
    ),
    ("model.encoder.output_stride", 4, "it is 8, 16 or 32", "Use 0 for the architecture's own"),
    ("model.encoder.depth", 6, "the resolution is halved 1 to 5 times", "Use 0 for the usual depth"),
    ("model.encoder.alpha", 0.0, "it multiplies the channels", "Use 1.0, 0.5 or 0.35"),
    ("model.head_kernel", 2, "it is 1 or 3", "Use 1"),
    *((f"finetune.{field}", bad, *FACTORS) for field in ("encoder_lr", "layer_decay") for bad in (0.0, -1.0, 10.5)),
    ("data.size", (64,), *A_SIZE),
    ("data.size", (0, 64), *A_SIZE),
    ("data.size", (-64, -64), *A_SIZE),
    ("data.size", (64.5, 64), *A_SIZE),
    ("augment.crop", (64, 64, 3), *A_SIZE),
    ("augment.crop", (64, 0), *A_SIZE),
    ("augment.scale", (2.0, 0.5), "it is (low, high) with 0 < low <= high", "Use (0.5, 2.0)"),
    ("augment.scale", (0.0, 1.0), "it is (low, high) with 0 < low <= high", "Use (0.5, 2.0)"),
    ("augment.scale", (0.5,), "it is (low, high) with 0 < low <= high", "Use (0.5, 2.0)"),
    *(
        (f"augment.{field}", -0.1, *STRENGTH)
        for field in ("translate", "brightness", "contrast", "saturation", "hue", "rotate", "shear", "noise")
    ),
    *((f"augment.{field}", 1.0, *FACTOR) for field in ("brightness", "contrast", "saturation")),
    ("augment.crop_balance", 0.5, "it chooses where crops are (augment.crop = (0, 0))", "Set augment.crop=(512, 512)"),
    ("augment.cat_max_ratio", 0.75, "it chooses where crops are", "data.cache=host, or use 1.0"),
    ("augment.cat_max_ratio", 0.0, "this is a share of the crop", "Use 0.75"),
    ("augment.shear", 90.0, "nothing is upright any more", "Use 10.0"),
    *(
        ("augment.blur_sigma", bad, "it is (low, high) with 0 < low <= high", "Use (0.1, 2.0)")
        for bad in ((2.0, 0.1), (0.0, 2.0), (1.0,))
    ),
    *(
        ("augment.randaugment", bad, "it is (number of operations, magnitude from 0 to 10)", "Use (2, 9)")
        for bad in ((2,), (-1, 9), (1.5, 9), (2, -1), (2, 10.5))
    ),
    *(("optim.ema", bad, "the decay of an average lies in [0, 1)", "Use 0.999") for bad in (-0.1, 1.0)),
    *(("optim.factor", bad, "it reduces the learning rate", "Use 0.1") for bad in (0.0, 1.0)),
    *(
        ("optim.milestones", bad, "they are shares of the run, in rising order", "Use (0.6, 0.85)")
        for bad in ((0.0,), (0.5, 1.0), (0.8, 0.2))
    ),
    *(
        ("optim.groups", bad, "each group is (regular expression", "Use (('encoder/.*', 0.1, 1.0),)")
        for bad in ((("encoder",),), ((1.0, 1.0, 1.0),), (("encoder/.*", -1.0, 1.0),))
    ),
    *(
        ("optim.groups", ((bad, 0.1, 1.0),), "a regular expression of Python", "Use an expression such as")
        for bad in ("encoder/(.*", "*", "a{99999999999999999999}")
    ),
    ("model.aspp_rates", (6, 6, 12), "its numbers differ", "Leave out those that are there twice"),
    ("model.pool_bins", (1, 1, 2), "its numbers differ", "Leave out those that are there twice"),
    ("mesh.data", 0, "it is a number of devices", "Use -1"),
    ("train.accumulate", 0, "this is at least 1", "Use a positive number"),
    ("data.mean", (0.5,), "there is one number for each of 3 channels", "Use that many numbers, or ()"),
    ("data.std", (0.5, 0.5), "there is one number for each of 3 channels", "Use that many numbers, or ()"),
    ("data.std", (0.2, 0.0, 0.2), "images are divided by it", "Use positive numbers"),
    *(
        (field, bad, "it is that of images in 0..1", "by 255: 123.675, 116.28, 103.53 are 0.485, 0.456, 0.406")
        for field, bad in (
            ("data.mean", (123.675, 116.28, 103.53)),
            ("data.mean", (0.5, -0.1, 0.5)),
            ("data.std", (58.395, 57.12, 57.375)),
        )
    ),
    *((field, "no such name", "is not one of: ", ", ".join(sorted(names))) for field, names in NAMES.items()),
]


@pytest.mark.parametrize(("field", "value", "rule", "cure"), BAD, ids=[f"{b[0]}={b[1]}" for b in BAD])
def test_bad_values_are_refused(field, value, rule, cure):
    with pytest.raises(ConfigError) as error:
        program.check(changed(**{field: value}), devices=2)
    message = str(error.value)
    assert message.startswith(f"config.{field} = {value!r}")
    assert rule in message
    assert cure in message


@pytest.mark.parametrize(
    ("field", "value"),
    [("seed", 2**31), ("data.mean", (123.675, 116.28, 103.53)), ("data.std", (58.395, 57.12, 57.375))],
)
def test_what_spoils_a_new_run_is_read_of_an_old_one(field, value):
    config = from_json(to_json(changed(**{field: value})))
    program.check(config, devices=1, new=False)


def test_a_metric_above_a_threshold_needs_one():
    with pytest.raises(ConfigError, match=r"config\.checkpoint\.metric = 'miou_above': .*Set eval\.threshold=0\.5"):
        program.check(changed(**{"checkpoint.metric": "miou_above"}), devices=1)


@pytest.mark.parametrize("head", ["sigmoid", "binary"])
def test_of_two_outcomes_both_have_a_weight(head):
    program.check(changed(**{"loss.focal.alpha": 1.0}), devices=1)
    with pytest.raises(ConfigError, match=rf"config\.loss\.focal\.alpha = 1\.0: with the head '{head}'.*Use 0\.25"):
        program.check(changed(**{"loss.focal.alpha": 1.0, "loss.head": head}), devices=1)


def test_hard_pixels_are_defined():
    nothing = {"loss.ohem.share": 0.0, "loss.ohem.threshold": 0.0}
    program.check(changed(**nothing), devices=1)
    with pytest.raises(ConfigError, match=r"config\.loss\.ohem\.share = 0\.0: a share or a threshold says .*Use 0\.1"):
        program.check(changed(**nothing, **{"loss.weights.ohem": 1.0}), devices=1)


def test_distillation_needs_a_teacher():
    with pytest.raises(
        ConfigError, match=r"config\.loss\.teacher = '': .*\(now 1\.0\).*Set both loss\.teacher=RUN and"
    ):
        program.check(changed(**{"loss.weights.distillation": 1.0}), devices=1)
    program.check(changed(**{"loss.weights.distillation": 1.0, "loss.teacher": "runs/one"}), devices=1)


def test_a_binary_head_tells_two_classes_apart():
    config = changed(**{"loss.head": "binary"})
    check_classes(config, classes=2)
    with pytest.raises(ConfigError, match=r"config\.loss\.head = 'binary': one logit .* the data has 3\. Use softmax"):
        check_classes(config, classes=3)


def test_a_run_has_a_length():
    with pytest.raises(ConfigError, match=re.escape("config.train.steps = 0: the run has a length")) as error:
        program.check(changed(**{"train.steps": 0, "train.epochs": 0.0}), devices=1)
    assert "(now 0.0)" in str(error.value)
    program.check(changed(**{"train.steps": 5, "train.epochs": 0.0}), devices=1)


def test_crops_are_multiples_of_the_stride():
    with pytest.raises(ConfigError) as error:
        program.check(changed(**{"augment.crop": (100, 128), "model.encoder.output_stride": 16}), devices=1)
    assert str(error.value) == (
        "config.augment.crop = (100, 128): height and width of training crops are multiples of "
        "model.encoder.output_stride = 16. Use (112, 128)."
    )
    program.check(changed(**{"augment.crop": (112, 128), "model.encoder.output_stride": 16}), devices=1)


def test_crops_are_multiples_of_what_the_network_has_of_the_stride():
    fields = {"model.encoder.depth": 2, "model.encoder.output_stride": 32}  # as `pretrained.resolve` leaves it
    program.check(changed(**{"augment.crop": (20, 36)}, **fields), devices=1)
    with pytest.raises(ConfigError, match=r"\(20, 34\): .* multiples of the network's reduction = 4\. Use \(20, 36\)"):
        program.check(changed(**{"augment.crop": (20, 34)}, **fields), devices=1)


POOLED = [
    ("deeplabv3", {}),
    ("deeplabv3plus", {}),
    ("pspnet", {}),
    ("upernet", {}),
    ("pspnet", {"model.pool_bins": (2, 1)}),
]
SPREAD = [
    *((name, {}) for name in sorted(MODELS) if name not in dict(POOLED)),
    *((name, {"model.pool_bins": (2, 3)}) for name in ("pspnet", "upernet")),
    ("pspnet", {"model.encoder.style": "smp", "model.encoder.name": "resnet18"}),
    *((name, {"model.norm": norm}) for name, _ in POOLED for norm in ("group", "frozen", "none")),
]
ONE_IMAGE = [{"train.batch_size": 1}, {"train.batch_size": 4, "train.accumulate": 4}]


@pytest.mark.parametrize("batch", ONE_IMAGE, ids=str)
@pytest.mark.parametrize(("name", "fields"), POOLED)
def test_batch_statistics_of_one_value_are_refused(name, fields, batch):
    fields = {"model.name": name, "eval.batch_size": 4, **fields}
    with pytest.raises(ConfigError) as error:
        program.check(changed(**fields, **batch), devices=1)
    assert str(error.value) == (
        f"config.train.batch_size = {batch['train.batch_size']}: model.norm = 'batch' takes the statistics of 1 image "
        f"at a time (train.accumulate = {batch['train.batch_size']}), and {name} pools it to a single value, whose "
        "variance is 0. Use a larger batch, a smaller train.accumulate, or model.norm=group or frozen."
    )
    # Statistics are those of all devices together, two images at a time.
    twice = {**batch, "train.batch_size": 2 * batch["train.batch_size"]}
    program.check(changed(**fields, **twice), devices=2)


@pytest.mark.parametrize(("name", "fields"), SPREAD)
def test_one_image_is_enough_where_no_map_has_one_value(name, fields):
    for batch in ONE_IMAGE:
        program.check(changed(**{"model.name": name, **fields, **batch}), devices=1)


def test_epochs_are_not_negative_even_when_unused():
    with pytest.raises(ConfigError, match=re.escape("config.train.epochs = -1.0: this cannot be negative")):
        program.check(changed(**{"train.steps": 5, "train.epochs": -1.0}), devices=1)


def test_a_folder_needs_a_directory():
    with pytest.raises(ConfigError, match=r"config.data.dir = '': the source 'folder' reads .* Pass --config.data.dir"):
        program.check(changed(**{"data.source": "folder"}), devices=1)
    program.check(changed(**{"data.source": "folder", "data.dir": "somewhere"}), devices=1)


NUMBERS = sorted(k for k, v in flatten(default.get_config()).items() if type(v) in (int, float) and k != "mesh.data")


@pytest.mark.parametrize("field", NUMBERS)
def test_no_number_may_be_negative(field):
    value = -type(flatten(default.get_config())[field])(1)
    config = changed(**{"train.steps": 1, field: value})
    with pytest.raises(ConfigError, match=re.escape(f"config.{field} = {value!r}")):
        program.check(config, devices=1)


def test_every_name_is_allowed():
    for field, names in NAMES.items():
        for name in names:
            program.check(changed(**{field: name, "data.dir": "x", "eval.threshold": 0.5}), devices=1)


def test_every_field_that_names_something_has_its_names():
    named = ("data.source", "model.name", "model.encoder.name", "optim.name", "loss.head", "data.pets.border")
    assert set(named) < set(NAMES)
    assert [field for field, names in NAMES.items() if len(names) < 2] == []


@pytest.mark.parametrize(
    ("weights", "classes", "holds"),
    [
        ((), 3, True),
        ((1.0, 0.0, 2.0), 3, True),
        ((1.0, 1.0), 3, False),
        ((1.0, -1.0, 2.0), 3, False),
        (("median_frequency",), 3, True),  # to be replaced by numbers
        (("median_frequency", "inverse_log"), 2, False),
    ],
)
def test_check_classes(weights, classes, holds):
    config = changed(**{"loss.class_weights": weights})
    if holds:
        check_classes(config, classes=classes)
        return
    with pytest.raises(ConfigError) as error:
        check_classes(config, classes=classes)
    assert str(error.value) == (
        f"config.loss.class_weights = {weights!r}: there is one non-negative weight for each of the {classes} "
        f"classes. Use {classes} numbers, the name of a scheme such as 'median_frequency', or () for none."
    )


# ----- every field does something


def chains(sources):
    """Attribute chains such as 'self.config.model.name' that the sources read."""
    return {
        ast.unparse(node)
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


def unread(config, sources):
    """Fields that no source reads, be it as config.GROUP.FIELD or as GROUP.FIELD of an argument named GROUP."""
    read = chains(sources)
    missing = []
    for field in flatten(config):
        spellings = [field if "." in field else f"config.{field}"]
        if field.startswith("augment."):  # as `seg_jax.augment` calls the group
            spellings.append(field.replace("augment.", "spec."))
        if field.removeprefix("loss.weights.") in LOSSES:  # read all at once, by the names in that table
            spellings.append("loss.weights")
        if not any(re.search(rf"(^|\.){re.escape(s)}$", chain) for s in spellings for chain in read):
            missing.append(field)
    return missing


def sources():
    # config/ checks fields, which is not yet using them.
    files = [p for p in (ROOT / "seg_jax").rglob("*.py") if ROOT / "seg_jax" / "config" not in p.parents]
    return [path.read_text(encoding="utf-8") for path in files]


def test_every_field_is_read():
    assert unread(default.get_config(), sources()) == []


@pytest.mark.parametrize(
    "field", ["unused", "model.unused", "model.encoder.unused", "log.name", "augment.size", "loss.weights.x"]
)
def test_an_unread_field_is_noticed(field):
    # 'log.name' and 'augment.size': other groups have such a field, which is not enough.
    config = default.get_config().to_dict()
    *groups, name = field.split(".")
    functools.reduce(operator.getitem, groups, config)[name] = 1
    assert unread(config, sources()) == [field]


def test_every_field_is_explained():
    assert sorted(FIELDS) == list(flatten(default.get_config()))
    assert [field for field, (_, spec) in FIELDS.items() if not re.search(r"\w", spec.comment)] == []
    assert [field for field, (_, spec) in FIELDS.items() if "\n" in spec.comment or spec.comment.endswith(".")] == []


def test_a_batch_is_divided_by_devices_and_parts():
    config = changed(**{"train.batch_size": 12, "eval.batch_size": 12, "train.accumulate": 4})
    program.check(config, devices=3)
    with pytest.raises(
        ConfigError, match=r"train\.batch_size = 12: .* 2 devices, in 4 parts .*a multiple of 8, such as 16"
    ):
        program.check(config, devices=2)


def test_a_run_of_an_earlier_version_gets_the_fields_that_came_later(tmp_path):
    config = default.get_config()
    config.optim.lr = 0.125
    old = config.to_dict()
    del old["train"]["seeds"], old["mesh"], old["data"]["tfds"]["name"]
    (tmp_path / "config.json").write_text(json.dumps(old))
    found = load(tmp_path / "config.json")
    assert flatten(found) == flatten(config)
    with pytest.raises(AttributeError):
        found.train.sedes = 1
