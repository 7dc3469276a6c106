"""DeepLabV3+ on ResNet-101 for road scenes at 256x256, from Hugging Face's `datasets`: 30 epochs.

python -m seg_jax.main --config=reference/road_scenes_deeplabv3plus --config.data.dir=DIR \
    --workdir=runs/road_scenes_deeplabv3plus
python -m seg_jax.main --mode=eval --workdir=runs/road_scenes_deeplabv3plus --config.data.val_split=test

DIR is what `DatasetDict.save_to_disk` wrote: the splits train, val and test with a column of photographs and one of
masks, and a class_names.json. Atrous rates 6, 12, 18 and 24 beside image pooling, dropout. Optimizer, batch and weights
are not told and are ours.

The source reports loss 0.28 and accuracy 0.931. Not yet measured here.
"""

from seg_jax.config import Config, default


def get_config() -> Config:
    """Output stride 16, ImageNet's weights, gradient descent with the poly schedule of the paper."""
    c = default.get_config()
    c.data.source = "huggingface"
    c.data.size = (256, 256)
    c.model.name = "deeplabv3plus"
    c.model.encoder.name = "resnet101"
    c.model.encoder.weights = "imagenet"
    c.model.encoder.output_stride = 16
    c.model.aspp_rates = (6, 12, 18, 24)
    c.model.dropout = 0.1
    c.optim.name = "sgd"
    c.optim.lr = 7e-3
    c.optim.schedule = "polynomial"
    c.train.epochs = 30.0
    return c
