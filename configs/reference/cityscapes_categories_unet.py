"""U-Net on the 8 categories of Cityscapes at 256x256, up to 100 epochs: the best checkpoint, stopped early.

python -m seg_jax.main --config=reference/cityscapes_categories_unet --config.data.dir=DIR \
    --workdir=runs/cityscapes_categories_unet

DIR holds leftImg8bit/ and gtFine/. Flat, construction, object, nature, sky, human, vehicle and void. Optimizer, batch
and patience are not told and are ours.

The source reports accuracy 0.91 and mIoU 0.682 in validation. Not yet measured here.
"""

from seg_jax.config import Config, recipe


def get_config() -> Config:
    """Ends after ten epochs without a better mIoU."""
    c = recipe("reference/cityscapes_ids_unet")
    c.data.cityscapes.labels = "categories"
    c.augment.rotate = 0.0
    c.augment.brightness = 0.0
    c.train.epochs = 100.0
    c.checkpoint.metric = "miou"
    c.early_stop.patience = 10
    return c
