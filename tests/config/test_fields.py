"""Fields and groups: what assigning to them checks, what a sealed one refuses, and the page that they make."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import default
from seg_jax.config import Config, ConfigError, checked, differences, flatten, with_fields
from seg_jax.config.fields import Group, declarations, field, fits
from seg_jax.config.page import page

ROOT = Path(__file__).resolve().parents[2]


class Sample(Group, path="sample"):
    """A group of one field."""

    rate: float = field(0.5, "how fast")


# ----- assigning


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("optim.lr", 1, 1.0),
        ("optim.lr", np.float32(0.5), 0.5),
        ("train.steps", np.int64(7), 7),
        ("augment.crop", [32, 48], (32, 48)),
        ("augment.crop", (np.int64(32), 48), (32, 48)),
        ("optim.groups", [["encoder/.*", 0.1, 1]], (("encoder/.*", 0.1, 1),)),
        ("log.tensorboard", np.bool_(False), False),
        ("data.dir", "a", "a"),
    ],
)
def test_values_become_the_type_of_their_field(name, value, expected):
    config = Config()
    config.update_from_flattened_dict({name: value})
    found = flatten(config)[name]
    assert found == expected
    assert type(found) is type(expected)
    assert all(
        type(one) is type(other) for one, other in zip(np.atleast_1d(found), np.atleast_1d(expected), strict=True)
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("optim.lr", "fast", "config.optim.lr = 'fast': this is a number. Use a value such as 0.001."),
        ("optim.lr", None, "config.optim.lr = None: this is a number. Use a value such as 0.001."),
        ("optim.lr", True, "config.optim.lr = True: this is a number. Use a value such as 0.001."),
        ("train.steps", 1e3, "config.train.steps = 1000.0: this is a whole number. Use a value such as 0."),
        ("train.steps", True, "config.train.steps = True: this is a whole number. Use a value such as 0."),
        ("log.tensorboard", 1, "config.log.tensorboard = 1: this is True or False. Use a value such as True."),
        ("data.dir", Path("a"), f"config.data.dir = {Path('a')!r}: this is text. Use a value such as ''."),
        ("augment.crop", 32, "config.augment.crop = 32: this is a tuple. Use a value such as (0, 0)."),
        ("augment.crop", "32", "config.augment.crop = '32': this is a tuple. Use a value such as (0, 0)."),
        (
            "model.encoder",
            3,
            "config.model.encoder = 3: this is a group of fields. Set config.model.encoder.NAME instead.",
        ),
        ("optim.lrr", 1.0, 'config.optim has no field "lrr". Did you mean "lr"?'),
        ("model.encoder.widht", 8, 'config.model.encoder has no field "widht". Did you mean "width"?'),
        ("modle.name", "unet", 'config has no field "modle". Did you mean "model"?'),
        ("optim.zzz", 1.0, 'config.optim has no field "zzz".'),
        ("log.copy", 1.0, 'config.log has no field "copy".'),
    ],
)
def test_what_does_not_fit_is_refused_where_it_is_assigned(name, value, message):
    *groups, last = name.split(".")
    with pytest.raises(ConfigError) as error:
        target = Config()
        for group in groups:
            target = getattr(target, group)
        setattr(target, last, value)
    assert str(error.value) == message
    with pytest.raises(ConfigError, match=re.escape(message)):
        Config().update_from_flattened_dict({name: value})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("data.cityscapes.cities", (1, 2), "this is a tuple[str, ...]. Use a value such as ()"),
        ("eval.scales", ("a",), "these are sizes relative to the image"),
        ("eval.window", (None, 64), "a window has a height and a width of at least 32 pixels"),
        ("train.epochs", float("inf"), "this is a finite number. Use a value such as 10.0"),
        ("optim.grad_clip", float("inf"), "this is a finite number"),
        ("model.aspp_rates", (6, 0), "each of them is at least 1"),
        ("model.aspp_rates", (6, 1.5), "this is a tuple[int, ...]"),
        ("augment.randaugment", (2, "x"), "it is (number of operations, magnitude from 0 to 10)"),
        ("data.size", (True, True), "this is a tuple[int, int]"),
    ],
)
def test_what_tuples_hold_is_checked_with_the_rules(name, value, words):
    config = Config()
    config.update_from_flattened_dict({name: value})
    with pytest.raises(ConfigError, match=re.escape(words)) as error:
        checked(config)
    assert str(error.value).startswith(f"config.{name} = {value!r}: ")


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (1, int, True), (True, int, False), (1, float, True), (float("nan"), float, False), ("a", str, True),
        ((), tuple[int, ...], True), ((1, 2), tuple[int, int], True), ((1,), tuple[int, int], False),
        ([1, 2], tuple[int, int], False), (("a", 1.0), tuple[float | str, ...], True),
        ((("a", 1, 2.0),), tuple[tuple[str, float, float], ...], True),
        ((("a", 1),), tuple[tuple[str, float, float], ...], False),
    ],
)  # fmt: skip
def test_fits(value, kind, expected):
    assert fits(value, kind) is expected


# ----- groups


def test_a_group_is_its_own_dataclass():
    assert Sample(rate=2).rate == 2.0
    assert Sample() == Sample() != Sample(rate=1.0)
    assert hash(Sample()) == hash(Sample())
    assert Sample().to_dict() == {"rate": 0.5}
    assert [(name, kind, default, spec.comment) for name, kind, default, spec in declarations(Sample)] == [
        ("sample.rate", float, 0.5, "how fast")
    ]


def test_groups_are_read_and_written_like_those_of_ml_collections():
    config = default.get_config()
    config["train"]["steps"] = 5
    config.augment.update(flip=0.0, crop=(32, 32))
    config.update({"model": {"encoder": {"width": 8}}, "seed": 3})
    config.loss.focal = ConfigDict({"gamma": 1.5})
    assert (config.train.steps, config.augment.flip, config.augment.crop) == (5, 0.0, (32, 32))
    assert (config.model.encoder.width, config.model.encoder.depth, config.seed) == (8, 0, 3)
    assert dict(config.loss.focal) == {"alpha": 0.25, "gamma": 1.5}
    assert "freeze" in config.finetune
    assert "thaw" not in config.finetune


def test_no_method_is_a_field():
    # Such a field would be found in the place of the method.
    assert [
        n for n, *_ in declarations(Config) if hasattr(Group, n.split(".")[-1]) and n.split(".")[-1][0] != "_"
    ] == []


def test_two_configurations_share_nothing():
    one, other = default.get_config(), default.get_config()
    one.model.encoder.width = 3
    assert other.model.encoder.width == default.get_config().model.encoder.width != 3


# ----- checked configurations


def test_a_checked_configuration_stays_as_it_is():
    draft = default.get_config()
    config = checked(draft)
    for change in (lambda: setattr(config.optim, "lr", 0.5), lambda: config.update_from_flattened_dict({"seed": 1})):
        with pytest.raises(ConfigError, match=r"cannot be changed to .*Use config\.with_fields"):
            change()
    draft.optim.lr = 0.5
    assert config.optim.lr == 1e-3
    with pytest.raises(ConfigError, match="cannot be changed"):
        copy.deepcopy(config).optim.lr = 0.5


def test_a_checked_configuration_with_other_values_is_checked_too():
    config = checked(default.get_config())
    other = with_fields(config, {"optim.lr": 0.5, "augment.crop": [32, 48]})
    assert differences(other, config) == {"optim.lr": (0.5, 1e-3), "augment.crop": ((32, 48), (0, 0))}
    with pytest.raises(ConfigError, match=re.escape("config.optim.lr = -1.0: the learning rate is positive")):
        with_fields(config, {"optim.lr": -1})
    with pytest.raises(ConfigError, match=r"Set both loss\.teacher=RUN"):
        with_fields(config, {"loss.teacher": "runs/one"})
    changeable = other.copy()
    changeable.optim.lr = 0.25
    assert (changeable.optim.lr, other.optim.lr) == (0.25, 0.5)


def test_a_mapping_of_some_fields_becomes_a_configuration():
    made = checked(ConfigDict({"optim": {"lr": 1}, "data": {"cityscapes": {"cities": ("ulm",)}}}))
    assert flatten(made) == flatten(with_fields(Config(), {"optim.lr": 1.0, "data.cityscapes.cities": ("ulm",)}))
    with pytest.raises(AttributeError, match=r'config\.data has no field "sourse"\. Did you mean "source"'):
        checked({"data": {"sourse": "folder"}})


# ----- the page


def test_the_page_of_all_fields_is_up_to_date():
    # python -m seg_jax.config > docs/configuration.md
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == page()


def test_the_page_has_a_row_for_each_field():
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert sorted(re.match(r"\| `([\w.]+)`", row)[1] for row in rows) == list(flatten(Config()))
    assert {len(re.split(r"(?<!\\)\|", row)) for row in rows} == {7}
    lr = next(row for row in rows if row.startswith("| `optim.lr`"))
    assert lr == "| `optim.lr` | `float` | `0.001` | learning rate after warm-up | the learning rate is positive |"
    assert "| `log.every_steps` †" in page()
