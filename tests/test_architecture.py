"""The direction of imports, the doors of other libraries, and docstrings: rules for the text of the program."""

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# A module imports from lower floors only. A new file gets its place here first.
FLOORS = [
    # what a thing is: no other part of the program is needed to say it
    "config process sharding metrics.counts augment.spec data.labels data.images data.colors data.sampler data.drawing "
    "models.operators models.convolution models.naming models.files losses.heads report.page windows",
    "models.layers export.graph export.steps export.xla_call",
    # one subject each
    "data.examples data.trimaps data.cityscapes_labels data.masks data.tables data.scenes data.layout "
    "viz video losses.pixel losses.region losses.lovasz losses.boundary schedules "
    "metrics.bootstrap metrics.boundary metrics.calibration metrics.compat metrics.thresholds "
    "augment.geometry augment.colour augment.filters augment.mixing "
    "models.encoders.plain models.encoders.resnet models.encoders.vgg models.encoders.mobilenet "
    "models.fcn models.segnet models.convert models.segmenter models.encoders.mobilenetv2 models.encoders.convnext "
    "models.unet models.pspnet models.fpn models.attention models.segformer export.layers models.folders.document",
    "data.checking data.pipeline data.sources.arrays data.sources.folder data.sources.huggingface data.sources.pets "
    "data.sources.tfds data.sources.cityscapes data.sources.pairs data.sources.synthetic "
    "state writers losses optim metrics metrics.cityscapes augment.randaugment models.deeplab models.upernet "
    "models.encoders.efficientnet models.encoders.mit models.danet export.primitives",
    "data.feed data.stats data.lint data.formats data.values models.catalogue augment metrics.detailed metrics.words",
    # the doors to data and networks
    "models.loading models.folders.smp models.folders.timm models.folders.transformers",
    "models.folders",
    "data models checkpoint data.inspect data.prepare data.propose",
    "step inference pretrained data.__main__ export.resample models.identify",
    "program report models.__main__",
    "evaluator restore artefacts fit report.comparison",
    "predictor evaluate train lr_range report.__main__ export.network",
    "results main export.onnx export.safetensors export.savedmodel export.stablehlo export.tflite export.int8 "
    "export.certificate",
    "predict export",
    "export.__main__",
]
FLOOR = {module: number for number, modules in enumerate(FLOORS) for module in modules.split()}


@dataclass(frozen=True)
class Door:
    """Where a library may be imported; `lazily` means inside functions, so that others need not wait for it."""

    modules: tuple[str, ...]
    lazily: bool = False


DOORS = {
    "flax": Door(("models", "state")),
    "tensorflow": Door(("data", "process", "export", "artefacts"), lazily=True),
    "tensorflow_datasets": Door(("data",), lazily=True),
    "datasets": Door(("data",), lazily=True),
    "orbax": Door(("checkpoint",), lazily=True),
    "tensorstore": Door(("checkpoint",)),
    "clu": Door(("writers",), lazily=True),
    "ml_collections": Door(("config", "main", "data.__main__")),
    "optax": Door(("optim", "schedules", "step")),
    "matplotlib": Door(("viz",), lazily=True),
    "av": Door(("video",), lazily=True),
    "safetensors": Door(("models.files", "export.safetensors", "artefacts"), lazily=True),
    "onnx": Door(("export",), lazily=True),
    "onnxruntime": Door(("export.int8", "artefacts"), lazily=True),
    "ai_edge_litert": Door(("artefacts",), lazily=True),
    **dict.fromkeys(("h5py", "keras", "torch"), Door(("models.files",), lazily=True)),
}


def name_of(path):
    """seg_jax/data/__init__.py -> 'data', seg_jax/__init__.py -> ''."""
    parts = path.relative_to(REPOSITORY / "seg_jax").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {name_of(path): path.read_text(encoding="utf-8") for path in (REPOSITORY / "seg_jax").rglob("*.py")}


def imports(source):
    """(dotted name, whether inside a function) of every import; `from a import b` gives 'a.b'."""

    def walk(node, inside):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                yield from ((f"{'.' * child.level}{child.module or ''}.{alias.name}", inside) for alias in child.names)
            yield from walk(child, inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))

    return list(walk(ast.parse(source), False))


# Packages without an import only hold modules; they have no floor.
MODULES = sorted(
    name_of(path)
    for path in (REPOSITORY / "seg_jax").rglob("*.py")
    if path.name != "__init__.py" or imports(SOURCES[name_of(path)])
)


def own_module(name, modules):
    """The module of this program that an imported name stands for: 'seg_jax.data.load' -> 'data'; None for others."""
    if name.split(".")[0] != "seg_jax":
        return None
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in modules:
        parts.pop()
    return ".".join(parts)


