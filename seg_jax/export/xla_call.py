"""An exported function of JAX as an operation of TensorFlow: what a SavedModel and a TFLite file are made of."""

from __future__ import annotations

from typing import Any

import jax.export
from jax.extend.mlir import ir, passmanager
from jax.extend.mlir.dialects import stablehlo

from seg_jax.config import ConfigError


def call(exported: jax.export.Exported, image: Any) -> Any:
    """Adds the operation to the graph of the `tf.function` that is being traced.

    Args:
      exported: a function of one array with one result.
      image: its argument, a `tf.Tensor`.

    Returns:
      Its result, a `tf.Tensor`; sizes that are symbols of JAX are None.

    Raises:
      ConfigError: the function needs what this TensorFlow does not have.
    """
    import tensorflow as tf
    from tensorflow.compiler.mlir.stablehlo import stablehlo as theirs
    from tensorflow.compiler.tf2xla.python import xla

    version = stablehlo.get_smaller_version(stablehlo.get_current_version(), theirs.get_current_version())
    convention = exported.calling_convention_version
    try:
        if convention > xla.call_module_maximum_supported_version():
            raise ValueError(f"calling convention {convention}")
        module = rewritten(exported.mlir_module_serialized, version)
    except ValueError as error:
        raise ConfigError(
            f"JAX {jax.__version__} cannot write the network for TensorFlow {tf.__version__}, which knows StableHLO "
            f"{version}: {error}. Use a newer TensorFlow, or --format=onnx."
        ) from error
    (aval,) = exported.out_avals
    (result,) = xla.call_module(
        (image,),
        version=convention,
        module=module,
        platforms=[name.upper() for name in exported.platforms],
        Tout=[tf.as_dtype(aval.dtype)],
        Sout=[[n if isinstance(n, int) else None for n in aval.shape]],
    )
    return result


def rewritten(module: bytes, version: str) -> bytes:
    """A module as an older StableHLO has it (https://openxla.org/stablehlo/compatibility).

    JAX writes the StableHLO of some weeks ago, which a TensorFlow of some months ago does not know. Neither does that
    understand operations with a name of their own (composites, such as the error function) on sizes that are symbols;
    they become calls of the functions that say what they compute.

    Args:
      module: of `jax.export`.
      version: of StableHLO, such as '1.13.7'.

    Raises:
      ValueError: it needs a newer one.
    """
    stablehlo.register_stablehlo_passes()
    with ir.Context() as context:
        stablehlo.register_dialect(context)
        parsed = stablehlo.deserialize_portable_artifact(context, module)
        calls = "builtin.module(func.func(stablehlo-legalize-composite-to-call))"
        passmanager.PassManager.parse(calls).run(parsed.operation)
        return stablehlo.serialize_portable_artifact(parsed, version)
