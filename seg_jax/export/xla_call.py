"""An exported JAX function as a TensorFlow operation, for SavedModel and TFLite."""

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
      Its result, a `tf.Tensor`; sizes that are symbolic in JAX are None.

    Raises:
      ConfigError: this TensorFlow is too old for the function.
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
    """A module rewritten for an older StableHLO (https://openxla.org/stablehlo/compatibility).

    JAX writes a StableHLO that is weeks old, which a TensorFlow that is months old does not know. That TensorFlow does
    not understand composites (named operations, such as the error function) with symbolic sizes either; they become
    calls of the functions that define them.

    Args:
      module: a serialized module from `jax.export`.
      version: the version of StableHLO to write, such as '1.13.7'.

    Raises:
      ValueError: the module needs a newer version.
    """
    stablehlo.register_stablehlo_passes()
    with ir.Context() as context:
        stablehlo.register_dialect(context)
        parsed = stablehlo.deserialize_portable_artifact(context, module)
        calls = "builtin.module(func.func(stablehlo-legalize-composite-to-call))"
        passmanager.PassManager.parse(calls).run(parsed.operation)
        return stablehlo.serialize_portable_artifact(parsed, version)
