"""Recipes by name, and a package without them that opens a run all the same."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from configs import camvid_unet, default, zoo
from seg_jax.config import Config, ConfigError, checked, flatten, recipe, recipes, to_json

ROOT = Path(__file__).resolve().parents[2]


def test_recipes_are_those_of_the_folder():
    files = [path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.py")]
    assert recipes.names() == sorted(str(path)[: -len(".py")] for path in files if path.stem != "__init__")
    assert {"camvid_unet", "default", "synthetic_unet", "zoo", "reference/pets_tfds"} <= set(recipes.names())


def test_a_recipe_is_what_its_file_gives():
    assert recipe("default") == default.get_config() == Config()
    assert recipe("camvid_unet") == camvid_unet.get_config()
    assert recipe("zoo:fpn,resnet34,camvid") == zoo.get_config("fpn,resnet34,camvid")
    assert recipe("camvid_unet").data.labels == "camvid"


def test_a_recipe_may_be_changed():
    one, other = recipe("camvid_unet"), recipe("camvid_unet")
    one.optim.lr = 7.0
    assert other.optim.lr != 7.0


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("camvid-unet", "camvid_unet"),
        ("runs/synthetic_unett.py", "synthetic_unet"),
        ("cityscapes_ids_unet", "reference/cityscapes_ids_unet"),
        ("configs/pets_tfds.py", "reference/pets_tfds"),
    ],
)
def test_an_unknown_recipe_has_a_neighbour(name, near):
    with pytest.raises(ConfigError, match=f"no recipe of that name. Did you mean '{near}'. Recipes: camvid"):
        recipe(name)


def test_the_package_alone_opens_a_run(tmp_path):
    # As a wheel does, where no configs/ is beside it.
    shutil.copytree(ROOT / "seg_jax", tmp_path / "lib" / "seg_jax", ignore=shutil.ignore_patterns("__pycache__"))
    recorded = Config(seed=3).to_dict()
    del recorded["mesh"], recorded["train"]["seeds"]
    (tmp_path / "config.json").write_text(json.dumps(recorded))
    program = (
        "import sys; from pathlib import Path; from seg_jax import config\n"
        "found = config.load(Path(sys.argv[1]))\n"
        "assert Path(config.__file__).is_relative_to(Path(sys.argv[1]).parent), config.__file__\n"
        "print(config.to_json(found), end='')\n"
        "from seg_jax.config import recipes\nassert recipes.names() == []"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "config.json")],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path / "lib")},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == to_json(checked(Config(seed=3)))
    assert flatten(checked(recorded)) == flatten(Config(seed=3))


def test_an_installed_package_has_its_recipes_inside(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "configs", tmp_path / "seg_jax" / "recipes", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(recipes, "PACKAGE", tmp_path / "seg_jax")
    monkeypatch.chdir(tmp_path)
    assert recipes.find("zoo:unet").startswith(str(tmp_path / "seg_jax" / "recipes" / "zoo.py:unet"))
    assert recipe("zoo:unet,resnet34,pets").data.source == "pets"
