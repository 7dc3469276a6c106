"""U-Net from scratch on CamVid in SegNet's layout (367 training, 101 validation images of 480x360).

python -m seg_jax.main --config=configs/camvid_unet.py --config.data.dir=DIR --workdir=runs/camvid_unet
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """U-Net of width 32, whole images at 360x480, 11 classes."""
    c = default.get_config()
    c.data.source = "folder"
    c.data.labels = "camvid"
    c.augment.crop = (224, 288)
    c.augment.scale = (0.6, 1.6)
    c.augment.rotate = 5.0
    c.augment.brightness = c.augment.contrast = c.augment.saturation = 0.3
    c.augment.hue = 0.03
    c.model.encoder.width = 32
    c.train.batch_size = 8
    c.train.epochs = 60.0
    c.eval.batch_size = 4
    c.eval.every_epochs = 5.0
    c.optim.lr = 2e-3
    c.optim.warmup_steps = 100
    c.optim.grad_clip = 5.0
    return c
