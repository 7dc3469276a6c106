"""U-Net from scratch on CamVid in SegNet's layout: 367 training and 101 validation images of 480x360, 11 classes.

python -m seg_jax.main --config=configs/camvid_unet.py --config.data.dir=DIR --workdir=runs/camvid_unet

On two CPU cores: 28 minutes (beside other work), val mIoU 0.527 at 480x360 (seed 0).
"""

from seg_jax.config import Config, default


def get_config() -> Config:
    """A narrow U-Net that two CPU cores can train; --config.model.encoder.width=64 is the paper's."""
    c = default.get_config()
    c.data.source = "folder"
    c.data.labels = "camvid"
    c.augment.crop = (224, 288)
    c.augment.scale = (0.6, 1.4)
    c.augment.rotate = 5.0
    c.augment.brightness = c.augment.contrast = c.augment.saturation = 0.3
    c.augment.hue = 0.03
    c.model.encoder.width = 16
    # Square roots of median frequency / frequency over the training masks: poles, signs and people are 4 % of the
    # pixels.
    c.loss.class_weights = (0.52, 0.44, 2.14, 0.38, 1.0, 0.68, 1.96, 2.0, 0.87, 2.65, 3.92)
    c.train.batch_size = 4
    c.train.epochs = 24.0
    c.eval.batch_size = 4
    c.eval.every_epochs = 4.0
    c.optim.lr = 2e-3
    c.optim.warmup_steps = 100
    c.optim.grad_clip = 5.0
    return c
