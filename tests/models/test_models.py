"""Every model and every encoder against the same list of promises; a new entry of a table is tested by being there."""

from functools import cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend.core import Var, jaxprs_in_params

from seg_jax import losses, models
from seg_jax.config import ConfigError, default, recipes, with_fields
from seg_jax.models import ENCODERS, MODELS, decoders, layers
from seg_jax.models.decoders import unet
from seg_jax.models.encoders import MILLIONS, efficientnet_lite
from seg_jax.run import pretrained, program
from seg_jax.run.length import Length
from seg_jax.run.saving import CheckpointWriter
from seg_jax.runtime import sharding
from seg_jax.steps.state import TrainState
from tests.models import references

CLASSES = 3
# Every decoder over the lightest encoder, every encoder under the lightest decoder.
# FC-DenseNets differ in numbers alone, which decoders/test_fcdensenet.py counts.
SAME = ("fcdensenet67", "fcdensenet103")
NETWORKS = [(name, "plain") for name in MODELS if name not in SAME]
NETWORKS += [("unet", name) for name in ENCODERS if name not in ("plain", *SAME)]
PYRAMIDS = [name for name in ENCODERS if name != "plain" and not name.startswith("fcdensenet")]
# One layout of each family of encoders is tested thoroughly, with options that make it light; the others are traced.
LIGHT_ENCODERS = {
    "plain": {},
    "resnet18": {},
    "vgg16_bn": {},
    "mobilenet": {"model.encoder.alpha": 0.25},
    "mobilenetv2": {"model.encoder.alpha": 0.35},
    "efficientnet_b0": {},
    "convnext_tiny": {},
    "mit_b0": {},
    "fcdensenet56": {},
}
LIGHT = [pair for pair in NETWORKS if pair[1] in LIGHT_ENCODERS]
# With the bottlenecks that the light ResNet has not, and VGG without norms: every kind of block.
BLOCKS = [pair for pair in NETWORKS if pair in LIGHT or pair[1] in ("resnet50", "vgg16")]
# The deepest of every family take many seconds even to trace.
DEEP = {"resnet101", "resnet152", *(f"efficientnet_b{n}" for n in range(3, 8)), "convnext_small"}
DEEP |= {f"mit_b{n}" for n in range(2, 6)}
OTHERS = set(ENCODERS) - set(LIGHT_ENCODERS)
# The later stages are made of the same blocks as the earlier ones.
SHALLOW = {"model.encoder.depth": 3, "model.decoder_channels": (4, 4)}
# Trainable parameters of other libraries' encoders, see references.py.
COUNTS = {
    **{f"resnet{depth}": f"torchvision/encoder/resnet{depth}" for depth in (18, 34, 50, 101, 152)},
    **{name: f"torchvision/encoder/{name}" for name in ("vgg16", "vgg16_bn", "convnext_tiny", "convnext_small")},
    **{f"efficientnet_b{n}": f"torchvision/encoder/efficientnet_b{n}" for n in range(8)},
    **{f"mit_b{n}": f"transformers/encoder/mit_b{n}" for n in range(6)},
    "mobilenetv2": "torchvision/encoder/mobilenet_v2",
}


def slow_if(encoder, names):
    return [pytest.mark.slow] if encoder in names else []


def named(networks, slow=OTHERS):
    return [pytest.param(*pair, id="-".join(pair), marks=slow_if(pair[1], slow)) for pair in networks]


def shallow_and_whole(networks):
    """Cases for the quick tests without the later stages of encoders, made of the blocks of the earlier ones."""
    cases = []
    for name, encoder in networks:
        stages = SHALLOW if encoder != "plain" else {}
        cases.append(pytest.param(name, encoder, stages, id=f"{name}-{encoder}", marks=slow_if(encoder, OTHERS)))
        if stages:
            cases.append(pytest.param(name, encoder, {}, id=f"{name}-{encoder}-whole", marks=pytest.mark.slow))
    return cases


def encoders(names, slow=OTHERS):
    return [pytest.param(name, marks=slow_if(name, slow)) for name in names]


@pytest.fixture
def build(tiny_config):
    """build({'model.name': 'unet', ...}) -> the network."""

    def make(overrides):
        overrides = {"model.decoder_channels": (), "model.channels": 16, **overrides}
        return models.build(tiny_config(overrides), classes=CLASSES)

    return make


