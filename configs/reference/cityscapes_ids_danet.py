"""DANet on EfficientNet-B3 from ImageNet, the 34 label ids of Cityscapes at 256x256: SGD at 0.2, focal loss, 10 epochs.

python -m seg_jax.main --config=reference/cityscapes_ids_danet --config.data.dir=DIR --workdir=runs/cityscapes_ids_danet

DIR holds leftImg8bit/ and gtFine/. Momentum 0.9, batches of 16; a class counts where its probability exceeds 0.5.

The source reports IoU 0.546 in training and 0.505 in validation. Not yet measured here.
"""

from seg_jax.config import Config, recipe


def get_config() -> Config:
    """The best checkpoint is chosen by the IoU of probabilities above 0.5."""
    c = recipe("reference/cityscapes_ids_unet")
    c.augment.rotate = 0.0
    c.augment.brightness = 0.0
    c.model.name = "danet"
    c.model.encoder.name = "efficientnet_b3"
    c.model.encoder.weights = "imagenet"
    c.loss.weights.cross_entropy = 0.0
    c.loss.weights.focal = 1.0
    c.loss.focal.alpha = 0.25
    c.loss.focal.gamma = 2.0
    c.optim.name = "sgd"
    c.optim.lr = 0.2
    c.optim.momentum = 0.9
    c.train.epochs = 10.0
    c.eval.threshold = 0.5
    c.checkpoint.metric = "miou_above"
    return c
