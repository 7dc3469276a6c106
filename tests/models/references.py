"""Networks of PyTorch libraries as a reference: random weights, and what the networks make of a random image.

The tests use `fill`, `image`, `sample` and `load`, which need only numpy. A fixture (`fixtures/NAME.json`) holds the
names and shapes of a network's tensors, not their values: `fill` makes the same values from each name here and there.

    {"reference": "torchvision 0.29.2 resnet50",
     "tensors": {"conv1.weight": [64, 3, 7, 7], ...},     the reference's own names, those of its files
     "parameters": 23508032,                              trainable, as far as the outputs depend on them
     "total": 25557032,                                   trainable, all of the reference's
     "config": {...}, "notes": "...",                     whole models only
     "cases": [{"size": [64, 96],                         of image(64, 96)
                "outputs": [{"shape": [1, 32, 48, 64],    finest first
                             "values": [...], "scale": 0.7}]}]}      what sample gives

`counts.json` has numbers of trainable parameters: {"smp/Unet/resnet34": 24438979, ...}.

To write the fixtures anew, from the root of the repository (torch as the build for the CPU):

    uv venv --python 3.11 refs
    uv pip install --python refs/bin/python numpy==2.4.6 safetensors==0.8.0 pillow==13.0.0 filelock typing-extensions \
        sympy networkx jinja2 fsspec mpmath pyyaml tqdm requests packaging regex huggingface-hub==2.4.0
    uv pip install --python refs/bin/python --no-deps torch==2.13.0+cpu torchvision==0.29.2 timm==1.0.31 \
        transformers==5.23.0 tokenizers==0.23.3 typer==0.29.2 segmentation-models-pytorch==0.6.0
    refs/bin/python -m tests.models.references [NAME ...]
"""

import inspect
import json
import re
import sys
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np

FIXTURES = Path(__file__).resolve().parent / "fixtures"
SAMPLES = 128
# A norm in each residual branch: of ResNets, and of EfficientNets and MobileNetV2 after the first block of a stage.
DAMPED = re.compile(r"(layer\d\.\d+\.bn2|features\.\d\.[1-9]\d*\.block\.3\.1|blocks\.\d\.[1-9]\d*\.bn3)\.weight$")


