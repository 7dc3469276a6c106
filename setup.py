"""The packages of a wheel; all else is in pyproject.toml, where a package cannot be a folder of another name."""

from setuptools import find_packages, setup

# The recipes of configs/ are `seg_jax.recipes` in a wheel, so that `--config=camvid_unet` finds them.
recipes = ["seg_jax.recipes", *(f"seg_jax.recipes.{folder}" for folder in find_packages("configs"))]
setup(packages=[*find_packages(include=["seg_jax*"]), *recipes], package_dir={"seg_jax.recipes": "configs"})
