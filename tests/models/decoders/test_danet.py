"""DANet: either attention against its formula, the gates, and the parameters by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seg_jax import models
from seg_jax.models.decoders.danet import ChannelAttention, DANetDecoder, PositionAttention
from seg_jax.models.layers import Style
from tests.models import references

GATE = np.float32([0.7])


def softmax(energy):
    weights = np.exp(energy - energy.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def test_position_attention_is_the_formula():
    x = references.image(5, 6, channels=16)
    params = PositionAttention().init(jax.random.key(0), x)["params"]
    assert {name: params[name]["kernel"].shape[-1] for name in ("query", "key", "value")} == {
        "query": 2,
        "key": 2,
        "value": 16,
    }
    params = jax.tree.map(lambda a: references.tensor(str(a.shape), a.shape), params) | {"scale": GATE}
    flat = x.reshape(30, 16)
    query, key, value = (
        flat @ params[name]["kernel"][0, 0] + params[name]["bias"] for name in ("query", "key", "value")
    )
    expected = flat + GATE * softmax(query @ key.T) @ value
    ours = PositionAttention().apply({"params": params}, x)
    np.testing.assert_allclose(ours.reshape(30, 16), expected, rtol=1e-4, atol=1e-5)


def test_channel_attention_is_the_formula_of_the_authors_code():
    x = 0.3 * references.image(5, 6, channels=4)
    flat = x.reshape(30, 4)
    energy = flat.T @ flat
    weights = softmax(energy.max(axis=-1, keepdims=True) - energy)
    expected = flat + GATE * flat @ weights.T
    ours = ChannelAttention().apply({"params": {"scale": GATE}}, x)
    np.testing.assert_allclose(ours.reshape(30, 4), expected, rtol=1e-4, atol=1e-5)
    # By hand: two channels that never meet, of squared lengths 1 and 0, look at one another; the second at both alike.
    x = np.float32([[[[1, 0], [0, 0]]]])
    e = np.exp(1)
    expected = [[[[1 + 0.7 / (1 + e), 0.7 * 0.5], [0, 0]]]]
    np.testing.assert_allclose(ChannelAttention().apply({"params": {"scale": GATE}}, x), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", [PositionAttention, ChannelAttention])
def test_attention_begins_as_the_identity_and_its_gate_learns(kind):
    x = references.image(6, 5, channels=8)
    params = kind().init(jax.random.key(0), x)["params"]
    np.testing.assert_array_equal(params["scale"], [0])
    np.testing.assert_array_equal(kind().apply({"params": params}, x), x)
    gradient = jax.jit(jax.grad(lambda params: (kind().apply({"params": params}, x) * x[:, ::-1]).sum()))
    assert abs(float(gradient(params)["scale"][0])) > 1e-3
    # What lies behind a closed gate learns as soon as the gate has moved.
    behind = {name: tree for name, tree in gradient(params).items() if name != "scale"}
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(behind))
    behind = {name: tree for name, tree in gradient(params | {"scale": GATE}).items() if name != "scale"}
    assert all(np.any(leaf) for leaf in jax.tree.leaves(behind))


def test_large_features_stay_finite():
    x = 1e3 * references.image(16, 16, channels=8)
    for kind in (PositionAttention, ChannelAttention):
        params = kind().init(jax.random.key(0), x)["params"] | {"scale": GATE}
        assert np.isfinite(kind().apply({"params": params}, x)).all()


@pytest.mark.parametrize("aux", [False, True])
def test_parameters_by_hand(tiny_config, aux):
    overrides = {"model.name": "danet", "model.encoder.name": "resnet50", "model.encoder.depth": 0}
    overrides |= {"loss.aux_weight": 0.4 if aux else 0.0}
    model = models.build(tiny_config(overrides), classes=19)
    assert model.encoder.output_stride == 8
    params, _ = jax.eval_shape(lambda: models.init(model, jax.random.key(0), (1, 32, 32, 3)))
    c = 2048 // 4
    branch = 9 * 2048 * c + 2 * c + 9 * c * c + 2 * c  # 3x3 convolutions and norms, before and after attention
    position = 2 * (c * c // 8 + c // 8) + c * c + c + 1  # query and key, value, gate
    head = c * 19 + 19
    assert models.count(params["decoder"]) == 2 * branch + position + 1 + (3 if aux else 1) * head
    assert {name for name in params["decoder"] if "head" in name} == (
        {"head", "position_head", "channel_head"} if aux else {"head"}
    )


def test_branches_have_logits_of_their_own_in_training_only():
    features = [references.image(16, 16, channels=8), references.image(4, 6, channels=64)]
    decoder = DANetDecoder(5, dropout=0.0, aux=True, style=Style(norm="none"))
    variables = jax.jit(lambda: decoder.init(jax.random.key(0), features, False))()
    assert variables["params"]["position_in"]["conv"]["kernel"].shape == (3, 3, 64, 16)
    both = jax.jit(lambda variables: [decoder.apply(variables, features, train) for train in (True, False)])
    outputs, evaluated = both(variables)
    assert {name: logits.shape for name, logits in outputs.items()} == dict.fromkeys(
        ("logits", "position", "channel"), (1, 4, 6, 5)
    )
    assert evaluated.keys() == {"logits"}
    np.testing.assert_array_equal(evaluated["logits"], outputs["logits"])
    # Their sum is what is classified: with the same head, logits are the sum of the branches' logits.
    params = variables["params"]
    same = {**params, "position_head": params["head"], "channel_head": params["head"]}
    outputs, _ = both({"params": same})
    np.testing.assert_allclose(outputs["logits"], outputs["position"] + outputs["channel"], rtol=1e-4, atol=1e-5)


def test_dropout_takes_whole_channels():
    features = [references.image(8, 8, channels=16)]
    decoder = DANetDecoder(1, channels=8, dropout=0.5, style=Style(norm="none"))
    params = jax.jit(lambda: decoder.init(jax.random.key(0), features, False))()["params"]
    # A head of ones, on branches that are 1 everywhere: logits count the channels that are left, twice each.
    ones = {"kernel": jnp.zeros((3, 3, 8, 8)), "bias": jnp.full(8, 0.5)}
    params |= {f"{name}_out": {"conv": ones} for name in ("position", "channel")}
    params |= {"head": {"kernel": jnp.ones((1, 1, 8, 1)), "bias": jnp.zeros(1)}}
    train = jax.jit(lambda key: decoder.apply({"params": params}, features, True, rngs={"dropout": key}))
    found = set()
    for seed in range(5):
        logits = train(jax.random.key(seed))["logits"]
        assert np.ptp(logits) == 0
        found.add(float(logits[0, 0, 0, 0]))
    assert len(found) > 1 and found <= set(np.arange(0, 17, 2.0))
