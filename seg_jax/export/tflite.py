"""TFLite (LiteRT), for telephones and small computers: one image of one size."""

from __future__ import annotations

import zipfile
from pathlib import Path

import jax.numpy as jnp

from seg_jax.export.network import Network


def write(network: Network, path: Path) -> None:
    """Writes the model for images [1 h w 3] of the network's size, the documents appended as a zip archive.

    That is how TFLite files carry associated files: the runtime does not look behind the model.
    """
    import tensorflow as tf

    run, weights = network.function("accelerator"), network.weights
    image = jnp.zeros((1, *network.metadata["size"], 3), jnp.uint8)
    converter = tf.lite.TFLiteConverter.experimental_from_jax([lambda image: run(weights, image)], [[("image", image)]])
    path.write_bytes(converter.convert())
    with zipfile.ZipFile(path, "a") as archive:
        for name, text in network.documents.items():
            archive.writestr(name, text)
