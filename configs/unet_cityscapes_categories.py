"""U-Net on the 8 categories of Cityscapes, up to 100 epochs, stopped early.

python -m seg_jax.main --config=configs/unet_cityscapes_categories.py --config.data.dir=DIR \
    --workdir=runs/unet_cityscapes_categories

Flat, construction, object, nature, sky, human, vehicle and void at 256x512. For an accelerator; neither time nor score
has been measured to the end.
"""

from seg_jax.config import Config, recipe


def get_config() -> Config:
    """Ends after ten evaluations without a better mIoU."""
    c = recipe("zoo:unet,plain,cityscapes")
    c.data.cityscapes.labels = "categories"
    c.data.size = (256, 512)
    c.data.cache = "host"
    c.augment.crop = (0, 0)
    c.augment.scale = (1.0, 1.0)
    c.optim.name = "adam"
    c.optim.schedule = "constant"
    c.train.batch_size = 16
    c.train.epochs = 100.0
    c.eval.batch_size = 16
    c.eval.every_epochs = 1.0
    c.early_stop.patience = 10
    return c
