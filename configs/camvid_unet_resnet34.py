"""U-Net on a ResNet-34 encoder on CamVid.

python -m seg_jax.main --config=configs/camvid_unet_resnet34.py --config.data.dir=DIR \
    --workdir=runs/camvid_unet_resnet34

For an accelerator; neither time nor score has been measured to the end.
"""

from seg_jax.config import Config, recipe


def get_config() -> Config:
    """U-Net's expanding path from stride 32 to the full resolution, nearest upsampling."""
    c = recipe("camvid_unet")
    c.model.encoder.name = "resnet34"
    c.model.encoder.output_stride = 32
    c.model.decoder_channels = (256, 128, 64, 32, 16)
    c.model.upsampling = "nearest"
    c.train.batch_size = 16
    c.train.epochs = 200.0
    c.eval.every_epochs = 10.0
    return c
