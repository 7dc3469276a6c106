"""U-Net of 7.8 million parameters from scratch on CamVid's 367 training and 101 validation images, for one GPU.

python -m seg_jax.main --config=configs/camvid_fast.py --config.data.dir=DIR --workdir=runs/camvid_fast

DIR holds train_images.npy, train_labels.npy, val_images.npy and val_labels.npy, uint8; SegNet's folders need
--config.data.source=folder. Data stays on the device, ten steps are one program, nothing needs TensorFlow. Steps
between evaluations and log lines are multiples of ten: no second program is compiled for the steps in between.

Candidates that are to be compared with it, one change at a time:

seg-jax compare --config=configs/camvid_fast.py --config.data.dir=DIR --workdir=runs/fast \
    --run='model.encoder.width=32' --run='loss.weights.dice=0.5' --run='optim.lr=1e-3 train.batch_size=8' \
    --run='loss.class_weights=(0.72,0.66,1.46,0.62,1.0,0.82,1.4,1.41,0.93,1.63,1.98)' --run='loss.weights.lovasz=0.5' \
    --run='model.name=fcdensenet67 model.encoder.name=fcdensenet67 model.encoder.depth=5' \
    --run='model.name=fcdensenet103 model.encoder.name=fcdensenet103 model.encoder.depth=5'

A first version. `python -m benchmarks.accelerator` runs it for the minutes that it has: on an H100 5,580 steps took two
minutes and reached a val mIoU of 0.698 (docs/accelerators.md).
"""

from seg_jax.config import Config, default


def get_config() -> Config:
    """Strong augmentation, smoothed labels, an average of the weights, and a cosine to the end."""
    c = default.get_config()
    c.data.source = "arrays"
    c.data.labels = "camvid"
    c.data.cache = "device"
    c.augment.crop = (360, 360)
    c.augment.scale = (0.75, 2.0)
    c.augment.brightness = c.augment.contrast = c.augment.saturation = 0.2
    c.model.encoder.width = 32
    c.model.encoder.output_stride = 8  # which the plain encoder does not use; crops of 360 are a multiple of it
    c.model.dropout = 0.2
    c.model.dtype = "bfloat16"
    c.loss.label_smoothing = 0.11
    c.optim.lr = 2e-3
    c.optim.warmup_steps = 100
    c.optim.weight_decay = 1e-2
    c.optim.ema = 0.999
    c.train.batch_size = 16
    c.train.steps = 6000
    c.train.steps_per_dispatch = 10
    c.eval.every_steps = 600
    c.log.every_steps = 50
    c.log.tensorboard = False
    return c
