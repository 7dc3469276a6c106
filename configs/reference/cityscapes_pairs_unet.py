"""U-Net on Kaggle's "cityscapes-image-pairs": 2,097 files to learn from and 500 to evaluate on, 30 classes.

python -m seg_jax.main --config=reference/cityscapes_pairs_unet --config.data.dir=DIR \
    --workdir=runs/cityscapes_pairs_unet

DIR holds train/ and val/ with JPEGs of 512x256, photograph left and colour mask right. Rotation, flip, scale, and Adam;
strengths, batch and epochs are not told and are ours.

The source reports mIoU 0.480 and accuracy 0.887 in training, 0.326 and 0.832 in validation. Not yet measured here.
"""

from seg_jax.config import Config, default


def get_config() -> Config:
    """The network of the paper, 64 to 1024 channels, with batch norm."""
    c = default.get_config()
    c.data.source = "pairs"
    c.data.labels = "thirty"
    c.data.pairs.train_size = 2097
    c.augment.rotate = 10.0
    c.augment.flip = 0.5
    c.augment.scale = (0.8, 1.25)
    c.model.encoder.width = 64
    c.optim.name = "adam"
    c.optim.schedule = "constant"
    c.optim.weight_decay = 0.0
    c.train.epochs = 50.0
    return c
