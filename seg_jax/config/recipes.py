"""Ready-made configurations by name: `camvid_unet`, `reference/cityscapes_ids_unet`, `zoo:unet,resnet34,camvid`.

They are the files of `configs/` in a clone; a wheel has them as `seg_jax/recipes/`.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from seg_jax.config.check import draft
from seg_jax.config.default import Config
from seg_jax.config.errors import ConfigError, did_you_mean

PACKAGE = Path(__file__).resolve().parents[1]


def directory() -> Path:
    """Where the recipes are."""
    installed = PACKAGE / "recipes"
    return installed if installed.is_dir() else PACKAGE.parent / "configs"


def names() -> list[str]:
    """The names of all recipes, 'FOLDER/NAME' below a folder; none where the package was copied without them."""
    paths = (path.relative_to(directory()) for path in directory().rglob("*.py") if path.stem != "__init__")
    return sorted(path.with_suffix("").as_posix() for path in paths)


def find(text: str) -> str:
    """`PATH:ARGUMENT` for what a user calls a configuration, a recipe's name or a path; the argument is optional.

    Raises:
      ConfigError: there is no such file, nor a recipe of that name.
    """
    name, colon, argument = text.partition(":")
    if Path(name).expanduser().is_file():
        return f"{Path(name).expanduser()}{colon}{argument}"
    if name in names():
        return f"{directory() / name}.py{colon}{argument}"
    near = did_you_mean(name.removesuffix(".py"), names())
    raise ConfigError(
        f"--config={text}: there is no file {name!r}, and no recipe of that name.{near} "
        f"Recipes: {', '.join(names()) or 'none'}."
    )


def recipe(text: str) -> Config:
    """The configuration of a recipe, to be changed: `recipe("zoo:unet,resnet34,camvid")`.

    Raises:
      ConfigError: there is none of that name.
    """
    path, _, argument = find(text).partition(":")
    spec = importlib.util.spec_from_file_location(f"seg_jax_recipe_{Path(path).stem}", path)
    assert spec and spec.loader, "a Python file has a loader"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return draft(module.get_config(argument) if argument else module.get_config())
