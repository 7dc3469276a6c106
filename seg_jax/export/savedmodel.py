"""SavedModel: the function of the StableHLO file inside TensorFlow, for TensorFlow Serving and its C++ loader."""

from __future__ import annotations

import tempfile
from pathlib import Path

from seg_jax.export import xla_call
from seg_jax.export.network import Network
from seg_jax.runtime import seal


def write(network: Network, path: Path) -> None:
    """Writes a directory whose signature `serving_default` takes `image` [b h w c] in 0..255; documents are assets."""
    import tensorflow as tf

    exported = network.exported()
    output = network.metadata["output"]

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {output: xla_call.call(exported, image)}

    signature = tf.TensorSpec((None, None, None, network.depth.channels), network.depth.dtype, name="image")
    module = tf.Module()
    module.serve = tf.function(serve, input_signature=[signature], autograph=False)
    with tempfile.TemporaryDirectory() as directory:
        module.documents = []
        for name, text in network.documents.items():
            file = Path(directory) / name
            file.write_text(text, encoding="utf-8")
            module.documents.append(tf.saved_model.Asset(str(file)))
        tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})
    seal.seal(path)
