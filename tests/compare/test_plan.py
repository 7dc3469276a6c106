"""Which runs a grid, a random part of it or a list stands for, what they are called, and what is refused."""

import re

import pytest

from seg_jax.compare.plan import MOST_CHARACTERS, name_of, plan
from seg_jax.config import ConfigError, checked
from seg_jax.config import flags as config_flags

# How ml_collections loads a configuration file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

BASE = ("--config=synthetic_unet", "--config.model.encoder.width=4", "--config.model.encoder.depth=2")


def planned(*over, listed=(), count=None, seed=0, base=BASE):
    return plan(base, over=over, listed=listed, count=count, seed=seed)


def test_a_grid_is_every_combination_in_order():
    made = planned("model.name=unet,segnet", "optim.lr=0.1,0.01")
    assert [run.name for run in made.runs] == ["unet-lr=0.1", "unet-lr=0.01", "segnet-lr=0.1", "segnet-lr=0.01"]
    assert [(run.config.model.name, run.config.optim.lr) for run in made.runs] == [
        *(("unet", 0.1), ("unet", 0.01), ("segnet", 0.1), ("segnet", 0.01))
    ]
    assert made.runs[1].arguments == (*BASE, "--config.model.name=unet", "--config.optim.lr=0.01")
    for run in made.runs:
        assert checked(config_flags.read(run.arguments)[0]) == run.config
    assert not made.refused


def test_values_with_commas_and_without_text():
    made = planned("data.size=(32, 48),(0, 0)", "loss.teacher=")
    assert [run.config.data.size for run in made.runs] == [(32, 48), (0, 0)]
    assert all(re.fullmatch(r"size=_[0-9_]+-teacher=-[0-9a-f]{6}", run.name) for run in made.runs)
    assert [run.title for run in made.runs] == ["size=(32, 48)-teacher=", "size=(0, 0)-teacher="]


def test_a_list_has_its_own_runs_after_the_grid():
    made = planned("model.name=unet", listed=["optim.lr=0.5 data.size='(32, 48)'", "model.name=unet"])
    assert [run.fields for run in made.runs] == [
        {"model.name": "unet"},
        {"optim.lr": "0.5", "data.size": "(32, 48)"},
    ]


def test_a_random_part_grows_without_replacing_runs():
    axes = ("model.name=unet,segnet", "optim.lr=0.1,0.2,0.3", "seed=1,2")
    three, five = ([run.name for run in planned(*axes, count=count, seed=1).runs] for count in (3, 5))
    assert five[:3] == three and len(set(five)) == 5
    assert [run.name for run in planned(*axes, count=3, seed=2).runs] != three
    assert len(planned("optim.lr=0.1,0.2", count=9).runs) == 2  # there are no more


def test_a_refused_combination_is_named_and_left_out():
    made = planned("model.name=unet,fcn8s", "model.encoder.depth=1,3")
    assert [run.name for run in made.runs] == ["unet-depth=1", "unet-depth=3", "fcn8s-depth=3"]
    assert list(made.refused) == ["fcn8s-depth=1"]
    assert "needs features at 3 strides" in made.refused["fcn8s-depth=1"]


@pytest.mark.parametrize(
    ("over", "options", "message"),
    [
        (["model.name=unet,fnc8s"], {}, r"model.name=fnc8s fits in no combination: .*'fcn8s'\?"),
        (["model.nam=unet"], {}, r"model.nam"),
        (["optim.lr=0.1,x"], {}, r"optim.lr=x fits in no combination"),
        (["model.name"], {}, r"it is FIELD=VALUE,VALUE"),
        (["optim.lr=1.0", "optim.lr=2.0"], {}, r"names a field twice"),
        ([], {}, r"nothing is varied"),
        ([], {"listed": ["model.name=fnc8s"]}, r"--run='model.name=fnc8s': .*'fcn8s'\?"),
        ([], {"listed": ["model.name"]}, r"it is FIELD=VALUE FIELD=VALUE"),
        ([], {"listed": ["a='b"]}, r"No closing quotation"),
        (["optim.lr=1.0"], {"count": 0}, r"--random=0"),
        ([], {"count": 1, "listed": ["optim.lr=1.0"]}, r"--random=1: this is how many runs of the grid"),
        (["optim.lr=x"], {"count": 1}, r"every combination is refused"),
        (["seed=" + ",".join(map(str, range(400))), "optim.lr=" + ",".join(map(str, range(400)))], {}, r"160,000"),
        (["optim.lr=0.1"], {"base": ("--config.seed=1",)}, r"--config is missing"),
        (["optim.lr=0.1"], {"base": (*BASE, "more")}, r"unknown argument 'more'"),
        (["optim.lr=0.1"], {"base": ("--config=nowhere.py",)}, r"nowhere.py"),
    ],
)
def test_wrong_use(over, options, message):
    with pytest.raises(ConfigError, match=message):
        planned(*over, **options)


# ----- names


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("0.001", "lr=0.001"),
        ("a/b", r"lr=a_b-[0-9a-f]{6}"),
        ("../..", r"lr=\.\._\.\.-[0-9a-f]{6}"),
        ("x" * 300, r"lr=x{97}-[0-9a-f]{6}"),
        ("ü", r"lr=-[0-9a-f]{6}"),
    ],
)
def test_names_are_those_of_directories(value, name):
    assert re.fullmatch(name, name_of({"optim.lr": value}, {"optim.lr": "lr"}))


@pytest.mark.parametrize("value", ["", ".", "..", ".hidden", "-x", "comparison"])
def test_no_name_is_hidden_reserved_or_a_flag(value):
    name = name_of({"model.name": value}, {"model.name": ""})
    assert re.fullmatch(r"((hidden|x|comparison)-)?[0-9a-f]{6}", name)


def test_different_values_have_different_names():
    names = {name_of({"a": value}, {"a": "a"}) for value in ("x/y", "x:y", "x_y", "x" * 200, "x" * 201)}
    assert len(names) == 5 and max(map(len, names)) <= MOST_CHARACTERS + 7
