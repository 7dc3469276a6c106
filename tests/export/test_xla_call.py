"""Functions of JAX in TensorFlow: values by hand, older versions of StableHLO, and what cannot be written or read."""

import math

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf
from jax.extend.mlir.dialects import stablehlo
from tensorflow.compiler.mlir.stablehlo import stablehlo as theirs
from tensorflow.compiler.tf2xla.python import xla

from seg_jax.config import ConfigError
from seg_jax.export import __main__ as command
from seg_jax.export import xla_call


def exported(function, shape="b,h"):
    spec = jax.ShapeDtypeStruct(jax.export.symbolic_shape(shape), jnp.float32)
    return jax.export.export(jax.jit(function), platforms=["cpu", "cuda", "tpu"])(spec)


def called(function, array):
    """What a SavedModel's graph computes, and the shape that it promises."""
    one = exported(function)
    signature = [tf.TensorSpec((None, None), tf.float32)]
    graph = tf.function(lambda x: xla_call.call(one, x), input_signature=signature, autograph=False)
    return graph(array).numpy(), graph.get_concrete_function().output_shapes.as_list()


def test_sizes_are_those_of_the_argument():
    result, shape = called(lambda x: jnp.stack([2 * x + 1] * 3, axis=-1), np.float32([[1, 2, 5]]))
    assert result.tolist() == [[[3] * 3, [5] * 3, [11] * 3]] and shape == [None, None, 3]


def test_the_error_function_is_called():
    # An operation with a name of its own, which JAX keeps for compilers that know it.
    values = np.float32([[-2, 0, 0.5], [1, 3, -0.1]])
    assert b"chlo.erf" in exported(jax.lax.erf).mlir_module_serialized
    result, _ = called(jax.lax.erf, values)
    np.testing.assert_allclose(result, [[math.erf(x) for x in row] for row in values], atol=1e-6)


@pytest.mark.parametrize("version", ["1.0.0", theirs.get_current_version()])
def test_the_version_is_the_one_that_was_asked_for(version):
    module = xla_call.rewritten(exported(jax.lax.erf).mlir_module_serialized, version)
    assert f"StableHLO_v{version}".encode() in module[:40]
    assert b"composite" not in module and b"composite" in exported(jax.lax.erf).mlir_module_serialized
    assert theirs.deserialize_portable_artifact_str(module)


@pytest.mark.parametrize(
    ("module", "name", "value", "said"),
    [
        (theirs, "get_current_version", "0.8.0", r"StableHLO 0\.8\.0: failed"),
        (xla, "call_module_maximum_supported_version", 5, "calling convention"),
    ],
)
def test_a_tensorflow_that_is_too_old_is_refused(monkeypatch, module, name, value, said):
    monkeypatch.setattr(module, name, lambda: value)
    with pytest.raises(ConfigError, match=rf"{said}.*Use a newer TensorFlow, or --format=onnx"):
        called(jax.lax.erf, np.zeros((1, 1), np.float32))


def test_a_tensorflow_that_is_newer_gets_what_jax_has(monkeypatch):
    monkeypatch.setattr(theirs, "get_current_version", lambda: "99.0.0")
    monkeypatch.setattr(xla, "call_module", lambda _, *, module, **__: [module])
    module = xla_call.call(exported(jax.lax.erf), None)
    assert f"StableHLO_v{stablehlo.get_current_version()}".encode() in module[:40]


def test_a_file_of_a_newer_tensorflow_is_refused(run, tmp_path, monkeypatch, capsys):
    # An operation that this one has never heard of, where checks of sizes were.
    newer = xla_call.rewritten
    monkeypatch.setattr(
        xla_call, "rewritten", lambda *arguments: newer(*arguments).replace(b"custom_call_v1", b"custom_call_v9")
    )
    assert command.main([str(run), "--format=savedmodel", f"--out={tmp_path / 'a'}"]) == 1
    assert "was exported beside a newer TensorFlow than this one" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
