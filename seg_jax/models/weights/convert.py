"""From named arrays of a weight file to parameters; every array is accounted for on both sides."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from seg_jax.models.weights.files import WeightFile, WeightsError
from seg_jax.models.weights.naming import Naming, adapt_channels, arrange, candidates, split
from seg_jax.runtime import trees

Tree = Mapping[str, Any]
SHOWN = 12  # names of a list that an error message prints


def flat(variables: Tree) -> dict[str, Any]:
    """{'params': {'stem': {'conv': {'kernel': a}}}} -> {'stem/conv/kernel': a}, all collections together."""
    return {name.partition("/")[2]: leaf for name, leaf in trees.by_name(variables).items()}


def choose(
    file: WeightFile, namings: Mapping[str, Naming], network: Any, *, what: str
) -> tuple[str, Naming, WeightFile]:
    """(library, naming, file) of the naming that knows most of the file's tensors.

    The returned file holds the tensors of this network alone, without the prefix that wrappers put in front of their
    names: 'module.', 'model.', '_orig_mod.', 'backbone.' or any other.

    Raises:
      WeightsError: none of them is in this format, hardly a name fits (another network's file), or the network is
        there several times.
    """
    fitting = {name: naming for name, naming in namings.items() if naming.layout == file.layout}
    if not fitting:
        known = ", ".join(f"{name} ({naming.layout} layout)" for name, naming in namings.items()) or "none"
        raise WeightsError(
            f"{file.path} is in {file.layout} layout, which nobody stores {what} in that we know of; known: {known}."
        )
    if file.ordered:
        return *next(iter(fitting.items())), file
    ours = {name: set(naming.layers(network).values()) for name, naming in fitting.items()}
    prefixes = {name: _prefix(file, layers) for name, layers in ours.items()}
    best = max(prefixes, key=lambda name: prefixes[name][1])
    if not prefixes[best][1]:
        first = ", ".join(sorted(file.tensors)[:SHOWN])
        raise WeightsError(
            f"{file.path} holds no tensor of {what}. It has {len(file.tensors)} tensors, such as {first}. "
            "Check model.name and model.encoder.name, or the path."
        )
    return best, fitting[best], under(file, prefixes[best][0])


def layer_names(file: WeightFile) -> set[str]:
    """The names of the file's tensors, whole and without their last part: 'conv1.weight' and 'conv1'."""
    return {re.sub(r"[./][^./]*$", "", name) for name in file.tensors} | set(file.tensors)


def prefix_counts(names: Collection[str], layers: Collection[str]) -> Counter[str]:
    """Prefix -> how many of `names` are this prefix and one of `layers`; a prefix is '' or ends with a dot."""
    counts: Counter[str] = Counter()
    for name in names:
        start = 0
        while True:
            counts[name[:start]] += name[start:] in layers
            dot = name.find(".", start)
            if dot < 0:
                break
            start = dot + 1
    return counts


def _prefix(file: WeightFile, layers: Collection[str]) -> tuple[str, int]:
    """(prefix, number of `layers` in the file behind it).

    A prefix other than '' has at least half of the layers behind it: the last parts of names, such as 'conv1', are
    common to many networks.
    """
    counts = prefix_counts(layer_names(file), layers)
    most = max(counts.values())
    if most == counts[""] or 2 * most < len(layers):
        return "", counts[""]
    best = [prefix for prefix, count in counts.items() if count == most]
    averaged = [prefix for prefix in best if "ema" in prefix.lower()]
    if len(best) > 1 and len(averaged) != 1:
        raise WeightsError(
            f"{file.path} holds the network {len(best)} times, under {', '.join(sorted(best))}. Save one of them."
        )
    return (averaged or best)[0], most


def under(file: WeightFile, prefix: str) -> WeightFile:
    """The tensors behind a prefix, under the rest of their names."""
    if not prefix:
        return file
    tensors = {name.removeprefix(prefix): a for name, a in file.tensors.items() if name.startswith(prefix)}
    return replace(file, tensors=tensors, prefix=file.prefix + prefix)


def classes_of(file: WeightFile, naming: Naming, network: Any) -> int:
    """The number of classes of the file's head (a file as `choose` returns it); 0 where it has none."""
    names = candidates("decoder/head/kernel", naming.layers(network), naming.layout)
    return next((file.tensors[name].shape[0] for name in names if name in file.tensors), 0)


def convert(variables: Tree, file: WeightFile, naming: Naming, network: Any, *, what: str) -> Tree:
    """`variables` with every array from the file.

    Args:
      variables: {'params': ..., 'batch_stats': ...} of `network`; only shapes are looked at.
      file: of the same network.
      naming: which the file follows.
      network: the module, whose `naming.layers` are asked.
      what: for messages, 'the encoder mobilenetv2'.

    Raises:
      WeightsError: a tensor is missing, left over or of another shape; the message lists all of them. Heads are
        excepted: those of another number of classes, and auxiliary ones that the library has not, stay as they are.
    """
    layers = naming.layers(network)
    wanted = flat(variables)
    modules = {path.rpartition("/")[0] for path in wanted}
    if any(module.endswith("/gn") and module not in layers for module in modules):
        raise WeightsError(
            f"{what} has group norm, but the network of {file.path} batch norm. Pass "
            "--config.model.encoder.norm=batch, or frozen."
        )
    tensors = by_layer(file, wanted, layers, naming) if file.ordered else split(file.tensors, naming.fused)
    arrays, missing, wrong, used = {}, [], [], set()
    fresh: list[str] = []
    for path, like in wanted.items():
        names = candidates(path, layers, naming.layout)
        name = next((n for n in names if n in tensors), None)
        if name is None and not names and "head" in path:
            fresh.append(path)
            arrays[path] = like
            continue
        if name is None:
            missing.append(f"{names[0] if names else 'a counterpart'} (our {path} {list(like.shape)})")
            continue
        used.add(name)
        array = np.asarray(tensors[name], np.float32)
        if path == f"{naming.image}/kernel":
            array = _first(array, like.shape, naming)
        else:
            array = arrange(array, like.shape, naming.layout)
        if "head" in path and array.shape[:-1] == like.shape[:-1] and array.shape[-1] != like.shape[-1]:
            fresh.append(path)
            array = like
        if array.shape != like.shape:
            wrong.append(f"{name} {list(tensors[name].shape)} (our {path} {list(like.shape)})")
        arrays[path] = array
    left = sorted(n for n in tensors if n not in used and not any(re.fullmatch(p, n) for p in naming.unused))
    if missing or wrong or left:
        lists = (("missing from the file", missing), ("of another shape", wrong), ("left over in the file", left))
        text = "\n".join(f"  {title} ({len(names)}): {some(names)}" for title, names in lists if names)
        raise WeightsError(
            f"{file.path} does not fit {what}:\n{text}\nUse the weights of this network, or its options."
        )
    if fresh:
        what = "heads of other classes, or that %s has not, start from random values: %s"
        logging.warning(what, file.path, some(fresh))
    paths = jax.tree_util.tree_map_with_path(lambda path, _: "/".join(k.key for k in path[1:]), variables)
    return jax.tree.map(lambda path: arrays[path], paths)


def some(names: list[str]) -> str:
    """The first names of a list for a message, and how many more there are."""
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest


def _first(array: np.ndarray, shape: tuple[int, ...], naming: Naming) -> np.ndarray:
    """The kernel that sees the image, in our order of axes and colours, for as many channels as `shape` says."""
    if array.ndim != 4:
        return array
    array = array.transpose(2, 3, 1, 0) if naming.layout == "torch" else array
    if naming.bgr:
        array = array[:, :, ::-1]
    if array.shape[2] != shape[2]:
        logging.info(
            "the first convolution was trained on %d channels; it is repeated and rescaled by %d/%d for the %d of the "
            "images",
            *(array.shape[2], array.shape[2], shape[2], shape[2]),
        )
    return adapt_channels(array, shape[2])


KINDS = {"mean": "batch_normalization", "kernel": "conv2d", "scale": "layer_normalization"}
ORDER = {
    "batch_normalization": ("scale", "bias", "mean", "var"),
    "layer_normalization": ("scale", "bias"),
    "conv2d": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
    "dense": ("kernel", "bias"),
    "layer_scale": ("scale",),
}


def by_layer(
    file: WeightFile, wanted: Mapping[str, Any], layers: Mapping[str, str], naming: Naming
) -> dict[str, np.ndarray]:
    """Keras 3 counts the layers of each kind instead of naming them: gives them the names in `layers`, in its order."""
    kinds: dict[str, str] = {}
    for path, layer in layers.items():
        leaves = {
            leaf for leaf in ("kernel", "scale", "mean") if f"{path}/{leaf}" in wanted or f"{path}/bn/{leaf}" in wanted
        }
        kind = next((KINDS[leaf] for leaf in ("mean", "kernel", "scale") if leaf in leaves), "")
        if kind == "conv2d":
            shape = wanted[f"{path}/kernel"].shape
            depthwise = shape[-2] == 1 < shape[-1] and path != naming.image
            kind = "dense" if len(shape) == 2 else "depthwise_conv2d" if depthwise else kind
        kinds[path] = next((given for end, given in naming.kinds.items() if layer.endswith(end)), kind)
    counted: dict[str, int] = {}
    renamed: dict[str, str] = {}
    leaf_names = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance", "kernel": "kernel"}
    for path, layer in layers.items():
        kind = kinds[path]
        number = counted.get(kind, 0)
        counted[kind] = number + 1
        group = f"{kind}_{number}" if number else kind
        order = ORDER.get(kind.rpartition("/")[2], ())
        for i, leaf in enumerate(order):
            name = "bias" if leaf == "bias" and "kernel" in order else leaf_names[leaf]
            renamed[f"{group}/{i}"] = layer if path in wanted else f"{layer}/{name}"
    return {renamed.get(name, name): array for name, array in file.tensors.items()}
