"""U-Net on a pretrained MobileNetV2 on CamVid, on two CPU cores.

python -m seg_jax.main --config=configs/camvid_unet_mobilenetv2.py --config.data.dir=DIR \
    --config.model.encoder.weights=WEIGHTS --workdir=runs/camvid_unet_mobilenetv2

Measured on two cores of an AMD EPYC server, shared with other work, float32, seed 0, torchvision's weights: val mIoU
0.613 after 552 steps (12 minutes), 0.655 with pixel accuracy 0.920 after 736 (16 minutes), 0.659 with 0.918 at the end
(1,101 steps, 28 minutes), at 480x360.

WEIGHTS: MobileNetV2 1.0 of torchvision (.safetensors, .pth), timm or Keras (.h5), or "imagenet".
"""

from seg_jax.config import Config, recipe


def get_config() -> Config:
    """An expanding path as wide as the encoder's features, logits at stride 2."""
    c = recipe("camvid_unet")
    c.augment.crop = (288, 288)
    c.augment.scale = (0.5, 1.5)
    c.model.encoder.name = "mobilenetv2"
    c.model.encoder.norm = "frozen"
    c.model.decoder_channels = (128, 64, 48, 32)
    c.model.upsampling = "nearest"
    # Square roots of the weights of a network from scratch: a pretrained one finds rare classes sooner.
    c.loss.class_weights = (0.72, 0.66, 1.46, 0.62, 1.0, 0.82, 1.4, 1.41, 0.93, 1.63, 1.98)
    c.train.batch_size = 8
    c.train.epochs = 24.0
    c.optim.lr = 2e-3
    c.optim.weight_decay = 1e-2
    c.finetune.encoder_lr = 0.25
    return c
