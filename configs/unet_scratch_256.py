"""U-Net from scratch with Adam on 256x256 street scenes: batches of 16, 50 epochs.

python -m seg_jax.main --config=configs/unet_scratch_256.py --config.data.dir=DIR --workdir=runs/unet_scratch_256

The classic first tutorial, on photographs that lie beside their colour masks ("cityscapes-image-pairs", 2,975 + 500 of
512x256, each half 256x256). For an accelerator; neither time nor score has been measured to the end.
"""

from seg_jax.config import Config, default


def get_config() -> Config:
    """The network of the paper, 64 to 1024 channels, with batch norm; flips only."""
    c = default.get_config()
    c.data.source = "pairs"
    c.model.encoder.width = 64
    c.optim.name = "adam"
    c.optim.lr = 1e-3
    c.optim.schedule = "constant"
    c.optim.weight_decay = 0.0
    c.train.batch_size = 16
    c.train.epochs = 50.0
    c.eval.every_epochs = 5.0
    return c
