"""DANet on EfficientNet-B3: gradient descent at 0.2 with momentum 0.9, focal loss, IoU at threshold 0.5, 10 epochs.

python -m seg_jax.main --config=configs/danet_efficientnetb3.py --config.data.dir=DIR \
    --config.model.encoder.weights=imagenet --workdir=runs/danet_efficientnetb3

The setting in which TASM introduces its networks, on Cityscapes. For an accelerator; neither time nor score has been
measured to the end.
"""

from seg_jax.config import Config, recipe


def get_config() -> Config:
    """The best checkpoint is chosen by the IoU of probabilities above 0.5."""
    c = recipe("zoo:danet,efficientnet_b3,cityscapes")
    c.loss.weights.cross_entropy = 0.0
    c.loss.weights.focal = 1.0
    c.loss.focal.alpha = 0.25
    c.loss.focal.gamma = 2.0
    c.optim.name = "sgd"
    c.optim.lr = 0.2
    c.optim.momentum = 0.9
    c.optim.schedule = "constant"
    c.optim.weight_decay = 0.0
    c.train.epochs = 10.0
    c.eval.threshold = 0.5
    c.eval.every_epochs = 1.0
    c.checkpoint.metric = "miou_above"
    return c
