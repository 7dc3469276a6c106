"""U-Net from scratch on CamVid's 367 training and 101 validation images of 480x360, at most 150 minutes on two cores.

python -m seg_jax.main --config=configs/camvid_cpu_scratch.py --config.data.dir=DIR --workdir=runs/camvid_cpu_scratch

DIR holds SegNet's folders: train, trainannot, val and valannot. Not trained yet. FC-DenseNet56 in its place
(--config.model.name=fcdensenet56 --config.model.encoder.name=fcdensenet56 --config.model.encoder.depth=0
--config.model.dropout=0.2) has fewer parameters and ten times the operations.
"""

from seg_jax.config import Config, recipe


def get_config() -> Config:
    """The network, loss and crops of `camvid_cpu`, which start from random values: more dropout, a higher rate."""
    c = recipe("camvid_cpu")
    c.model.encoder.weights = ""
    c.model.encoder.norm = ""  # as of the whole network: batch norm, which learns its statistics
    c.model.dropout = 0.2
    c.finetune.encoder_lr = 1.0
    c.optim.lr = 2e-3
    c.train.epochs = 100.0
    return c
