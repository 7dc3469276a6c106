"""DeepLabV3+ on ResNet-101, atrous rates 6, 12, 18 and 24, 30 epochs of Cityscapes.

python -m seg_jax.main --config=configs/deeplabv3plus_resnet101.py --config.data.dir=DIR \
    --config.model.encoder.weights=imagenet --workdir=runs/deeplabv3plus_resnet101

For an accelerator; neither time nor score has been measured to the end.
"""

from seg_jax.config import Config, recipe


def get_config() -> Config:
    """Crops of 512x1024, gradient descent with the poly schedule as in the paper."""
    c = recipe("zoo:deeplabv3plus,resnet101,cityscapes")
    c.model.aspp_rates = (6, 12, 18, 24)
    c.model.dropout = 0.1
    c.optim.name = "sgd"
    c.optim.lr = 7e-3
    c.optim.schedule = "polynomial"
    c.train.epochs = 30.0
    c.eval.every_epochs = 5.0
    return c
