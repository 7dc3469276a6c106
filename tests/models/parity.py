"""Encoders with weights of other libraries, by the way that a training takes, and Keras's networks as a reference."""

import json
from functools import partial

import jax
import numpy as np
from safetensors.numpy import save_file

from seg_jax import models
from seg_jax.run import pretrained
from tests.models import references


def encoder_with(config, path):
    """(resolved configuration, function [b h w c] -> feature maps) of the encoder with the weights at `path`."""
    config.model.encoder.weights = str(path)
    config = pretrained.resolve(config)
    model = models.build(config, classes=2)
    fresh = jax.eval_shape(lambda: models.init(model, jax.random.key(0), (1, 32, 32, 3)))
    fresh = jax.tree.map(lambda like: np.zeros(like.shape, like.dtype), fresh)
    params, model_state = pretrained.start(config, model, *fresh)
    assert jax.tree.structure((params, model_state)) == jax.tree.structure(fresh)
    variables = {name: tree["encoder"] for name, tree in {"params": params, **model_state}.items() if "encoder" in tree}
    return config, partial(_features, model.encoder, variables)


@partial(jax.jit, static_argnums=0)  # several weight files of one encoder share what is compiled
def _features(encoder, variables, image):
    return encoder.apply(variables, image, False)


def assert_near(ours, theirs):
    """The largest error of every map is at most 1e-4 of the largest value of that map."""
    assert [a.shape for a in ours] == [b.shape for b in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(a - b).max() <= 1e-4 * np.abs(b).max()


def assert_as_in_fixture(features, name):
    """The maps of `features` are those of the network of PyTorch that the fixture describes."""
    for case in references.load(name)["cases"]:
        ours = features(references.image(*case["size"]))
        assert [list(a.shape) for a in ours] == [output["shape"] for output in case["outputs"]]
        samples = [references.sample(a)[0] for a in ours]
        assert_near(samples, [np.float32(output["values"]) for output in case["outputs"]])


def torch_file(folder, name):
    """The weights of the fixture, in a file as its library would write it."""
    path = folder / f"{name}.safetensors"
    save_file(references.fill(references.load(name)["tensors"]), path)
    return path


def smp_document(name):
    """The config.json that segmentation_models.pytorch writes for the network of a fixture ('smp_unet_resnet34')."""
    fixture = references.load(name)
    return {"_model_class": fixture["reference"].split()[2], **fixture["config"]}


def pretrained_folder(folder, name, document, *, hollow=False):
    """A folder as `save_pretrained` leaves it, with the weights of a fixture; `hollow`: zeros of half precision."""
    folder.mkdir(exist_ok=True)
    tensors = references.load(name)["tensors"]
    if hollow:
        arrays = {n: np.zeros(shape, np.float16) for n, shape in tensors.items() if not references.is_counter(n)}
    else:
        arrays = references.fill(tensors)
    save_file(arrays, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(document))
    return folder


def keras_network(function, size=(None, None), **options):
    """A network of keras.applications without classifier, with random weights and statistics.

    Keras's MobileNetV2 pads by the size for which it was made; without one, as for even sizes.
    """
    import keras

    network = getattr(keras.applications, function)(weights=None, include_top=False, input_shape=(*size, 3), **options)
    for layer in network.layers:
        for weight in layer.weights:
            rng = np.random.default_rng([len(layer.name), *map(ord, f"{layer.name}/{weight.name}")])
            if len(weight.shape) > 1:
                depthwise = len(weight.shape) == 4 and weight.shape[3] == 1
                fan_in = np.prod(weight.shape[: 2 if depthwise else -1])
                value = rng.standard_normal(weight.shape) * (2 / fan_in) ** 0.5
            elif weight.name in ("gamma", "moving_variance"):
                value = rng.uniform(0.5, 1.5, weight.shape)
            else:
                value = rng.standard_normal(weight.shape) * 0.1
            weight.assign(value)
    return network


def keras_files(network, folder):
    """The weights of a network of Keras, in either of the formats that Keras has."""
    old, new = folder / "network.h5", folder / "network.weights.h5"
    network.save(old)
    network.save_weights(new)
    return {"legacy": old, "by order": new}


def keras_maps(network, layers, image):
    """What the named layers of a network of Keras give."""
    import keras

    outputs = keras.Model(network.input, [network.get_layer(name).output for name in layers])
    return [np.asarray(output) for output in outputs(image)]
