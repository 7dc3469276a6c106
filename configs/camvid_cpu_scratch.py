"""U-Net from scratch on CamVid's 367 training and 101 validation images of 480x360, at most 150 minutes on two cores.

python -m seg_jax.main --config=configs/camvid_cpu_scratch.py --config.data.dir=DIR --workdir=runs/camvid_cpu_scratch

DIR holds SegNet's folders: train, trainannot, val and valannot. Not trained yet. FC-DenseNet56 in its place
(--config.model.name=fcdensenet56 --config.model.encoder.name=fcdensenet56 --config.model.encoder.depth=0
--config.model.dropout=0.2) has fewer parameters and ten times the operations.
"""

from seg_jax.config import Config, recipe


def get_config() -> Config:
    """The network, loss and augmentation of `camvid_unet`, a longer course, dropout, and an average of the weights."""
    c = recipe("camvid_unet")
    c.augment.scale = (0.7, 1.6)
    c.model.encoder.width = 24
    c.model.dropout = 0.2
    c.loss.weights.dice = 0.5
    c.optim.ema = 0.999
    c.optim.weight_decay = 1e-2
    c.train.epochs = 120.0
    c.eval.every_epochs = 10.0
    return c
