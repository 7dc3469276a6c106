"""TFLite (LiteRT), for telephones and small computers: one image of one size."""

from __future__ import annotations

import zipfile
from functools import partial
from pathlib import Path

import jax
import jax.export

from seg_jax.config import ConfigError
from seg_jax.export import xla_call
from seg_jax.export.network import Network
from seg_jax.runtime import seal


def write(network: Network, path: Path) -> None:
    """Writes the model for images [1 h w c] of the network's size, with the documents appended as a zip archive.

    TFLite files carry associated files in this way: the runtime ignores bytes after the model.

    Raises:
      ConfigError: TFLite's converter rejects the network.
    """
    import tensorflow as tf

    run, weights, depth = network.function("tflite"), network.weights, network.depth
    shape = (1, *network.metadata["size"], depth.channels)
    traced = jax.jit(lambda image: run(weights, image))
    exported = jax.export.export(traced, platforms=["cpu"])(jax.ShapeDtypeStruct(shape, depth.dtype))
    module = tf.Module()
    module.serve = tf.function(
        partial(xla_call.call, exported),
        input_signature=[tf.TensorSpec(shape, depth.dtype, name="image")],
        autograph=False,
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.serve.get_concrete_function()], module)
    try:
        path.write_bytes(converter.convert())
    except Exception as error:  # the converter has its own exception class, with the compiler's trace
        raise ConfigError(
            f"TFLite's converter rejects the network at {network.metadata['size']}: {str(error).splitlines()[0]}. Use "
            "a larger --size, or --format=onnx."
        ) from error
    with zipfile.ZipFile(path, "a") as archive:
        for name, text in network.documents.items():
            archive.writestr(name, text)
        archive.comment = seal.BLANK.encode()
    seal.seal(path)
