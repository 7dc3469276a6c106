"""The command line: recipes by name, files old and new, overrides, and errors of one line."""

import re

import pytest
from absl import flags as absl_flags

from configs import default
from seg_jax.config import Config, ConfigError, checked, flags, flatten, with_fields

# How ml_collections loads a configuration file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

OLD = """from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    c = default.get_config()
    c.model.name = "fpn"
    c.augment.update({"flip": 0.0})
    return c
"""
WHOLE = """from ml_collections import ConfigDict

from configs import default


def get_config():
    return ConfigDict(default.get_config().to_dict())
"""


def read(*arguments, recorded=None):
    """The checked configuration of a command line."""
    values, line = absl_flags.FlagValues(), ["program", *map(str, arguments)]
    holder = flags.define(values, line, recorded=recorded)
    assert flags.parse(values, line) == ["program"]
    return checked(holder.value)


def written(tmp_path, content):
    path = tmp_path / "mine.py"
    path.write_text(content)
    return path


def test_overrides_have_the_types_of_their_fields():
    found = read(
        "--config=default",
        "--config.optim.lr=0.25",
        "--config.augment.crop=(32,64)",
        "--config.log.tensorboard=False",
        "--noconfig.eval.averaged",
        "--config.data.cityscapes.cities=('ulm', 'bonn')",
        "--config.loss.class_weights=median_frequency",
        "--config.optim.groups=(('encoder/.*', 0.1, 1.0),)",
        "--config.train.epochs=3",
        "--config.data.dir",
        "a b",
    )
    expected = {
        "optim.lr": 0.25,
        "augment.crop": (32, 64),
        "log.tensorboard": False,
        "eval.averaged": False,
        "data.cityscapes.cities": ("ulm", "bonn"),
        "loss.class_weights": ("median_frequency",),
        "optim.groups": (("encoder/.*", 0.1, 1.0),),
        "train.epochs": 3.0,
        "data.dir": "a b",
    }
    assert flatten(found) == flatten(default.get_config()) | expected


@pytest.mark.parametrize("spelling", [["--config=zoo:fpn,resnet34,camvid"], ["--config", "zoo:fpn,resnet34,camvid"]])
def test_a_recipe_is_found_by_its_name_from_anywhere(tmp_path, monkeypatch, spelling):
    monkeypatch.chdir(tmp_path)
    found = read(*spelling, "--config.data.dir=x")
    assert (found.model.name, found.model.encoder.name, found.data.labels) == ("fpn", "resnet34", "camvid")


def test_a_file_in_the_way_of_a_recipe_is_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zoo").write_text(
        "from seg_jax.config import Config\n\n\ndef get_config(a):\n    return Config(seed=int(a))\n"
    )
    assert read("--config=zoo:7").seed == 7


@pytest.mark.parametrize(("content", "model", "flip"), [(OLD, "fpn", 0.0), (WHOLE, "unet", 0.5)], ids=["old", "whole"])
def test_files_of_earlier_versions_are_read(tmp_path, content, model, flip):
    found = read(f"--config={written(tmp_path, content)}", "--config.optim.lr=1", "--config.augment.crop=(32, 64)")
    assert type(found) is Config
    assert found == with_fields(
        Config(), {"model.name": model, "augment.flip": flip, "optim.lr": 1.0, "augment.crop": (32, 64)}
    )


