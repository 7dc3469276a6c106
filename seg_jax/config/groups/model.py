"""The network."""

from seg_jax.config.fields import Group, Rule, field, group
from seg_jax.config.rules import AT_LEAST_ONE, DIFFERENT, EACH_AT_LEAST_ONE

RATE = Rule(lambda x: 0 <= x < 1, "this is a probability below 1", "Use a number in [0, 1)")


class EncoderConfig(Group, path="model.encoder"):
    """The network's encoder."""

    name: str = field("plain", "the encoder, see docs/models.md", names="seg_jax.models:ENCODERS")
    weights: str = field(
        "",
        "a weight file (Keras .h5, .safetensors, .pth), hf://OWNER/NAME, timm/NAME, a run, 'imagenet'; '': random",
        free=True,
    )
    style: str = field(
        "auto",
        "arithmetic of a library; auto: that of the weights",
        choices=("auto", "torch", "keras", "smp", "transformers"),
    )
    norm: str = field(
        "",
        "normalisation, if other than model.norm; 'frozen' for a pretrained encoder and small batches",
        names="seg_jax.models.layers:NORMS",
    )
    width: int = field(32, "plain: channels at full resolution", AT_LEAST_ONE)
    alpha: float = field(
        1.0,
        "mobilenet, mobilenetv2: width multiplier",
        Rule(lambda x: x > 0, "it multiplies the channels", "Use 1.0, 0.5 or 0.35"),
    )
    depth: int = field(
        0,
        "how many times the resolution is halved; 0: as in the paper (plain 4, others 5)",
        Rule(lambda n: 0 <= n <= 5, "the resolution is halved 1 to 5 times", "Use 0 for the usual depth"),
    )
    last_stage: bool = field(True, "efficientnet: with the last stage, a fifth of the parameters of B0 and Lite0")
    drop_path: float = field(
        0.0, "efficientnet, convnext, mit: probability of leaving out the last block in training", RATE
    )
    output_stride: int = field(
        0,
        "input size / size of the coarsest features: 8, 16, 32; 0: as in the model's paper",
        Rule(lambda n: n in (0, 8, 16, 32), "it is 8, 16 or 32", "Use 0 for the architecture's own"),
    )


class ModelConfig(Group, path="model"):
    """The network."""

    name: str = field(
        "unet",
        "the architecture, see docs/models.md",
        names="seg_jax.models:MODELS",
    )
    weights: str = field(
        "",
        "of the whole network: a run, an archive, one in the package, hf://OWNER/NAME, a file of smp or transformers",
        free=True,
    )
    norm: str = field(
        "batch",
        "normalisation: batch, frozen (batch with its running statistics), group, none",
        names="seg_jax.models.layers:NORMS",
    )
    dropout: float = field(0.0, "rate, at the places that the architecture's paper names", RATE)
    remat: bool = field(False, "recompute the inside of blocks in the backward pass instead of keeping it: less memory")
    dtype: str = field(
        "float32",
        "of the computation: float32, bfloat16; parameters, statistics and loss stay float32",
        names="seg_jax.models:DTYPES",
    )
    decoder_channels: tuple[int, ...] = field(
        (), "unet: channels of each upward step; (): mirrors the encoder", EACH_AT_LEAST_ONE
    )
    channels: int = field(
        0,
        "of the decoder (all but unet, segnet); 0: as in the paper; fcn: a quarter of the encoder's, on vgg16 4096",
        Rule(lambda n: n >= 0, "it is a number of channels", "Use 0 for the width of the paper"),
    )
    upsampling: str = field(
        "transpose", "unet: transpose, nearest, bilinear", names="seg_jax.models.decoders.unet:UPSAMPLINGS"
    )
    head_kernel: int = field(
        1,
        "of the convolution that gives the logits: 1, or 3 as in segmentation_models.pytorch",
        Rule(lambda n: n in (1, 3), "it is 1 or 3", "Use 1"),
    )
    align_corners: bool = field(False, "of bilinear upsampling; True as in segmentation_models.pytorch")
    aspp_rates: tuple[int, ...] = field(
        (6, 12, 18, 24), "deeplabv3, deeplabv3plus: dilations of the spatial pyramid", EACH_AT_LEAST_ONE, DIFFERENT
    )
    separable: bool = field(False, "deeplabv3, deeplabv3plus: 3x3 convolutions are depthwise separable")
    pool_bins: tuple[int, ...] = field(
        (1, 2, 3, 6),
        "pspnet, upernet: bins along an axis of the pooling pyramid",
        Rule(
            lambda bins: len(bins) > 0 and all(isinstance(n, int) and n >= 1 for n in bins),
            "there is at least one grid, of one bin or more along an axis",
            "Use (1, 2, 3, 6)",
        ),
        DIFFERENT,
    )
    encoder: EncoderConfig = group(EncoderConfig)
