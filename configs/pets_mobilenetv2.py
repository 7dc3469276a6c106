"""Oxford-IIIT Pets on MobileNetV2, with any architecture: pet, background and border.

python -m seg_jax.main --config=configs/pets_mobilenetv2.py:unet --config.data.dir=DIR \
    --config.model.encoder.weights=imagenet --workdir=runs/pets_unet

Instead of unet: fcn8s, deeplabv3, pspnet, segnet, or any other architecture. Two phases: 5 epochs with a frozen
encoder, then 15 with all of it at a smaller learning rate. Neither time nor score has been measured to the end.
"""

from seg_jax.config import Config, recipe


def get_config(architecture: str = "unet") -> Config:
    """Photographs at 128x128, batches of 64."""
    c = recipe(f"zoo:{architecture or 'unet'},mobilenetv2,pets")
    c.data.size = (128, 128)
    c.train.batch_size = 64
    c.train.epochs = 20.0
    c.eval.batch_size = 64
    c.eval.every_epochs = 1.0
    c.finetune.freeze_epochs = 5.0
    c.finetune.lr = 1e-4
    return c