@pytest.fixture
def network(build):
    """network(name, encoder) -> the network with few channels in its decoder, of the usual depth."""

    def make(name, encoder, **overrides):
        options = {"model.name": name, "model.encoder.name": encoder, **LIGHT_ENCODERS.get(encoder, {})}
        if encoder != "plain":
            options |= {"model.decoder_channels": (4, 4, 4, 4), "model.encoder.depth": 0}
        return build({**options, **overrides})

    return make


@cache
def shapes(model):
    """Abstract (params, model_state)."""
    return jax.eval_shape(lambda key: models.init(model, key, (1, 32, 32, 3)), jax.random.key(0))


@cache
def abstract_encoder(encoder, size, channels=3):
    """Abstract (feature maps, params) of an encoder."""
    image = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
    maps, found = jax.eval_shape(lambda x: encoder.init_with_output(jax.random.key(0), x, False), image)
    return maps, found["params"]


@cache
def draw(shape, kind):
    rng = np.random.default_rng(shape)
    if kind == "kernel":
        return rng.standard_normal(shape, np.float32) * np.float32((2 / np.prod(shape[:-1])) ** 0.5)
    return np.ones(shape, np.float32) if kind in ("scale", "var", "gamma") else np.zeros(shape, np.float32)


def variables(model):
    """(params, model_state) from numpy: compiling the initialisation of a deep network takes longer than its test.

    Gates that start at 0 are open here: what lies behind them could not be seen.
    """
    return jax.tree_util.tree_map_with_path(lambda path, leaf: draw(leaf.shape, path[-1].key), shapes(model))


def photographs(b, h, w):
    return np.random.default_rng(5).standard_normal((b, h, w, 3), np.float32)


@partial(jax.jit, static_argnums=0)
def evaluate(model, params, model_state, image):
    outputs, after = models.forward(model, params, model_state, image, train=False)
    assert after is model_state
    return outputs["logits"]


def flat(tree):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@cache
def trace(model, size, **options):
    """(jaxpr of `models.forward`, its results as shapes)."""

    def forward(params, model_state, image):
        return models.forward(model, params, model_state, image, key=jax.random.key(0), **options)

    image = jax.ShapeDtypeStruct((*size, 3), jnp.float32)
    return jax.make_jaxpr(forward, return_shape=True)(*shapes(model), image)


@pytest.fixture(scope="module", autouse=True)
def _forget():
    """Deep networks take gigabytes, also as programs that were only traced."""
    yield
    for remembered in (shapes, abstract_encoder, draw, trace):
        remembered.cache_clear()


def test_every_family_of_encoders_has_a_light_member(network):
    families = {name: type(network("unet", name).encoder) for name in ENCODERS}
    assert set(families.values()) == {families[name] for name in LIGHT_ENCODERS}
    assert len(set(families.values())) == len(LIGHT_ENCODERS)


TRAINING = (2, 33, 47)


@pytest.mark.parametrize(("name", "encoder", "stages"), shallow_and_whole(NETWORKS))
def test_any_size_gives_logits_of_that_size(network, name, encoder, stages):
    model = network(name, encoder, **stages, **{"model.dtype": "bfloat16"})
    for size, train in [(TRAINING, True), *([((1, 1, 1), False)] if encoder in LIGHT_ENCODERS else [])]:
        outputs, _ = trace(model, size, train=train)[1]
        assert outputs.keys() == {"logits"} if not train else outputs.keys() >= {"logits"}
        for logits in outputs.values():  # those of auxiliary heads too
            assert logits.shape == (*size, CLASSES) and logits.dtype == jnp.float32


WITHOUT_STATISTICS = {"vgg16", *(name for name in ENCODERS if name.startswith(("convnext", "mit")))}  # layer norms
# What is done in one place for all encoders is tested with these.
TWO_ENCODERS = [pair for pair in LIGHT if pair[1] in ("plain", "resnet18")]


@pytest.mark.parametrize(("name", "encoder"), named(TWO_ENCODERS))
def test_an_odd_size_is_its_repeated_border_cut_back(network, name, encoder):
    model = network(name, encoder)
    image = photographs(1, 17, 31)
    # Only the padding to the stride may happen: to 20 x 32 for the plain encoder, 32 x 32 for the others.
    padded = np.pad(image, ((0, 0), (0, -17 % model.encoder.reduction), (0, 1), (0, 0)), mode="edge")
    logits = evaluate(model, *variables(model), image)
    expected = evaluate(model, *variables(model), padded)[:, :17, :31]
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert np.ptp(logits) > 0.01


def used(jaxpr, results):
    """The variables that some results of a program depend on: what a called function gives, on all that it is given."""
    needed = set(results)
    for equation in reversed(jaxpr.eqns):
        if not needed.isdisjoint(equation.outvars):
            needed |= {v for v in equation.invars if isinstance(v, Var)}
    return needed


