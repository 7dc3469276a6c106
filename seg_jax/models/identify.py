"""What a weight file or folder is: which network, of which library, and the flags that load it.

A file without config.json is told by its names: every encoder's table is held against them, behind any prefix; the
nearest ones are then built without values and every tensor is accounted for, as in a training.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seg_jax import models, shipped
from seg_jax.config import Config, defaults, load, with_fields
from seg_jax.models import ENCODERS, MODELS, WeightsError, folders, loading
from seg_jax.models.encoders import MILLIONS
from seg_jax.models.folders import smp, transformers
from seg_jax.models.weights import convert, files, hub
from seg_jax.models.weights.files import WeightFile
from seg_jax.models.weights.naming import Naming, split

LIKELY = 0.3  # least share of layers that a file and an encoder have in common, of all that either has
TRIED = 6  # networks are built, the nearest first
ALPHAS = (1.0, 0.75, 0.5, 0.35, 0.25, 1.3, 1.4)  # widths in which MobileNets are published
CLASSIFIER = 6  # layers that a file of Keras may hold beyond the encoder's


@dataclass(frozen=True)
class Match:
    """A network that a file may be of.

    Attributes:
      title: for people, 'Unet of segmentation_models.pytorch'.
      whole: encoder and decoder, not an encoder alone.
      fields: of our configuration.
      misfit: what does not fit; '' where every tensor is accounted for.
      library, naming, file, classes: see `convert.choose`; set where the file fits.
    """

    title: str
    whole: bool
    fields: Mapping[str, Any]
    misfit: str = ""
    library: str = ""
    naming: Naming | None = None
    file: WeightFile | None = None
    classes: int = 0
    normalisation: Any = field(default=None)


def describe(source: str, config: Config) -> str:
    """The text of `python -m seg_jax.models PATH`.

    Args:
      source: a weight file, a folder of `save_pretrained`, a run directory or a reference to the hub.
      config: with default values.

    Raises:
      WeightsError, ConfigError: it cannot be read.
    """
    path = loading.place(source)
    if path.is_dir() and not folders.is_folder(path):
        recorded = load(path / "config.json").model
        return "\n".join(
            [
                f"{path}",
                f"  run directory   {recorded.name} on {recorded.encoder.name}",
                f"  start from it   {_flag('model.weights', path)}, with the fields of `model` in its config.json",
                f"  its encoder     {_flag('model.encoder.weights', path)}",
            ]
        )
    file = files.read(path)
    folder = folders.read(path) if path.is_dir() else None
    if any(name.startswith("params/encoder/") for name in file.tensors):
        return "\n".join(
            [
                f"{path}\n  an export of this program: use it with python -m seg_jax.predict {shlex.quote(str(path))}",
                f"  start from it   {_flag('model.weights', path)}",
                f"  its encoder     {_flag('model.encoder.weights', path)}",
            ]
        )
    lines = _about(path, file)
    nearest: Match | None = None
    for guess in _guesses(file, folder, config):
        match = _account(guess, file, config)
        if not match.misfit:
            lines += _loading(source if hub.parse(source) else str(path), match, file, folder)
            break
        nearest = nearest or match
    else:
        if nearest is None:
            first = convert.some(sorted(file.tensors))
            lines += ["  network         none of ours: hardly a name is known. The first names are", f"    {first}"]
    # An encoder may fit where the network around it does not.
    if nearest and (nearest.whole or "load it with" not in "".join(lines)):
        lines += [f"  nearest match   {nearest.title}", *(f"    {line}" for line in nearest.misfit.splitlines())]
    return "\n".join(lines)


def listing() -> Iterator[str]:
    """Lines with every architecture, every encoder, and every trained network of the package."""
    yield "architectures (--config.model.name; whole networks of these libraries can be loaded)"
    for name, architecture in MODELS.items():
        yield f"  {name:<18}{', '.join(architecture.names)}".rstrip()
    yield "encoders (--config.model.encoder.name; millions of parameters; libraries whose weights can be loaded)"
    for name, entry in ENCODERS.items():
        millions = f"{MILLIONS[name]:.2f}" if name in MILLIONS else ""  # one that was added may have none
        yield f"  {name:<18}{millions:>7}  {', '.join(entry.namings)}".rstrip()
    if shipped.names():
        yield "trained networks in this package (python -m seg_jax.predict NAME PHOTO, --config.model.weights=NAME)"
    for name in shipped.names():
        yield f"  {name:<18}{shipped.summary(name)}"


def _flag(name: str, value: Any) -> str:
    return shlex.quote(f"--config.{name}={value}")


def _about(path: Path, file: WeightFile) -> list[str]:
    values = sum(array.size for array in file.tensors.values())
    kinds = ", ".join(sorted({str(array.dtype) for array in file.tensors.values()}))
    form = "layers counted, as Keras 3 saves them" if file.ordered else f"{file.layout} layout"
    return [f"{path}", f"  holds           {len(file.tensors)} tensors, {values / 1e6:.2f} M values, {kinds}; {form}"]


def _loading(source: str, match: Match, file: WeightFile, folder: folders.Folder | None) -> list[str]:
    assert match.naming and match.file
    lines = [f"  network         {match.title}"]
    if match.whole:
        names = f": {', '.join(folder.names)}" if folder and folder.names else ""
        lines.append(f"  classes         {match.classes}{names}")
    if match.file.prefix:
        lines.append(f"  prefix          {match.file.prefix} is taken off the names")
    if others := sorted(name for name in file.tensors if not name.startswith(match.file.prefix)):
        lines.append(f"  not used        {len(others)} tensors: {convert.some(others)}")
    mean, std = match.normalisation or match.naming.normalisation
    digits = [" ".join(f"{x:.4g}" for x in numbers) for numbers in (mean, std)]
    lines.append(f"  normalisation   mean {digits[0]}, deviation {digits[1]} of RGB in 0..1")
    lines.append(f"  arithmetic      {match.naming.style}, which is recognised when it is loaded")
    usual = defaults()
    named = ("model.name", "model.encoder.name")
    shown = {f: v for f, v in match.fields.items() if f in named or (not folder and v != usual[f])}
    flags = [_flag(field, value) for field, value in sorted(shown.items(), key=lambda item: item[0] not in named)]
    flags += [_flag("model.weights" if match.whole else "model.encoder.weights", source)]
    if match.whole and match.classes == 1:
        flags.append(_flag("loss.head", "binary"))
    lines += ["  load it with", *(f"    {flag}" for flag in flags)]
    if not folder and {"model.aspp_rates", "model.pool_bins"} & match.fields.keys():
        lines.append(
            "  (dilation rates, output stride and pooling bins leave no trace in a file: the library's defaults)"
        )
    return lines


def _account(match: Match, file: WeightFile, config: Config) -> Match:
    """`match` with what is found when the file is loaded into that network."""
    try:
        network = with_fields(config, match.fields)
        library, naming, classes = models.naming(network, file, whole=match.whole)
        network = with_fields(network, {"model.encoder.style": naming.style} | dict(match.fields))
        model = models.build(network, classes=classes or 2)
        chosen = convert.choose(file, *loading.parts(network, model, whole=match.whole)[:2], what="")[2]
        params, model_state = jax.eval_shape(lambda: models.init(model, jax.random.key(0), (1, 32, 32, 3)))
        loading.load(network, model, params, model_state, file, whole=match.whole)
    except WeightsError as error:
        return Match(match.title, match.whole, match.fields, misfit=str(error))
    return Match(
        match.title, match.whole, match.fields, "", library, naming, chosen, classes, normalisation=match.normalisation
    )


def _guesses(file: WeightFile, folder: folders.Folder | None, config: Config) -> Iterator[Match]:
    """Networks that the file may be of, the likeliest first."""
    if folder:
        title = f"{folder.network} of {folder.library}: {_ours(folder.fields)}"
        yield Match(title, folder.whole, folder.fields, normalisation=folder.normalisation)
        return
    ranked = sorted(_likeness(file, config), key=lambda found: -found[0])
    for likeness, encoder, prefix in ranked[:TRIED]:
        if likeness < LIKELY:
            return
        for outer, library, guess in (
            (prefix.removesuffix("encoder."), "segmentation_models.pytorch", smp.guess),
            (prefix.removesuffix("backbone.").removesuffix("segformer."), "transformers", transformers.guess),
        ):
            if whole := guess(convert.under(file, outer).tensors, encoder):
                yield Match(f"{whole[0]} of {library}: {_ours(whole[1])}", True, whole[1])
        for alpha in ALPHAS if encoder in ("mobilenet", "mobilenetv2") else ALPHAS[:1]:
            fields = {"model.encoder.name": encoder, "model.encoder.alpha": alpha}
            yield Match(f"an encoder alone: {_ours(fields)}", False, fields)


def _ours(fields: Mapping[str, Any]) -> str:
    architecture = f"{fields['model.name']} on " if "model.name" in fields else ""
    alpha = fields.get("model.encoder.alpha", 1.0)
    return f"{architecture}{fields['model.encoder.name']}{f' of width {alpha}' if alpha != 1 else ''}"


def _likeness(file: WeightFile, config: Config) -> Iterator[tuple[float, str, str]]:
    """(share of layers in common, encoder, prefix) of every encoder that is stored in this layout."""
    for name, entry in ENCODERS.items():
        for naming in entry.namings.values():
            if naming.layout != file.layout:
                continue
            network = models.build(
                with_fields(config, {"model.encoder.name": name, "model.encoder.depth": 5}), classes=2
            )
            layers = set(naming.layers(network.encoder).values())
            if file.ordered:
                groups = len({tensor.rpartition("/")[0] for tensor in file.tensors})
                fits = len(layers) <= groups <= len(layers) + CLASSIFIER
                yield len(layers) / groups if fits else 0.0, name, ""
                continue
            tensors = split(file.tensors, naming.fused)
            named = WeightFile(file.path, file.layout, {tensor: np.empty(0) for tensor in tensors})
            counts = convert.prefix_counts(convert.layer_names(named), layers)
            prefix = max(counts, key=lambda prefix: counts[prefix])
            beside = convert.under(named, prefix)
            theirs = {
                tensor if tensor in layers else tensor[: max(tensor.rfind("."), tensor.rfind("/"))]
                for tensor in beside.tensors
            }
            yield len(theirs & layers) / len(theirs | layers), name, prefix