def wrong_directions(module, source):
    """The imports of `module` that do not go downwards."""
    found = []
    for name, _ in imports(source):
        if name == "seg_jax.__version__":  # what the package itself says
            continue
        target = own_module(name, FLOOR)
        if name.startswith(".") or target == "":
            found.append(f"{name}: not a module by its full name")
        elif target is not None and FLOOR[target] >= FLOOR[module]:
            found.append(f"{name}: from floor {FLOOR[module]} to {FLOOR[target]}")
    return found


def wrong_doors(module, source):
    """The imports of other libraries that `module` should leave to another, or make inside a function."""
    found = []
    for name, inside in imports(source):
        door = DOORS.get(name.split(".")[0])
        if door is None:
            continue
        if not any(module == m or module.startswith(f"{m}.") for m in door.modules):
            found.append(f"{name}: only in {', '.join(door.modules)}")
        elif door.lazily and not inside:
            found.append(f"{name}: only inside functions")
    return found


def undocumented(source):
    """Public functions, classes and methods without a docstring; 'module' for the module itself."""
    tree = ast.parse(source)
    found = [] if ast.get_docstring(tree) or not tree.body else ["module"]

    def look(body, prefix):
        for node in body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if node.name.startswith("_"):
                continue
            if not ast.get_docstring(node):
                found.append(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                look(node.body, f"{prefix}{node.name}.")

    look(tree.body, "")
    return found


def test_every_module_has_its_floor():
    assert sorted(FLOOR) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downwards(module):
    assert wrong_directions(module, SOURCES[module]) == []


@pytest.mark.parametrize("module", MODULES)
def test_libraries_come_in_by_their_doors(module):
    assert wrong_doors(module, SOURCES[module]) == []


@pytest.mark.parametrize("module", MODULES)
def test_networks_are_reached_by_their_door(module):
    if module.split(".")[0] != "models":
        inner = [name for name, _ in imports(SOURCES[module]) if (own_module(name, FLOOR) or "").startswith("models.")]
        assert inner == []


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_public_things_have_docstrings(module):
    assert undocumented(SOURCES[module]) == []


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs").glob("*.py")), ids=lambda p: p.stem)
def test_configurations_import_configurations_only(path):
    roots = {name.split(".")[0] for name, _ in imports(path.read_text(encoding="utf-8"))}
    assert roots <= {"configs", "ml_collections"}


def test_no_module_for_everything_else():
    vague = {"utils", "util", "common", "helpers", "misc"}
    assert [module for module in SOURCES if vague & set(module.split("."))] == []


# The rules above find what they look for.
@pytest.mark.parametrize(
    ("rule", "module", "source"),
    [
        (wrong_directions, "losses", "from seg_jax import step"),
        (wrong_directions, "losses.pixel", "from seg_jax.optim import build"),
        (wrong_directions, "losses", "import seg_jax.data.pipeline"),
        (wrong_directions, "data.labels", "def f():\n    from seg_jax.data import load"),
        (wrong_directions, "losses", "from . import config"),
        (wrong_directions, "losses", "from seg_jax import nothing"),
        (wrong_doors, "train", "import flax.linen as nn"),
        (wrong_doors, "predict", "def f():\n    import tensorflow as tf"),
        (wrong_doors, "data.pipeline", "import tensorflow as tf"),
        (wrong_doors, "database", "def f():\n    import tensorflow as tf"),
        (wrong_doors, "viz", "if True:\n    from matplotlib import pyplot"),
        (wrong_doors, "models.files", "import h5py"),
        (wrong_doors, "models.convert", "def f():\n    import torch"),
    ],
)
def test_the_rules_can_be_broken(rule, module, source):
    assert len(rule(module, source)) == 1


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("x = 1", ["module"]),
        ('"""M."""\ndef f(): pass', ["f"]),
        ('"""M."""\nclass A:\n    """A."""\n    def f(self): pass\n    def _g(self): pass', ["A.f"]),
        ('"""M."""\nclass A:\n    def f(self): pass\nclass _B:\n    def f(self): pass', ["A", "A.f"]),
        ('"""M."""\ndef f():\n    """F."""\n    def inner(): pass', []),
    ],
)
def test_missing_docstrings_are_found(source, found):
    assert undocumented(source) == found


def loaded(*modules):
    """The slow libraries that a fresh process has loaded after it imported these modules."""
    slow = ("tensorflow", "tensorflow_datasets", "keras", "torch", "clu", "matplotlib", "tensorboard", "onnxruntime")
    program = f"import sys, {', '.join(modules)}\nprint(sorted(set({slow}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stdout.splitlines()[-1])


def test_importing_the_program_loads_nothing_slow():
    # TensorFlow alone takes seconds; prediction never needs it, training only for some sources and logs.
    assert loaded("seg_jax.predict") == []
    assert loaded(*(f"seg_jax.{module}" for module in MODULES)) == []
    assert loaded("seg_jax.config", "matplotlib") == ["matplotlib"]