@pytest.mark.parametrize(("name", "encoder", "stages"), shallow_and_whole(NETWORKS))
def test_logits_of_training_depend_on_every_parameter_and_on_no_statistic(network, name, encoder, stages):
    model = network(name, encoder, **stages, **{"model.dtype": "bfloat16"})
    program, (outputs, _) = trace(model, TRAINING, train=True)
    params, statistics = (len(jax.tree.leaves(tree)) for tree in shapes(model))
    needed = used(program.jaxpr, program.jaxpr.outvars[: len(outputs)])
    assert [v in needed for v in program.jaxpr.invars] == [True] * params + [False] * statistics + [True]


@pytest.mark.parametrize(("name", "encoder", "stages"), shallow_and_whole(BLOCKS))
def test_gradient_reaches_every_parameter_and_training_changes_every_statistic(network, name, encoder, stages):
    model = network(name, encoder, **stages)
    params, model_state = variables(model)
    # Keys of a Mix Transformer are of a map reduced by 32: a single one has no gradient.
    size = (65, 79) if encoder.startswith("mit") else (33, 47)
    target = photographs(2, *size)

    @jax.jit
    def gradient(params, model_state, image):
        def objective(params):
            outputs, changed = models.forward(model, params, model_state, image, train=True, key=jax.random.key(0))
            return sum((logits * target).mean() for logits in outputs.values()), changed

        return jax.grad(objective, has_aux=True)(params)

    grads, changed = jax.device_get(gradient(params, model_state, photographs(2, *size)))
    assert jax.tree.structure(grads) == jax.tree.structure(params)
    for path, g in flat(grads).items():
        # A bias of the keys moves all scores of a query alike, which the softmax does not see: only rounding.
        assert np.isfinite(g).all() and (np.any(g) or "['key']['bias']" in path), path
    assert jax.tree.structure(changed) == jax.tree.structure(model_state)
    before = flat(model_state)
    for path, statistic in flat(changed).items():
        assert np.isfinite(statistic).all() and (statistic != before[path]).any(), path


@pytest.mark.parametrize(("name", "encoder"), named([pair for pair in LIGHT if pair[1] not in WITHOUT_STATISTICS]))
def test_evaluation_uses_the_running_statistics(network, name, encoder):
    model = network(name, encoder, **(SHALLOW if encoder != "plain" else {}))
    params, model_state = variables(model)
    image = photographs(2, 32, 32)
    other = jax.tree.map(lambda s: s * 2 + 0.1, model_state)
    both = evaluate(model, params, model_state, image)
    assert np.abs(evaluate(model, params, other, image) - both).max() > 0.01
    # An example does not see the others of its batch.
    neighbour = np.stack([image[0], 2 * image[1]])
    np.testing.assert_array_equal(evaluate(model, params, model_state, neighbour)[0], both[0])


def statistics_after(model, part, **options):
    """{path: whether training changes it} of the statistics of one part, from the traced program."""
    jaxpr, results = trace(model, TRAINING, train=True, **options)
    outvars = jax.tree.unflatten(jax.tree.structure(results), jaxpr.jaxpr.outvars)
    return {path: v not in jaxpr.jaxpr.invars for path, v in flat(outvars[1]).items() if f"['{part}']" in path}


@pytest.mark.parametrize(("name", "encoder", "stages"), shallow_and_whole(NETWORKS))
def test_training_changes_the_statistics(network, name, encoder, stages):
    model = network(name, encoder, **stages, **{"model.dtype": "bfloat16"})
    encoder_statistics, decoder_statistics = (statistics_after(model, part) for part in ("encoder", "decoder"))
    assert all(encoder_statistics.values()) and all(decoder_statistics.values())
    assert bool(encoder_statistics) == (encoder not in WITHOUT_STATISTICS)


@pytest.mark.parametrize(("name", "encoder", "stages"), shallow_and_whole(BLOCKS))
def test_frozen_norms_keep_their_statistics(network, name, encoder, stages):
    model = network(name, encoder, **stages, **{"model.dtype": "bfloat16"})
    encoder_statistics, decoder_statistics = (statistics_after(model, part) for part in ("encoder", "decoder"))
    frozen = network(name, encoder, **stages, **{"model.dtype": "bfloat16", "model.encoder.norm": "frozen"})
    assert shapes(frozen) == shapes(model)
    assert statistics_after(frozen, "encoder") == dict.fromkeys(encoder_statistics, False)
    assert statistics_after(frozen, "decoder") == decoder_statistics


