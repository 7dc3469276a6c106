"""DeepLabV3+ with a ResNet encoder on CamVid, rates (6, 12, 18, 24), output stride 16.

python -m seg_jax.main --config=configs/camvid_deeplabv3plus.py --config.data.dir=DIR \
    --workdir=runs/camvid_deeplabv3plus

For an accelerator; neither time nor score has been measured to the end.
"""

from seg_jax.config import Config, recipe


def get_config() -> Config:
    """DeepLabV3+ on ResNet-50; --config.model.encoder.name=resnet18, resnet34, resnet101 select others."""
    c = recipe("camvid_unet")
    c.model.name = "deeplabv3plus"
    c.model.encoder.name = "resnet50"
    c.model.encoder.output_stride = 16
    c.model.aspp_rates = (6, 12, 18, 24)
    c.model.dropout = 0.1
    c.train.batch_size = 16
    c.train.epochs = 200.0
    c.eval.every_epochs = 10.0
    return c