def test_a_recorded_configuration_is_changed_and_stays():
    recorded = with_fields(Config(), {"optim.lr": 0.5})
    found = read("--config.eval.resolution=original", recorded=recorded)
    assert (found.eval.resolution, found.optim.lr) == ("original", 0.5)
    assert recorded.eval.resolution == "network"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=camvid_unett"], "no file 'camvid_unett', and no recipe of that name. Did you mean 'camvid_unet'?"),
        (["--config=configs/camvid.py"], "there is no file 'configs/camvid.py'"),
        (["--config=zoo:unet,plain,camvit"], "'camvit' is not one of camvid, cityscapes,"),
        (["--config=zoo:a,b,c,d"], "has 4 parts; it is architecture,encoder,dataset."),
        (["--config=camvid_unet:more"], "takes 0 positional arguments but 1 was given"),
        (["--config=default", "--config.optim.lrr=1"], 'config.optim has no field "lrr". Did you mean "lr"?'),
        (["--config=default", "--config.modle.name=fpn"], 'config has no field "modle". Did you mean "model"?'),
        (["--config=default", "--config.optim.items=1"], 'config.optim has no field "items".'),
        (["--config=default", "--config.model=fpn"], "config.model is a group of fields. Set one of them: --config"),
        (["--config=default", "--config.optim.lr=fast"], "config.optim.lr = 'fast': this is a number. Use a value"),
        (["--config=default", "--config.train.steps=1e3"], "config.train.steps = '1e3': this is a whole number."),
        (["--config=default", "--config.eval.flip=perhaps"], "config.eval.flip = 'perhaps': this is True or False."),
        (["--config=default", "--config.augment.crop=3"], "config.augment.crop = (3,): a size is (height, width)"),
        (["--config.optim.lr=1", "--config=default"], "before a value for --config was specified"),
        (["--config=default", "--config.epochs=3"], 'has no field "epochs". Did you mean --config.train.epochs=3?'),
        (["--config=default", "--config.seed.x=3"], "config.seed.x: config.seed is a field, not a group."),
        (["--config=default", "--what=1"], "Unknown command line flag 'what'."),
        (["--config=default", "--confg=3"], "Unknown command line flag 'confg'. Did you mean --config?"),
        (["--config=default", "--epochs=3"], "flag 'epochs'. Did you mean --config.train.epochs=3?"),
        (["--config=default", "--epoch", "3"], "flag 'epoch'. Did you mean --config.train.epochs?"),
        (["--lr=1", "--config=default"], "'lr'. Did you mean --config.optim.lr=1 or --config.finetune.lr=1?"),
        (["--config=default", "--batch-size=8"], "--config.train.batch_size=8 or --config.eval.batch_size=8?"),
    ],
)  # fmt: skip
def test_wrong_command_lines_are_explained_in_a_line(arguments, message):
    with pytest.raises(ConfigError) as error:
        read(*arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value)[-1] in ".?"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def get_config():\n    return 1 / 0\n", "{path}:2: ZeroDivisionError: division by zero."),
        ("import nothing_like_this\n", "{path}:1: ModuleNotFoundError: No module named 'nothing_like_this'."),
        ("x = 1\n", "{path} is no configuration: it has no function get_config()."),
        ("def get_config():\n    pass\n", "{path}: get_config() returns None, which is no configuration. End it"
            " with `return c`."),
        (
            "from seg_jax.config import Config\ndef get_config():\n    c = Config()\n    c.optim.lrr = 1\n    return c",
            '{path}:4: config.optim has no field "lrr". Did you mean "lr"?',
        ),
        (
            "from seg_jax.config import Config\ndef get_config():\n    c = Config()\n    c.optim.lr = ''\n    return c",
            "{path}:4: config.optim.lr = '': this is a number. Use a value such as 0.001.",
        ),
        ("def get_config():\n    return {'optim': {'lrr': 1}}", 'config.optim has no field "lrr". Did you mean "lr"?'),
    ],
)  # fmt: skip
def test_a_wrong_file_is_explained_with_its_line(tmp_path, content, message):
    path = written(tmp_path, content)
    with pytest.raises(ConfigError) as error:
        read(f"--config={path}")
    assert str(error.value) == message.format(path=path)


def test_a_file_that_is_no_python_is_explained(tmp_path):
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path / 'mine.py'}")) as error:
        read(f"--config={written(tmp_path, 'x = (')}")
    assert "never closed" in str(error.value)
    assert "\n" not in str(error.value)
