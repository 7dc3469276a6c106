"""U-Net from scratch on the 34 label ids of Cityscapes at 256x256: Adam, cross-entropy, 50 epochs, batches of 16.

python -m seg_jax.main --config=reference/cityscapes_ids_unet --config.data.dir=DIR --workdir=runs/cityscapes_ids_unet

DIR holds leftImg8bit/ and gtFine/. Flip, rotation and brightness; their strengths are not told and are ours.

The source reports accuracy 0.960 in training and 0.811 in validation. Not yet measured here.
"""

from seg_jax.config import Config, default


def get_config() -> Config:
    """The network of the paper, 64 to 1024 channels, with batch norm; every label has a class, the void ones too."""
    c = default.get_config()
    c.data.source = "cityscapes"
    c.data.cityscapes.labels = "ids"
    c.data.size = (256, 256)
    c.augment.flip = 0.5
    c.augment.rotate = 10.0
    c.augment.brightness = 0.2
    c.model.encoder.width = 64
    c.loss.weights.cross_entropy = 1.0
    c.optim.name = "adam"
    c.optim.schedule = "constant"
    c.optim.weight_decay = 0.0
    c.train.batch_size = 16
    c.train.epochs = 50.0
    c.checkpoint.metric = "pixel_accuracy"
    return c
