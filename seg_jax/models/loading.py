"""Weight files of other libraries into the parameters of our networks."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from seg_jax.config import Config, lookup
from seg_jax.models.decoders import MODELS
from seg_jax.models.encoders import ENCODERS
from seg_jax.models.entries import Encoder
from seg_jax.models.segmenter import Segmenter
from seg_jax.models.weights import convert, files, hub, imagenet
from seg_jax.models.weights.naming import Naming

# Heads that a library's file may hold beside the one that gives the logits: of a classifier, or for training alone.
OTHER_HEADS = r"(classification_head|auxiliary_head)\..*"
# Attributes of an encoder with all of its stages, as a weight file has them.
FULL: Mapping[str, Any] = {"depth": 5, "last_stage": True}


def _encoder(config: Config) -> Encoder:
    return lookup(ENCODERS, config.model.encoder.name, "model.encoder.name")


def _whole_namings(config: Config) -> dict[str, Naming]:
    """The namings of whole networks: the encoder's names with a prefix, and the decoder's."""
    namings = {}
    architecture = lookup(MODELS, config.model.name, "model.name")
    for library, names in architecture.names.items():
        encoder = _encoder(config).namings
        inner = encoder.get(library) or (encoder.get("torchvision") if library == "smp" else None)
        if inner is None:
            continue
        prefix = "encoder." if library == "smp" else architecture.transformers_prefix

        def layers(network: Any, prefix: str = prefix, inner: Naming = inner, names: Any = names) -> dict[str, str]:
            return {
                **{f"encoder/{ours}": prefix + theirs for ours, theirs in inner.layers(network.encoder).items()},
                **{f"decoder/{ours}": theirs for ours, theirs in names(network.decoder).items()},
            }

        style = library if library in _encoder(config).epsilon else inner.style
        unused = (*(re.escape(prefix) + pattern for pattern in inner.unused), OTHER_HEADS)
        namings[library] = replace(inner, layers=layers, style=style, unused=unused, image=f"encoder/{inner.image}")
    return namings


def parts(config: Config, model: Any, *, whole: bool) -> tuple[Mapping[str, Naming], Any, str]:
    """(namings, network, what it is called) of what a weight file is to fill."""
    if whole:
        name = f"the network {config.model.name} on {config.model.encoder.name}"
        return _whole_namings(config), model, name
    return _encoder(config).namings, model.encoder, f"the encoder {config.model.encoder.name}"


def _deeper(naming: Naming, network: Any) -> tuple[str, ...]:
    """Regular expressions for the tensors of the stages that an encoder of less than its full depth leaves out."""
    encoder = network.encoder if isinstance(network, Segmenter) else network
    full = encoder.clone(**{name: value for name, value in FULL.items() if hasattr(encoder, name)})
    whole = network.clone(encoder=full) if isinstance(network, Segmenter) else full
    left_out = set(naming.layers(whole).values()) - set(naming.layers(network).values())
    names = [rf"{re.escape(layer)}([./].*)?" for layer in sorted(left_out)]
    # Where layers are only counted ('conv2d_7/0'), those that are left out are all that `by_layer` found no name for.
    return (*names, r"\w+/(\w+/)?\d") if left_out else ()


def read(config: Config, source: str) -> files.WeightFile:
    """The weight file at `source`, see `place`; for 'imagenet' those of a package, or of keras.applications.

    Raises:
      WeightsError: there are none, or they cannot be read.
    """
    if source == "imagenet":
        encoder = config.model.encoder
        if package := _encoder(config).package:
            return imagenet.from_package(package)
        return imagenet.from_keras(_encoder(config).keras, encoder=encoder.name, alpha=encoder.alpha)
    return files.read(place(source))


def place(source: str) -> Path:
    """The path of a weight file or folder; what a model hub has is fetched, see `hub.fetch`."""
    reference = hub.parse(source)
    return Path(source).expanduser() if reference is None else hub.fetch(reference).path


def is_file_name(source: str) -> bool:
    """Whether `source` names a weight file, not a folder."""
    reference = hub.parse(source)
    return Path(source if reference is None else reference.file).suffix.lower() in files.READERS


def load(
    config: Config, model: Any, params: Any, model_state: Any, file: files.WeightFile, *, whole: bool
) -> tuple[Any, Any]:
    """(params, model_state) with the arrays of a weight file in place of the encoder's, or of all with `whole`.

    Raises:
      WeightsError: a tensor is missing, left over or of another shape.
    """
    namings, network, what = parts(config, model, whole=whole)
    everything = file.tensors
    library, chosen, file = convert.choose(file, namings, network, what=what)
    if file.prefix:
        others = sorted(name for name in everything if not name.startswith(file.prefix))
        unused = f"; not used: {convert.some(others)}" if others else ""
        logging.info("%s: names are read without their prefix %r%s", file.path, file.prefix, unused)
    chosen = replace(chosen, unused=(*chosen.unused, *_deeper(chosen, network)))
    variables = {"params": params, **model_state}
    part = variables if whole else {name: tree["encoder"] for name, tree in variables.items() if "encoder" in tree}
    loaded = convert.convert(part, file, chosen, network, what=what)
    logging.info(
        "%s: %d arrays from %s, named as in %s, arithmetic of %s",
        *(what, len(jax.tree.leaves(loaded)), file.path, library, chosen.style),
    )
    if not whole:
        loaded = {**variables, **{name: {**variables[name], "encoder": tree} for name, tree in loaded.items()}}
    return loaded["params"], {name: tree for name, tree in loaded.items() if name != "params"}
