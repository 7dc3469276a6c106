"""Oxford-IIIT Pets from TensorFlow Datasets: an architecture on a pretrained encoder, first frozen, then fine-tuned.

python -m seg_jax.main --config=reference/pets_tfds:unet,mobilenetv2 --workdir=runs/pets_unet_mobilenetv2

All of them, and their comparison on the test set, which none has seen:

for architecture in unet fcn8s deeplabv3 pspnet segnet; do
  for encoder in mobilenet mobilenetv2 vgg16; do
    run=runs/pets_${architecture}_$encoder
    python -m seg_jax.main --config=reference/pets_tfds:$architecture,$encoder --workdir=$run
    python -m seg_jax.main --mode=eval --workdir=$run --config.data.val_split=test
  done
done
python -m seg_jax.report runs/pets_*/eval/test-*

Pet, background and border. 5 epochs with a frozen encoder, then 15 with all of it at a smaller learning rate; these,
and 128x128 pixels, are ours. We know of no scores of its source; not yet measured here.
"""

from seg_jax.config import Config, ConfigError, recipe

ARCHITECTURES = ("unet", "fcn8s", "deeplabv3", "pspnet", "segnet")
ENCODERS = ("mobilenet", "mobilenetv2", "vgg16")


def get_config(spec: str = "") -> Config:
    """The configuration of 'architecture,encoder'; what is left out is that of `unet,mobilenetv2`."""
    parts = [part.strip() for part in spec.split(",") if part.strip()]
    architecture, encoder, *more = (*parts, *("unet", "mobilenetv2")[len(parts) :])
    if more or architecture not in ARCHITECTURES or encoder not in ENCODERS:
        raise ConfigError(
            f"pets_tfds:{spec}: it is architecture,encoder, of {', '.join(ARCHITECTURES)} and {', '.join(ENCODERS)}. "
            "zoo:ARCHITECTURE,ENCODER,pets has all others."
        )
    c = recipe(f"zoo:{architecture},{encoder},pets")
    c.data.source = "tfds"
    c.data.tfds.name = "oxford_iiit_pet"
    c.data.size = (128, 128)
    c.model.encoder.weights = "imagenet"
    c.train.batch_size = 64
    c.train.epochs = 20.0
    c.eval.batch_size = 64
    c.eval.every_epochs = 1.0
    c.finetune.freeze_epochs = 5.0
    c.finetune.lr = 1e-4
    return c