def tensor(name, shape):
    """Random float32 values for a tensor of a network, by its name and shape alone.

    Activations stay between 0.01 and 1000 in every network here and go on depending on the image: fifty residual
    blocks would add up to more if a norm in each were not small.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    role = name.rpartition(".")[2]
    if role in ("layer_scale", "gamma"):
        return rng.uniform(0.5, 1, shape).astype(np.float32)
    if role == "running_var" or (role == "weight" and len(shape) == 1):
        scale = 0.25 if DAMPED.search(name) else 1
        return (scale * rng.uniform(0.5, 1.5, shape)).astype(np.float32)
    deviation = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
    return rng.standard_normal(shape, np.float32) * np.float32(deviation)


def fill(tensors):
    """{name: shape} -> {name: float32 values}."""
    return {name: tensor(name, tuple(shape)) for name, shape in tensors.items() if not is_counter(name)}


def is_counter(name):
    return name.endswith("num_batches_tracked")


def image(height, width, channels=3):
    """A random image [1 h w c], normalised already."""
    return np.random.default_rng(height * 10_000 + width).standard_normal((1, height, width, channels), np.float32)


def sample(feature):
    """(at most 128 values of an array, always the same positions for a shape; mean absolute value)."""
    feature = np.asarray(feature, np.float32)
    rng = np.random.default_rng(feature.shape)
    positions = np.sort(rng.choice(feature.size, min(SAMPLES, feature.size), replace=False))
    return feature.ravel()[positions], float(np.abs(feature, dtype=np.float64).mean())


@cache
def load(name):
    return json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))


# From here on: writing the fixtures.

ENCODER_SIZES = ((64, 96), (65, 97))
EFFICIENTNETS = [f"b{number}" for number in range(8)]
RESNETS = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
# SegFormer's paper, table 6: depths, hidden sizes, width of the decoder.
SEGFORMERS = {
    "b0": ((2, 2, 2, 2), (32, 64, 160, 256), 256),
    "b1": ((2, 2, 2, 2), (64, 128, 320, 512), 256),
    "b2": ((3, 4, 6, 3), (64, 128, 320, 512), 768),
    "b3": ((3, 4, 18, 3), (64, 128, 320, 512), 768),
    "b4": ((3, 8, 27, 3), (64, 128, 320, 512), 768),
    "b5": ((3, 6, 40, 3), (64, 128, 320, 512), 768),
}
SMP_DILATION = (
    "output_stride 16: in the stage of stride 32 (resnet layer4, mobilenet_v2 features[14:]) every convolution, also "
    "in its first block and in the shortcut, gets stride 1, dilation 2 and padding kernel//2*2. output_stride 8: also "
    "the stage of stride 16 (resnet layer3, mobilenet_v2 features[7:14]) with dilation 2, and the last stage with 4. "
    "(torchvision's replace_stride_with_dilation gives the first block of a stage the dilation of the stage before.)"
)
SMP_NOTES = {
    "Unet": (
        "Five blocks from the coarsest map up; each: nearest upsampling to exactly the size of the next finer map (the "
        "last one to the image's), concatenation [upsampled, skip], then twice (3x3 convolution without bias, batch "
        "norm eps 1e-5, relu). The last block (image resolution, 16 channels) has no skip. No attention, no dropout; a "
        "center block (two 3x3 conv-bn-relu of the encoder's last width) only for vgg encoders. Head: 3x3 convolution "
        "with bias, no upsampling."
    ),
    "PSPNet": (
        "encoder_depth 3: uses the map of stride 8 only; later stages are there, counted in total but unused, and no "
        "dilation. Pyramid: adaptive average pooling to 1, 2, 3 and 6 bins (bin i of n: floor(i*h/n) to "
        "ceil((i+1)*h/n), bins may overlap), 1x1 convolution to channels//4, norm, relu, bilinear upsampling with "
        "align_corners=True. The branch of one bin has no batch norm and a convolution with bias, the others batch "
        "norm and no bias. Concatenation [1, 2, 3, 6, the map itself], 1x1 convolution without bias to 512, batch "
        "norm, relu, Dropout2d 0.2. Head: 3x3 convolution with bias, bilinear x8 with align_corners=True."
    ),
    "DeepLabV3": (
        "Encoder with output_stride 8. ASPP on the last map, each branch 256 channels, convolution without bias, batch "
        "norm eps 1e-5, relu: 1x1; 3x3 with rates 12, 24, 36 (full convolutions); global average, 1x1 conv-bn-relu, "
        "broadcast. Concatenation [1x1, 12, 24, 36, global], 1x1 convolution to 256, batch norm, relu, Dropout 0.5. "
        "Then 3x3 convolution without bias 256, batch norm, relu. Head: 1x1 convolution with bias, bilinear x8 with "
        "align_corners=True. " + SMP_DILATION
    ),
    "DeepLabV3Plus": (
        "Encoder with output_stride 16. ASPP as in DeepLabV3, but its 3x3 branches are separable: depthwise 3x3 with "
        "the rate, 1x1 to 256, no bias and nothing between them, batch norm, relu. After the projection (Dropout 0.5) "
        "a separable 3x3 convolution 256, batch norm, relu; bilinear x4 with align_corners=True. Encoder's map of "
        "stride 4: 1x1 convolution without bias to 48, batch norm, relu. Concatenation [upsampled, 48], one separable "
        "3x3 convolution 304 -> 256, batch norm, relu. Head: 1x1 convolution with bias, bilinear x4 with "
        "align_corners=True. " + SMP_DILATION
    ),
    "FPN": (
        "1x1 convolutions with bias to 256 from strides 4, 8, 16, 32, nothing after them; top-down: nearest x2, plus "
        "the lateral map. Each level: 3, 2, 1, 0 times (3x3 convolution without bias to 128, GroupNorm 32 groups eps "
        "1e-5, relu, bilinear x2 with align_corners=True); stride 4 has one such block without the upsampling. Sum of "
        "the four, Dropout2d 0.2. Head: 1x1 convolution with bias, bilinear x4 with align_corners=True."
    ),
    "UPerNet": (
        "A layer norm over channels (eps 1e-6, decoder.feature_norms) on each encoder map of strides 4, 8, 16, 32. "
        "Pyramid on the last: adaptive average pooling to 1, 2, 3, 6 bins, 1x1 conv-bn-relu to 256 (no bias, batch "
        "norm also for one bin), bilinear with align_corners=False; concatenation [the map, 1, 2, 3, 6], 3x3 "
        "conv-bn-relu to 256. Top-down: lateral 1x1 conv-bn-relu to 256 plus the coarser sum, upsampled bilinearly "
        "with align_corners=False; sums pass on before their 3x3 conv-bn-relu (fpn_conv_blocks; none for the "
        "pyramid's output). All to stride 4, bilinear with align_corners=False, concatenation [stride 4, 8, 16, 32], "
        "3x3 conv-bn-relu 1024 -> 256. No dropout. Head: 1x1 convolution with bias, bilinear x4 with "
        "align_corners=True."
    ),
}
SEGFORMER_NOTES = (
    "All layer norms have eps 1e-5 here (nn.LayerNorm's default; config.layer_norm_eps is not used), gelu is exact. "
    "Names are those that save_pretrained writes, which are those of the published files, not those of state_dict(). "
    "Decoder: a linear layer with bias to decoder_hidden_size on each of the four normed maps, nothing after it; "
    "bilinear to stride 4 with align_corners=False; concatenation [stride 32, 16, 8, 4] (coarsest first); 1x1 "
    "convolution without bias, batch norm eps 1e-5, relu, Dropout 0.1 (elementwise), 1x1 convolution with bias. The "
    "logits stay at stride 4."
)

UPERNET_NOTES = (
    "A layer norm over channels (eps 1e-6, backbone.hidden_states_norms) on the map of each stage. Decoder as in "
    "segmentation_models.pytorch's UPerNet, batch norm eps 1e-5, bilinear with align_corners=False everywhere, also to "
    "the size of the image. The auxiliary head plays no part in the logits."
)


@dataclass(frozen=True)
class Reference:
    """A network of another library. `outputs(model, image)` gives maps [1 c h w], finest first."""

    library: str
    name: str
    build: Callable
    outputs: Callable
    sizes: tuple[tuple[int, int], ...] = ENCODER_SIZES
    extra: dict = field(default_factory=dict)

    def __str__(self):
        import importlib

        version = importlib.import_module(self.library).__version__.partition("+")[0]
        return f"{self.library} {version} {self.name}"


def resnet_maps(model, x):
    x = model.bn1(model.conv1(x))
    maps = [model.relu(x) if hasattr(model, "relu") else model.act1(x)]
    x = model.maxpool(maps[0])
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        x = layer(x)
        maps.append(x)
    return maps


def picked(modules, picks, x):
    """The results of modules number `picks` of a chain."""
    maps = []
    for index, module in enumerate(modules[: picks[-1] + 1]):
        x = module(x)
        if index in picks:
            maps.append(x)
    return maps


def feature_maps(*picks):
    return lambda model, x: picked(model.features, picks, x)


def vgg_maps(model, x):
    pools = [index for index, module in enumerate(model.features) if type(module).__name__ == "MaxPool2d"]
    return picked(model.features, [*(index - 1 for index in pools), pools[-1]], x)


def timm_mobilenet_maps(model, x):
    blocks = [model.conv_stem, model.bn1, *model.blocks, model.conv_head, model.bn2]
    return picked(blocks, [2, 3, 4, 6, len(blocks) - 1], x)


def timm_mobilenetv1_maps(model, x):
    return picked([model.conv_stem, model.bn1, *model.blocks], [2, 3, 4, 5, 6], x)


def timm_efficientnet_maps(model, x):
    return picked([model.conv_stem, model.bn1, *model.blocks], [2, 3, 4, 6, 8], x)


def timm_convnext_maps(model, x):
    return picked([model.stem, *model.stages], [1, 2, 3, 4], x)


def smp_maps(model, x):
    return model(x)[1:]


def mit_maps(model, x):
    return [feature for feature in model(x)[1:] if feature.shape[1]]


def segformer_maps(model, x):
    return list(model(pixel_values=x, output_hidden_states=True).hidden_states)


def logits(model, x):
    result = model(x)
    return [result if hasattr(result, "shape") else result["logits"]]


def torchvision_encoders():
    """{name: Reference}, the ones that others wait for first."""
    from torchvision import models

    def add(name, outputs, sizes=ENCODER_SIZES, label="", **options):
        build = partial(getattr(models, name), weights=None, **options)
        table[name + label] = Reference("torchvision", name + label, build, outputs, sizes)

    table = {}
    for name in RESNETS:
        add(name, resnet_maps)
    add("mobilenet_v2", feature_maps(1, 3, 6, 13, 18))
    for name in ("vgg16", "vgg16_bn"):
        add(name, vgg_maps)
    even = ENCODER_SIZES[:1]
    add("resnet50", resnet_maps, even, "_os8", replace_stride_with_dilation=[False, True, True])
    add("resnet50", resnet_maps, even, "_os16", replace_stride_with_dilation=[False, False, True])
    for size in EFFICIENTNETS:
        add(f"efficientnet_{size}", feature_maps(1, 2, 3, 5, 7))
    for name in ("convnext_tiny", "convnext_small"):
        add(name, feature_maps(1, 3, 5, 7))
    return table


def timm_encoders():
    import timm

    maps = {
        "resnet50": resnet_maps,
        "efficientnet_b3": timm_efficientnet_maps,
        "tf_efficientnet_lite0": timm_efficientnet_maps,
        "tf_efficientnet_lite2": timm_efficientnet_maps,
        "mobilenetv1_100": timm_mobilenetv1_maps,
        "mobilenetv2_100": timm_mobilenet_maps,
        "convnext_tiny": timm_convnext_maps,
        "vgg16_bn": vgg_maps,
    }
    return {
        f"timm_{name}": Reference("timm", name, partial(timm.create_model, name, pretrained=False), outputs)
        for name, outputs in maps.items()
    }


def smp_encoders():
    from segmentation_models_pytorch.encoders import get_encoder

    library = "segmentation_models_pytorch"
    extra = {"notes": SMP_DILATION}
    table = {}
    for name in ("resnet18", "mobilenet_v2"):
        for stride in (16, 8):
            build = partial(get_encoder, name, weights=None, output_stride=stride)
            label = f"{name} encoder, output_stride={stride}"
            table[f"smp_{name}_os{stride}"] = Reference(library, label, build, smp_maps, ENCODER_SIZES, extra)
    for number, stride in ((0, 16), (1, 32)):
        build = partial(get_encoder, f"efficientnet-b{number}", weights=None, output_stride=stride)
        label = f"efficientnet-b{number} encoder, output_stride={stride}"
        table[f"smp_efficientnet_b{number}_os{stride}"] = Reference(library, label, build, smp_maps)
    notes = "Layer norms of the patch embeddings and of attention (attn.norm) have eps 1e-5, all others 1e-6."
    build = partial(get_encoder, "mit_b0", weights=None)
    table["smp_mit_b0"] = Reference(library, "mit_b0 encoder", build, mit_maps, ENCODER_SIZES, {"notes": notes})
    return table


def segformer(size, model="SegformerModel", **options):
    import transformers

    depths, widths, decoder = SEGFORMERS[size]
    config = transformers.SegformerConfig(
        depths=depths,
        hidden_sizes=widths,
        decoder_hidden_size=decoder,
        num_attention_heads=(1, 2, 5, 8),
        sr_ratios=(8, 4, 2, 1),
        **options,
    )
    return getattr(transformers, model)(config)


def upernet():
    import transformers

    backbone = transformers.ConvNextConfig(
        depths=[3, 3, 9, 3], hidden_sizes=[96, 192, 384, 768], out_features=["stage1", "stage2", "stage3", "stage4"]
    )
    config = transformers.UperNetConfig(backbone_config=backbone, hidden_size=64, num_labels=5)
    return transformers.UperNetForSemanticSegmentation(config)


def transformers_encoders():
    return {
        f"mit_{size}": Reference(
            "transformers",
            f"SegformerModel mit-{size}",
            partial(segformer, size),
            segformer_maps,
            ENCODER_SIZES,
            {"notes": SEGFORMER_NOTES.partition(" Decoder:")[0]},
        )
        for size in SEGFORMERS
    }


def whole_models():
    import segmentation_models_pytorch as smp

    table = {}
    # Wide enough for DeepLab that a rate of 36 reaches from one side of the last map to the other.
    models = [
        ("Unet", "resnet34", (64, 96)),
        ("Unet", "mobilenet_v2", (64, 96)),
        ("PSPNet", "resnet18", (96, 128)),
        ("PSPNet", "mobilenet_v2", (96, 128)),
        ("DeepLabV3", "resnet18", (64, 320)),
        ("DeepLabV3", "mobilenet_v2", (64, 320)),
        ("DeepLabV3Plus", "resnet18", (64, 640)),
        ("DeepLabV3Plus", "mobilenet_v2", (64, 640)),
        ("FPN", "resnet18", (64, 96)),
        ("UPerNet", "resnet18", (64, 96)),
    ]
    for decoder, encoder, size in models:
        constructor = getattr(smp, decoder)
        given = {"encoder_name": encoder, "encoder_weights": None, "classes": 5}
        config = {
            key: parameter.default
            for key, parameter in inspect.signature(constructor.__init__).parameters.items()
            if parameter.default is not parameter.empty
        }
        table[f"smp_{decoder.lower()}_{encoder}"] = Reference(
            "segmentation_models_pytorch",
            f"{decoder} {encoder}",
            partial(constructor, **given),
            logits,
            (size,),
            {"config": {**config, **given}, "notes": SMP_NOTES[decoder]},
        )
    table["upernet_convnext_tiny"] = Reference(
        "transformers",
        "UperNetForSemanticSegmentation convnext_tiny",
        upernet,
        logits,
        ((64, 96),),
        {"config": upernet().config.to_diff_dict(), "notes": UPERNET_NOTES},
    )
    table["segformer_b0"] = Reference(
        "transformers",
        "SegformerForSemanticSegmentation b0",
        partial(segformer, "b0", "SegformerForSemanticSegmentation", num_labels=5),
        logits,
        ((64, 96),),
        {
            "config": {"num_labels": 5, "decoder_hidden_size": 256, "classifier_dropout_prob": 0.1},
            "notes": SEGFORMER_NOTES,
        },
    )
    return table


def with_values(model):
    """(the network with its values from `fill`, {name: shape} of its file)."""
    import torch

    if type(model).__module__.startswith("transformers."):
        return with_values_of_file(model)
    tensors = {name: list(value.shape) for name, value in model.state_dict().items() if not is_counter(name)}
    state = {name: value for name, value in model.state_dict().items() if is_counter(name)}
    state |= {name: torch.from_numpy(value) for name, value in fill(tensors).items()}
    model.load_state_dict(state)
    return model, tensors


def with_values_of_file(model):
    """transformers has other names in its files than in its networks."""
    from safetensors.numpy import load_file, save_file

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        file = Path(folder) / "model.safetensors"
        stored = load_file(file)
        tensors = {name: list(value.shape) for name, value in stored.items() if not is_counter(name)}
        save_file(stored | fill(tensors), file, metadata={"format": "pt"})
        loaded, info = type(model).from_pretrained(folder, output_loading_info=True)
    problems = {key: value for key, value in info.items() if value}
    assert not problems, problems
    return loaded, tensors


def parameters(model, outputs):
    """(trainable parameters that the outputs depend on, all trainable parameters)."""
    import torch

    weights = [weight for weight in model.parameters() if weight.requires_grad]
    total = sum(output.sum() for output in outputs)
    gradients = torch.autograd.grad(total, weights, allow_unused=True)
    used = sum(weight.numel() for weight, given in zip(weights, gradients, strict=True) if given is not None)
    return used, sum(weight.numel() for weight in weights)


def fixture(reference):
    import torch

    model, tensors = with_values(reference.build().float())
    model.eval()
    cases = []
    for size in reference.sizes:
        x = torch.from_numpy(image(*size)).permute(0, 3, 1, 2).contiguous()
        outputs = reference.outputs(model, x)
        if not cases:
            used, total = parameters(model, outputs)
        cases.append({"size": list(size), "outputs": [described(output) for output in outputs]})
    return {
        "reference": str(reference),
        "tensors": tensors,
        "parameters": used,
        "total": total,
        **reference.extra,
        "cases": cases,
    }


def described(output):
    feature = output.detach().permute(0, 2, 3, 1).contiguous().numpy()
    values, scale = sample(feature)
    assert np.isfinite(feature).all()
    assert 0.01 < scale < 1000, scale
    return {"shape": list(feature.shape), "values": [digits(value) for value in values], "scale": digits(scale)}


def digits(value):
    return float(f"{value:.9g}")


def counts():
    """{path: trainable parameters}; a path that ends in /used, where fewer, counts what the outputs depend on."""
    import segmentation_models_pytorch as smp
    import torch
    from segmentation_models_pytorch.encoders import get_encoder
    from torchvision.models import segmentation

    table = {}

    def count(path, build, outputs, size=64):
        with torch.device("meta"):
            model = build().eval()
        used, total = parameters(model, outputs(model, torch.empty(1, 3, size, size, device="meta")))
        table[path] = total
        if used != total:
            table[f"{path}/used"] = used

    linspace = torch.linspace  # smp's mit encoders read its values
    torch.linspace = partial(linspace, device="cpu")
    encoders = [*RESNETS, "vgg16", "vgg16_bn", "mobilenet_v2", *(f"mit_{size}" for size in SEGFORMERS)]
    encoders += [f"efficientnet-{size}" for size in EFFICIENTNETS]
    for encoder in encoders:
        maps = mit_maps if encoder.startswith("mit") else smp_maps
        count(f"smp/encoder/{encoder}", partial(get_encoder, encoder, weights=None), maps)
    for decoder in SMP_NOTES:
        for encoder in encoders:
            if encoder.startswith("efficientnet") and decoder != "Unet":
                continue
            # vgg has no dilated form, and dilation makes no sense for a transformer
            if encoder.startswith(("vgg", "mit")) and decoder.startswith("DeepLab"):
                continue
            build = partial(getattr(smp, decoder), encoder, encoder_weights=None, classes=19)
            count(f"smp/{decoder}/{encoder}", build, logits)
    torch.linspace = linspace

    for size in SEGFORMERS:
        build = partial(segformer, size, "SegformerForSemanticSegmentation", num_labels=19)
        count(f"transformers/SegFormer/{size}", build, logits)
        count(f"transformers/encoder/mit_{size}", partial(segformer, size), segformer_maps)
    for name, reference in torchvision_encoders().items():
        if "_os" not in name:
            count(f"torchvision/classifier/{name}", reference.build, reference.outputs)
            table[f"torchvision/encoder/{name}"] = table.pop(f"torchvision/classifier/{name}/used")
    for name in ("fcn_resnet50", "fcn_resnet101", "deeplabv3_resnet50", "deeplabv3_resnet101"):
        for aux in (False, True):
            build = partial(
                getattr(segmentation, name), weights=None, weights_backbone=None, num_classes=19, aux_loss=aux
            )
            count(f"torchvision/{name}{'/aux' if aux else ''}", build, lambda model, x: list(model(x).values()))
    return table


def without_compiled_operations():
    """torchvision's compiled operations do not load beside torch's build for the CPU; they are not needed here."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def main(names):
    import torch

    torch.set_num_threads(1)
    library = without_compiled_operations()  # noqa: F841 (its operations vanish with it)
    table = torchvision_encoders() | smp_encoders() | whole_models() | timm_encoders() | transformers_encoders()
    unknown = set(names) - {*table, "counts"}
    if unknown:
        sys.exit(f"no such fixtures: {sorted(unknown)}; there are {sorted({*table, 'counts'})}")
    FIXTURES.mkdir(exist_ok=True)
    for name in names or [*table, "counts"]:
        content = counts() if name == "counts" else fixture(table[name])
        text = json.dumps(content, indent=1) if name == "counts" else json.dumps(content, separators=(",", ":"))
        (FIXTURES / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        scales = [[f"{output['scale']:.3g}" for output in case["outputs"]] for case in content.get("cases", [])]
        print(name, f"{len(text):,} bytes", *scales, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
