"""ONNX with 8-bit integers: weights and activations quantized by ONNX Runtime, calibrated on training images."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from seg_jax import data
from seg_jax.config import ConfigError
from seg_jax.data.images import DataError
from seg_jax.data.labels import LabelError
from seg_jax.data.sampler import spread
from seg_jax.export.network import Network
from seg_jax.runtime import seal

MAX_IMAGES = 32  # calibration images


def calibration_images(network: Network) -> Iterator[np.ndarray]:
    """Photographs [h w c] in 0..255, spread evenly over the run's training split.

    Raises:
      ConfigError: the split cannot be loaded.
    """
    config = network.functions.config
    try:
        examples = data.load(config, config.data.train_split)
    except (ConfigError, DataError, LabelError, ImportError, OSError) as error:
        raise ConfigError(
            "--int8 measures the ranges of activations on training images, and the split "
            f"{config.data.train_split!r} cannot be used: {error} Bring the data back, or export without --int8."
        ) from error
    for index in spread(len(examples), MAX_IMAGES):
        yield examples.read(index)[0]


def quantize(model: Path, out: Path, images: Iterator[np.ndarray]) -> None:
    """Static quantization of convolutions and matrix products, with a scale for every output channel.

    Args:
      model: an exported ONNX file.
      out: the quantized file to write.
      images: calibration images [h w c], on which the ranges of activations are measured.
    """
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(images, None)
            return None if image is None else {"image": image[None]}

    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it recommends a preprocessing that this model has been through
    try:
        quantization.quantize_static(
            model,
            out,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATORS),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    finally:
        logger.setLevel(level)
    seal.seal(out)


OPERATORS: Sequence[str] = ("Conv", "ConvTranspose", "MatMul", "Add", "Concat", "MaxPool", "Resize")
