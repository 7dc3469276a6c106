"""`camvid_cpu` from random values, at most 150 minutes on two CPU cores.

python -m seg_jax.main --config=configs/camvid_cpu_scratch.py --config.data.dir=DIR --workdir=runs/camvid_cpu_scratch

DIR holds SegNet's folders: train, trainannot, val and valannot; 367 training and 101 validation images of 480x360.

Measured on two cores of an AMD EPYC server with AVX-512 beside other work, float32, seed 0, at 480x360: val mIoU 0.509
after 1,377 steps (18 minutes), 0.602 after 2,295 (27 minutes), 0.661 after 5,508 (64 minutes), 0.676 with pixel
accuracy 0.922 after 7,803 of 9,175 (99 minutes in all). `results/camvid_cpu_scratch.json` has the whole configuration
and every class.
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
