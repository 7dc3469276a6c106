#!/usr/bin/env bash
# Builds the sdist and from it the wheel, installs the wheel alone into a new environment, and uses it from another
# directory, where nothing of the repository can be imported: train, predict, evaluate, export, inspect data, train on them.
#
# usage: tests/wheel.sh [PYTHON]    3.11, 3.12 or 3.13; without it the one that .venv was made with
set -euo pipefail
cd -- "$(dirname "${BASH_SOURCE[0]}")/.."
python=${1:-$(.venv/bin/python -ISc 'import sys; print(sys._base_executable)')}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONPATH

say() { echo "tests/wheel.sh: $*" >&2; }

say "building with $("$python" --version)"
mkdir "$work/source" "$work/elsewhere"
git ls-files -z | xargs -0 cp --parents -t "$work/source" # so that the working tree stays without build products
# As launch.sh makes them: with hashes pip would refuse what has none, as the wheel.
sed -n 's/^\([a-z0-9].*\) \\$/\1/p' requirements-test.txt >"$work/constraints.txt"
"$python" -m venv "$work/build"
"$work/build/bin/python" -m pip install -qq -c "$work/constraints.txt" build
PIP_CONSTRAINT=$work/constraints.txt "$work/build/bin/python" -m build -o "$work/dist" "$work/source" >"$work/build.log" ||
  { cat "$work/build.log" >&2 && exit 1; }
"$python" - "$work"/dist/*.whl "$work/source/seg_jax/shipped" <<'PYTHON'
import pathlib, sys, zipfile
names = zipfile.ZipFile(sys.argv[1]).namelist()
tops = {name.split("/")[0] for name in names}
assert tops == {"seg_jax", next(top for top in tops if top.endswith(".dist-info"))}, f"the wheel has {tops}"
shipped = [f"seg_jax/shipped/{path.name}" for path in pathlib.Path(sys.argv[2]).iterdir()]  # networks and their cards
recipes = ("seg_jax/recipes/zoo.py", "seg_jax/recipes/reference/pets_tfds.py")
for name in ("seg_jax/py.typed", "seg_jax/demo/.streamlit/config.toml", *recipes, *shipped):
    assert name in names, f"the wheel has no {name}"
PYTHON

say "installing $(basename "$work"/dist/*.whl)"
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -qq -c "$work/constraints.txt" "$work"/dist/*.whl
"$work/venv/bin/python" -m pip check

cp configs/synthetic_unet.py "$work/elsewhere/mine.py"
cd "$work/elsewhere"
python=$work/venv/bin/python
"$python" - <<'PYTHON'
import sys
from pathlib import Path
import numpy as np, seg_jax
from PIL import Image
from seg_jax.config import recipe
assert Path(seg_jax.__file__).is_relative_to(sys.prefix), seg_jax.__file__
assert recipe("zoo:unet,resnet34,camvid").model.encoder.name == "resnet34"
rng = np.random.default_rng(0)
for split, count in (("train", 8), ("val", 4)):
    for kind in ("images", "masks"):
        Path("data", kind, split).mkdir(parents=True)
    for i in range(count):
        mask = np.zeros((48, 64), np.uint8)
        top, left = rng.integers(0, 24, 2)
        mask[top : top + 24, left : left + 32] = 1 + i % 2
        image = np.array([[90, 90, 90], [200, 60, 60], [60, 60, 200]])[mask] + rng.integers(-20, 20, (48, 64, 3))
        Image.fromarray(image.astype(np.uint8)).save(f"data/images/{split}/{i}.png")
        Image.fromarray(mask).save(f"data/masks/{split}/{i}.png")
PYTHON

# run VERB ARGS...: as `python -m seg_jax.MODULE`, or as `seg-jax VERB`.
run() {
  local verb=$1 module
  shift
  if [ "$form" = command ]; then
    set -- "$work/venv/bin/seg-jax" "$verb" "$@"
  else
    case $verb in
      train) module=main ;;
      eval) module=main && set -- --mode=eval "$@" ;;
      *) module=$verb ;;
    esac
    set -- "$python" -m "seg_jax.$module" "$@"
  fi
  say "$(basename "$1") ${*:2}"
  "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2 && say "failed: ${*:2}" && exit 1; }
}

xla=${XLA_FLAGS:-}
export XLA_FLAGS="$xla --xla_backend_optimization_level=0" # compiles in half the time, and these are few steps
small=(--config.train.steps=4 --config.train.batch_size=4 --config.optim.warmup_steps=0 --config.log.tensorboard=False)
forms=module
if [ -x "$work/venv/bin/seg-jax" ]; then forms="module command"; else say "this wheel has no command seg-jax"; fi
for form in $forms; do
  mkdir "$form"
  config=mine.py # a file of the user, and a recipe by its name
  [ "$form" = module ] || config=synthetic_unet
  run train --config="$config" --workdir="$form/run" --config.model.encoder.width=4 --config.data.synthetic.train_scenes=8 \
    --config.data.synthetic.val_scenes=4 "${small[@]}"
  run predict "$form/run" "$form/run/sample.png" --out="$form/masks"
  run eval --workdir="$form/run"
  run export "$form/run" --format=stablehlo --out="$form/model.stablehlo"
  run data inspect data --out="$form/inspected.py"
  [ "$form" = module ] || continue # each verb has reached its module; what follows shows that the files fit together
  run predict "$form/model.stablehlo" "$form/run/sample.png" --out="$form/of-the-artefact"
  cmp "$form/masks/sample_mask.png" "$form/of-the-artefact/sample_mask.png"
  run train --config="$form/inspected.py" --workdir="$form/second" --config.model.encoder.weights='' \
    --config.model.encoder.norm=batch "${small[@]}"
  run predict "$form/second" data/images/val --out="$form/second-masks"
done

# The packages here are those of ./launch.sh, which has no extra and no Jupyter: the notebook's cells, in short.
say "the cells of notebooks/quickstart.ipynb"
cd "$work/source"
XLA_FLAGS=$xla QUICKSTART_RUN=$work/elsewhere/quickstart "$python" - >"$work/log" 2>&1 <<'PYTHON' || { cat "$work/log" >&2 && exit 1; }
import json
for cell in json.load(open("notebooks/quickstart.ipynb"))["cells"]:
    if cell["cell_type"] == "code":
        exec("".join(cell["source"]).replace("200", "80").replace("100", "40"), globals())
PYTHON
grep -q "for ONNX: " "$work/log"
grep -q "model.stablehlo  " "$work/log"
grep -Eq "(100\.00|99\.9[0-9])% of the pixels get the same class" "$work/log"
say "the wheel works: $forms"