@pytest.mark.parametrize(("name", "encoder"), named(TWO_ENCODERS))
def test_a_frozen_encoder_keeps_its_statistics(network, name, encoder):
    model = network(name, encoder)
    assert not any(statistics_after(model, "encoder", frozen=True).values())
    assert statistics_after(model, "decoder", frozen=True) == statistics_after(model, "decoder")


def products(jaxpr):
    """All matrix products and convolutions of a program, in the functions that it calls too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from products(inner)


@pytest.mark.parametrize(("name", "encoder", "stages"), shallow_and_whole(NETWORKS))
def test_bfloat16_computes_every_convolution_in_bfloat16(network, name, encoder, stages):
    model = network(name, encoder, **stages, **{"model.dtype": "bfloat16"})
    jaxpr, (outputs, changed) = trace(model, TRAINING, train=True)
    assert {leaf.dtype for leaf in jax.tree.leaves((outputs, shapes(model), changed))} == {jnp.dtype("float32")}
    found = list(products(jaxpr.jaxpr))
    # A depthwise convolution may be sums of products of pixels instead; pooling and resizing are matrix products too.
    kernels = [leaf for path, leaf in flat(shapes(model)[0]).items() if path.endswith("['kernel']")]
    assert len(found) >= len([kernel for kernel in kernels if kernel.shape[-2] > 1])
    assert {v.aval.dtype for equation in found for v in equation.invars} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize(("name", "encoder"), named(LIGHT))
def test_bfloat16_is_near_float32(network, name, encoder):
    options = SHALLOW if encoder != "plain" else {}
    image = photographs(2, 32, 32)
    one, two = (network(name, encoder, **options, **{"model.dtype": dtype}) for dtype in ("float32", "bfloat16"))
    exact, rounded = (evaluate(model, *variables(one), image) for model in (one, two))
    # bfloat16 has 8 bits; the error of a network of some 20 layers is a few of their last.
    # On average: where two pixels are nearly equal, SegNet may put a value back at the other one.
    assert 0 < np.abs(exact - rounded).mean() < 0.08 * np.abs(exact).mean()


def strides(features, size):
    found = [(size[0] / f.shape[1], size[1] / f.shape[2]) for f in features]
    assert all(rows == columns for rows, columns in found)
    return [rows for rows, _ in found]


EVEN = (64, 96)


@pytest.mark.parametrize("encoder", encoders(PYRAMIDS))
def test_output_stride_dilates_and_keeps_the_parameters(network, encoder):
    natural = found = None
    for stride in (32, 16, 8):
        model = network("unet", encoder, **{"model.encoder.output_stride": stride})
        maps, params = abstract_encoder(model.encoder, EVEN)
        natural = natural or strides(maps, EVEN)
        assert strides(maps, EVEN) == [min(s, stride) for s in natural]
        assert model.encoder.reduction == stride
        found = found or params
        assert params == found
    assert natural in ([1, 2, 4, 8, 16, 32], [2, 4, 8, 16, 32], [4, 8, 16, 32])


@pytest.mark.parametrize("encoder", encoders(PYRAMIDS))
def test_a_shallower_encoder_leaves_the_last_stages_out(network, encoder):
    maps, params = abstract_encoder(network("unet", encoder, **{"model.encoder.output_stride": 32}).encoder, EVEN)
    natural, before = strides(maps, EVEN), flat(params)
    for depth in (4, 3, 2, 1):
        options = {"model.encoder.depth": depth, "model.encoder.output_stride": 32, "model.decoder_channels": ()}
        if 2**depth < natural[0]:
            with pytest.raises(ConfigError, match=rf"config\.model\.encoder\.depth = {depth}: .* Use 2 to 5"):
                network("unet", encoder, **options)
            continue
        model = network("unet", encoder, **options)
        maps, params = abstract_encoder(model.encoder, EVEN)
        assert strides(maps, EVEN) == [s for s in natural if s <= 2**depth]
        assert model.encoder.reduction == 2**depth
        left = flat(params)
        # The same arrays, but not all; VGG's last stage is nothing but a pooling.
        assert left.items() < before.items() or (encoder.startswith("vgg") and depth == 4 and left == before)
        before = left


@pytest.mark.parametrize("encoder", encoders(ENCODERS))
def test_other_numbers_of_channels_change_one_kernel(network, encoder):
    model = network("unet", encoder)
    three = flat(abstract_encoder(model.encoder, EVEN)[1])
    for channels in (1, 4):
        other = flat(abstract_encoder(model.encoder, EVEN, channels)[1])
        (path,) = (path for path in three if other[path].shape != three[path].shape)
        assert other[path].shape[2] == channels and three[path].shape[2] == 3
        for naming in ENCODERS[encoder].namings.values():
            assert path == "".join(f"['{name}']" for name in (*naming.image.split("/"), "kernel"))


@pytest.mark.parametrize("encoder", encoders(PYRAMIDS))
def test_encoders_work_at_odd_sizes_in_every_style(network, encoder):
    # As in the libraries whose weights they take; whether half a pixel is rounded up or down is theirs to say.
    assert next(iter(ENCODERS[encoder].epsilon)) == ("keras" if "lite" in encoder else "torch")  # without weights
    odd, coarser = (45, 61), []
    for style in ENCODERS[encoder].epsilon:
        model = network("unet", encoder, **{"model.encoder.style": style, "model.encoder.output_stride": 32})
        coarser = coarser or strides(abstract_encoder(model.encoder, EVEN)[0], EVEN)
        for stride, feature in zip(coarser, abstract_encoder(model.encoder, odd)[0], strict=True):
            assert all(n // stride <= m <= -(-n // stride) for n, m in zip(odd, feature.shape[1:3], strict=True))


@pytest.mark.parametrize("depth", [1, 3])
def test_plain_features_halve_and_double(network, depth):
    features, _ = abstract_encoder(network("unet", "plain", **{"model.encoder.depth": depth}).encoder, (32, 64))
    assert [f.shape for f in features] == [(1, 32 >> i, 64 >> i, 4 << i) for i in range(depth + 1)]


# They look at the whole map, which has other pixels.
GLOBAL = {"efficientnet_b0": "squeeze and excitation", "mit_b0": "attention"}
# VGG and ConvNeXt, with one block in each stage, are tested in files of their own too.
STRIDED = set(LIGHT_ENCODERS) & set(PYRAMIDS) - set(GLOBAL) - {"resnet18", "mobilenet", "mobilenetv2"}


@pytest.mark.parametrize(
    ("encoder", "style"),
    [
        *((name, "torch") for name in ("resnet18", "mobilenet", "mobilenetv2")),
        *(pytest.param(name, "torch", marks=pytest.mark.slow) for name in sorted(STRIDED)),
        *(("mobilenet", "keras"), pytest.param("mobilenetv2", "keras", marks=pytest.mark.slow)),
        *(pytest.param("resnet50", style, marks=pytest.mark.slow) for style in ("torch", "keras")),
    ],
)
def test_a_dilated_encoder_sees_what_the_strided_one_sees(network, encoder, style):
    # Dilation instead of stride computes the same features at more places (Yu and Koltun 2016): every fourth pixel
    # at output stride 8 is a pixel at output stride 32. So weights learned at one serve at the other.
    options = {"model.encoder.style": style}
    coarse, fine = (
        network("unet", encoder, **options, **{"model.encoder.output_stride": stride}) for stride in (32, 8)
    )
    params, model_state = variables(coarse)
    tree = {name: tree["encoder"] for name, tree in {"params": params, **model_state}.items() if "encoder" in tree}
    image = photographs(1, 64, 96)
    coarse, fine = jax.jit(lambda x: [m.encoder.apply(tree, x, False)[-1] for m in (coarse, fine)])(image)
    assert (coarse.shape[1:3], fine.shape[1:3]) == ((2, 3), (8, 12))
    np.testing.assert_allclose(fine[:, ::4, ::4], coarse, rtol=1e-3, atol=1e-4 * float(np.abs(coarse).max()))


@pytest.mark.parametrize(("name", "encoder", "stages"), shallow_and_whole(LIGHT))
def test_a_checkpoint_keeps_every_array(network, tmp_path, name, encoder, stages):
    params, model_state = variables(network(name, encoder, **stages))
    state = TrainState.begin(params, model_state, {}).replace(step=np.int32(3))
    checkpoints = CheckpointWriter(tmp_path / "checkpoints")
    checkpoints.save(state, {}, score=None)
    checkpoints.wait()
    restored, _ = checkpoints.restore(3, jax.eval_shape(lambda: state))
    checkpoints.close()
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, restored, state)


UNET_OPTIONS = [
    *({"model.upsampling": name} for name in unet.UPSAMPLINGS),
    *({"model.norm": name} for name in layers.NORMS),
    {"model.decoder_channels": (5, 3)},
    {"model.decoder_channels": (5,)},  # stops at half the resolution
    # Up to the full resolution, over skips that are at the resolution already.
    {
        "model.encoder.name": "resnet18",
        "model.encoder.depth": 5,
        "model.encoder.output_stride": 8,
        "model.decoder_channels": (4,) * 5,
    },
]


@pytest.mark.parametrize("options", UNET_OPTIONS, ids=lambda o: ",".join(f"{k}={v}" for k, v in o.items()))
def test_unet_options_learn_with_every_parameter(build, options):
    model = build(options)
    params, model_state = variables(model)
    target = photographs(2, 32, 32)
    grads = jax.jit(
        jax.grad(
            lambda p: (
                models.forward(model, p, model_state, target[:, :24], train=True)[0]["logits"] * target[:, :24]
            ).mean()
        )
    )(params)
    for path, g in flat(jax.device_get(grads)).items():
        assert np.isfinite(g).all() and np.any(g), path


@pytest.mark.parametrize("upsampling", unet.UPSAMPLINGS)
@pytest.mark.parametrize("norm", layers.NORMS)
@pytest.mark.parametrize("channels", [(), (6, 2)])
def test_unet_decoder_has_the_parameters_of_its_options(build, upsampling, norm, channels):
    # Encoder maps of 4, 8, 16 channels; width w after a skip of s channels from x channels.
    model = build({"model.upsampling": upsampling, "model.norm": norm, "model.decoder_channels": channels})
    expected, x = 0, 16
    for width, skip in zip(channels or (8, 4), (8, 4), strict=True):
        up = x
        if upsampling == "transpose":
            expected += 4 * x * width + width
            up = width
        extra = {"none": 1, "batch": 2, "frozen": 2, "group": 2}[norm]  # bias, or scale and bias
        expected += 9 * (skip + up) * width + extra * width + 9 * width * width + extra * width
        x = width
    expected += x * CLASSES + CLASSES
    assert models.count(shapes(model)[0]["decoder"]) == expected


@pytest.mark.parametrize(
    "options",
    [{"model.decoder_channels": (4, 4, 4)}, {"model.encoder.name": "resnet18", "model.decoder_channels": (4,) * 6}],
)
def test_too_many_decoder_channels_are_refused(build, options):
    with pytest.raises(ConfigError, match=r"config\.model\.decoder_channels has too many entries.*Leave out"):
        shapes(build(options))


def test_classic_unet_has_the_parameters_of_the_paper(build):
    # Ronneberger et al. 2015 with 3 input channels. Level of c channels from d: 9dc + c + 9cc + c; upwards to c:
    # 4 * 2c * c + c, then 9 * 2c * c + c and 9cc + c; head 64 * 2 + 2.
    down = [(3, 64), (64, 128), (128, 256), (256, 512), (512, 1024)]
    encoder = sum(9 * d * c + 9 * c * c + 2 * c for d, c in down)
    decoder = sum(8 * c * c + 18 * c * c + 9 * c * c + 3 * c for c in (512, 256, 128, 64)) + 130
    assert (encoder, decoder) == (18_843_200, 12_188_610)
    model = build(
        {"model.encoder.width": 64, "model.encoder.depth": 4, "model.norm": "none", "model.upsampling": "transpose"}
    )
    model = model.clone(decoder=model.decoder.clone(classes=2))
    params, model_state = shapes(model)
    assert {part: models.count(tree) for part, tree in params.items()} == {"encoder": encoder, "decoder": decoder}
    assert models.count(params) == 31_031_810 and not model_state


@pytest.mark.parametrize("encoder", encoders(COUNTS, DEEP))
def test_encoders_have_the_parameters_of_other_libraries(network, encoder):
    model = network("unet", encoder, **{"model.encoder.alpha": 1.0})
    count = models.count(abstract_encoder(model.encoder, EVEN)[1])
    assert count == references.load("counts")[COUNTS[encoder]]
    assert MILLIONS[encoder] == round(count / 1e6, 2)


@pytest.mark.parametrize("encoder", sorted(ENCODERS.keys() - COUNTS))
def test_the_other_encoders_have_the_parameters_that_are_listed(encoder):
    encoder_of_recipes = models.build(
        with_fields(default.get_config(), {"model.encoder.name": encoder}), classes=2
    ).encoder
    assert MILLIONS[encoder] == round(models.count(abstract_encoder(encoder_of_recipes, EVEN)[1]) / 1e6, 2)


def test_every_encoder_with_weights_has_a_known_number_of_parameters():
    assert list(MILLIONS) == list(ENCODERS)
    # MobileNet is Keras's alone; encoders/test_efficientnet_lite.py has the numbers of its encoders.
    others = {"mobilenet", *efficientnet_lite.ENCODERS}
    assert {name for name, entry in ENCODERS.items() if entry.namings} - set(COUNTS) == others


def test_deeplab_decoder_parameters_by_hand(build):
    # On 16 channels, low-level features of 4 (the finest of 4, 8, 16), rates (1, 2), 256 channels; a norm has 2c.
    c = 256
    aspp = (16 * c + 2 * c) + 2 * (9 * 16 * c + 2 * c) + (16 * c + 2 * c) + (4 * c * c + 2 * c)
    refine = (9 * (c + 48) * c + 2 * c) + (9 * c * c + 2 * c)
    expected = aspp + (4 * 48 + 2 * 48) + refine + (c * CLASSES + CLASSES)
    assert models.count(shapes(build({"model.name": "deeplabv3plus", "model.channels": 256}))[0]["decoder"]) == expected


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        *((name, {}) for name in MODELS),
        *((name, {"model.pool_bins": (2, 3)}) for name in ("pspnet", "upernet")),
        ("pspnet", {"model.encoder.style": "smp"}),
    ],
)
def test_decoders_say_whether_a_norm_sees_one_value_of_an_image(name, fields):
    config = with_fields(default.get_config(), {"model.name": name, "model.encoder.name": "resnet18", **fields})
    model, maps = models.build(config, classes=CLASSES), set()

    def note(apply, args, kwargs, context):
        if isinstance(context.module, nn.BatchNorm) and "decoder" in context.module.path:
            maps.add(args[0].shape[1:3])
        return apply(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(lambda: models.init(model, jax.random.key(0), (1, 256, 256, 3)))
    assert decoders.least_images(config.model) == (2 if (1, 1) in maps else 1)
    assert decoders.least_images(with_fields(config, {"model.norm": "frozen"}).model) == 1


@pytest.mark.parametrize("name", MODELS)
def test_dropout_draws_in_training_only(network, name):
    model = network(name, "plain", **{"model.dropout": 0.5, "model.norm": "none"})
    params, model_state = variables(model)
    image = photographs(1, 16, 16)

    @jax.jit
    def train(key):
        return models.forward(model, params, model_state, image, train=True, key=key)[0]["logits"]

    first = train(jax.random.key(1))
    np.testing.assert_array_equal(first, train(jax.random.key(1)))
    assert np.abs(first - train(jax.random.key(2))).max() > 0.01
    none = network(name, "plain", **{"model.dropout": 0.0, "model.norm": "none"})
    np.testing.assert_array_equal(
        evaluate(model, params, model_state, image), evaluate(none, params, model_state, image)
    )
    with pytest.raises(Exception, match="dropout"):
        jax.eval_shape(lambda: models.forward(model, params, model_state, image, train=True))


@pytest.mark.parametrize(("name", "part"), [*((name, "decoder") for name in MODELS), ("unet", "encoder")])
def test_each_part_drops_its_features_in_training(network, name, part):
    model = network(name, "plain", **{"model.dropout": 0.5, "model.norm": "none"})
    params = {"params": variables(model)[0][part]}
    features = [photographs(1, 16 >> i, 16 >> i).repeat(2 << i, -1)[..., : 4 << i] for i in range(3)]
    x = photographs(1, 16, 16) if part == "encoder" else features

    @jax.jit
    def train(key):
        return jax.tree.leaves(getattr(model, part).apply(params, x, True, rngs={"dropout": key}))[-1]

    assert np.abs(train(jax.random.key(1)) - train(jax.random.key(2))).max() > 0.01


# The others are made of the same parts.
LEARNING = {"unet", "fcn8s", "segnet", "deeplabv3plus", "danet", "segformer"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in LEARNING else [pytest.mark.slow]) for name in MODELS]
)
def test_overfits_one_batch(network, name):
    model = network(name, "plain")
    params, model_state = variables(model)
    rng = np.random.default_rng(0)
    # Squares of 4x4 pixels with colours and classes of their own: two of three pixels must be learned by heart.
    label = rng.integers(CLASSES, size=(2, 4, 4)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    image = rng.standard_normal((2, 4, 4, 3), np.float32).repeat(4, 1).repeat(4, 2)
    optimizer = optax.adam(1e-2)

    @jax.jit
    def update(params, model_state, opt_state):
        def objective(params):
            outputs, changed = models.forward(model, params, model_state, image, train=True)
            return losses.mean(*losses.reduce(*losses.pixel.cross_entropy(outputs["logits"], label))), changed

        (loss, changed), grads = jax.value_and_grad(objective, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), changed, opt_state, loss

    opt_state, history = optimizer.init(params), []
    for _ in range(100):  # logits at a quarter of the resolution take the longest
        params, model_state, opt_state, loss = update(params, model_state, opt_state)
        history.append(float(loss))
    assert history[0] > 0.9 and history[-1] < 0.1


def test_initialisation_depends_on_the_key_alone(network):
    model = network("unet", "plain", **{"model.encoder.depth": 1})
    init = jax.jit(lambda key, h: models.init(model, key, (1, h, 16, 3)), static_argnums=1)
    one, again, larger, other = (init(jax.random.key(k), h) for k, h in ((0, 16), (0, 16), (0, 32), (1, 16)))
    for same in (again, larger):
        jax.tree.map(np.testing.assert_array_equal, one, same)
    kernels = [path for path in flat(one[0]) if path.endswith("['kernel']")]
    assert kernels and all((flat(one[0])[path] != flat(other[0])[path]).any() for path in kernels)
    assert {leaf.dtype for leaf in jax.tree.leaves(one)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("field", "name", "meant"),
    [
        ("model.name", "unett", "unet"),
        ("model.encoder.name", "resnet-50", "resnet50"),
        ("model.dtype", "float16", "bfloat16"),
    ],
)
def test_unknown_names_are_refused(build, field, name, meant):
    with pytest.raises(ConfigError, match=rf"config\.{field} = '{name}' is not one of: .*Did you mean '{meant}'\?"):
        build({field: name})


CONFIGS = recipes.names()
DEEP_CONFIGS = {
    "camvid_deeplabv3plus",
    *("reference/cityscapes_ids_danet", "reference/road_scenes_deeplabv3plus", "reference/pets_tfds"),
}


@pytest.mark.parametrize("file", [pytest.param(file, marks=slow_if(file, DEEP_CONFIGS)) for file in CONFIGS])
def test_every_configuration_builds(file):
    config = recipes.recipe(file)
    config.data.dir = config.data.dir or "somewhere"
    config.model.encoder.weights = ""  # there may be none here
    mesh = sharding.make_mesh(1)
    program.check(config, devices=1)
    config = pretrained.resolve(config)
    program.check(config, devices=1)
    built = program.Functions(config, classes=11, mesh=mesh, length=Length(10, every=10))
    state = built.abstract_state
    size = next(size for size in (config.augment.crop, config.data.size, (96, 128)) if all(size))
    image = jax.ShapeDtypeStruct((config.train.batch_size, *size, 3), jnp.float32)
    outputs, changed = jax.eval_shape(
        lambda p, s, x: models.forward(built.model, p, s, x, train=True, key=jax.random.key(0)),
        state.params,
        state.model_state,
        image,
    )
    assert outputs["logits"].shape == (*image.shape[:3], 11)
    assert jax.tree.map(np.shape, changed) == jax.tree.map(np.shape, state.model_state)


REMAT = [
    pytest.param(case.values[1], case.values[2], id=case.id.removeprefix("unet-"), marks=case.marks)
    for case in shallow_and_whole([pair for pair in LIGHT if pair[0] == "unet"])
]


@pytest.mark.parametrize(("encoder", "stages"), REMAT)
def test_rematerialisation_keeps_the_parameters_and_computes_more(network, encoder, stages):
    image, work, trees = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32), [], []
    for again in (False, True):
        model = network("unet", encoder, **stages, **{"model.remat": again})

        def loss(params, model_state, image, model=model):
            outputs, _ = models.forward(model, params, model_state, image, train=True, key=jax.random.key(0))
            return (outputs["logits"] ** 2).mean()

        trees.append(shapes(model))
        work.append(len(list(products(jax.make_jaxpr(jax.grad(loss))(*trees[-1], image).jaxpr))))
    assert jax.tree.structure(trees[0]) == jax.tree.structure(trees[1])
    assert work[1] > 1.1 * work[0]


def test_rematerialisation_changes_no_number(network):
    image, results = photographs(2, 32, 32), []
    for again in (False, True):
        model = network("unet", "plain", **{"model.remat": again})
        params, model_state = variables(model)

        def loss(params, model_state, model=model):
            outputs, changed = models.forward(model, params, model_state, image, train=True, key=jax.random.key(0))
            return (outputs["logits"] ** 2).mean(), changed

        results.append(jax.jit(jax.grad(loss, has_aux=True))(params, model_state))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(a).max()), *results)
