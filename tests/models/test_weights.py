"""Weight files of other libraries, by the way that a training takes: every layout, parts of networks, other models."""

import jax
import numpy as np
import pytest

from seg_jax import models
from seg_jax.models import ENCODERS
from tests.models import parity, references

# Fixture -> the encoder that takes it, with its options; a line for each family and library.
FIXTURES = {
    "resnet18": {"name": "resnet18"},
    "resnet50": {"name": "resnet50"},
    "timm_resnet50": {"name": "resnet50"},
    "mobilenet_v2": {"name": "mobilenetv2"},
    "timm_mobilenetv2_100": {"name": "mobilenetv2"},
    "vgg16_bn": {"name": "vgg16_bn"},
    "efficientnet_b0": {"name": "efficientnet_b0"},
    "convnext_tiny": {"name": "convnext_tiny"},
    "timm_convnext_tiny": {"name": "convnext_tiny"},
    "mit_b0": {"name": "mit_b0"},
    "smp_mit_b0": {"name": "mit_b0"},
}


@pytest.fixture
def config(tiny_config):
    """config(name='mobilenetv2', alpha=0.35) -> the configuration with that encoder, of the usual depth."""

    def make(**encoder):
        fields = {"depth": 5, "output_stride": 32, **encoder}
        return tiny_config({f"model.encoder.{key}": value for key, value in fields.items()})

    return make


QUICK = {"resnet18", "mobilenet_v2", "efficientnet_b0", "convnext_tiny", "mit_b0"}


@pytest.mark.parametrize(
    "fixture", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in FIXTURES]
)
def test_a_shallow_encoder_takes_the_first_stages_of_a_file(config, tmp_path, fixture):
    path = parity.torch_file(tmp_path, fixture)
    _, features = parity.encoder_with(config(**FIXTURES[fixture], depth=3), path)
    case = references.load(fixture)["cases"][0]
    ours = features(references.image(*case["size"]))
    theirs = [output for output in case["outputs"] if output["shape"][1] * 8 >= case["size"][0]]
    assert [list(a.shape) for a in ours] == [output["shape"] for output in theirs] and theirs
    samples = [references.sample(a)[0] for a in ours]
    parity.assert_near(samples, [np.float32(output["values"]) for output in theirs])


# ----- Keras


pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras


def numbered(network):
    """The network with a number of its own in every array, so that none can be mistaken for another."""
    for number, weight in enumerate(network.weights):
        weight.assign(np.full(weight.shape, number + 0.25, np.float32))
    return network


def arrays_from(config, *paths):
    """The encoder's arrays after loading each file, by path; numbers were loaded as they are in Keras's network."""
    model = models.build(config, classes=2)
    shapes = jax.eval_shape(lambda: models.init(model, jax.random.key(0), (1, 32, 32, 3)))
    fresh = jax.tree.map(lambda like: np.zeros(like.shape, like.dtype), shapes)
    found = []
    for path in paths:
        params, model_state = models.load(config, model, *fresh, models.read(config, str(path)), whole=False)
        trees = {"params": params, **model_state}
        leaves = jax.tree_util.tree_leaves_with_path({k: v["encoder"] for k, v in trees.items() if "encoder" in v})
        found.append({jax.tree_util.keystr(path): leaf for path, leaf in leaves})
    return found


def assert_equal(one, two):
    assert one.keys() == two.keys()
    for path, array in one.items():
        np.testing.assert_array_equal(array, two[path], err_msg=path)


LAYOUTS = [
    pytest.param(
        name, alpha, id=f"{name}-{alpha}", marks=[] if (name, alpha) == ("mobilenetv2", 0.5) else pytest.mark.slow
    )
    for name, entry in ENCODERS.items()
    if entry.keras
    for alpha in ((0.5, 1.0) if "mobilenet" in name else (1.0,))
]


@pytest.mark.parametrize(("name", "alpha"), LAYOUTS)
def test_both_formats_of_keras_hold_the_same(config, tmp_path, name, alpha):
    # The newer one has no names, only the order of the layers of each kind; the order of ours must be the same.
    options = {"alpha": alpha} if "mobilenet" in name else {}
    network = numbered(parity.keras_network(ENCODERS[name].keras, (64, 64), **options))
    paths = parity.keras_files(network, tmp_path)
    for depth in (5, 3):
        settings = config(
            name=name, style="keras" if "keras" in ENCODERS[name].epsilon else "torch", alpha=alpha, depth=depth
        )
        old, new = arrays_from(settings, paths["legacy"], paths["by order"])
        assert_equal(old, new)
        different = {float(array.ravel()[-1]) for array in old.values()}
        assert len(different) == len(old)


def test_an_encoder_inside_of_another_model_of_keras(config, tmp_path):
    import keras

    encoder = numbered(parity.keras_network("MobileNetV2", (32, 32), alpha=0.35))
    image = keras.Input((32, 32, 3))
    pool, dense = keras.layers.GlobalAveragePooling2D, keras.layers.Dense
    wholes = {
        "bare": encoder,
        "classifier": keras.Model(encoder.input, dense(3)(pool()(encoder.output))),
        "sequential": keras.Sequential([encoder, pool(), dense(3)]),
        "layer": keras.Model(
            image, dense(3, name="predictions")(pool()(encoder(keras.layers.Rescaling(1 / 127.5, -1)(image))))
        ),
    }
    settings, expected = config(name="mobilenetv2", alpha=0.35, style="keras"), None
    for name, whole in wholes.items():
        whole.compile("adam")  # the file of a whole model holds the optimizer
        (tmp_path / name).mkdir()
        for found in arrays_from(settings, *parity.keras_files(whole, tmp_path / name).values()):
            expected = expected or found
            assert_equal(found, expected)
