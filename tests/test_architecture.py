"""The direction of imports, the doors of other libraries, and docstrings: rules for the text of the program."""

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# A folder, or a module at the top, imports from lower floors only; inside a folder there is no circle.
FLOORS = [
    "runtime",
    "config shipped",
    "data losses",
    "models augment metrics optim viz",
    "steps",
    "run",
    "predict report",
    "evaluate export",
    "train demo compare",
    "curate",
    "main cli doctor",
    "__main__",
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms.split()}


@dataclass(frozen=True)
class Door:
    """Where a library may be imported; `lazily` means inside functions, so that others need not wait for it."""

    modules: tuple[str, ...]
    lazily: bool = False


DOORS = {
    "flax": Door(("models", "steps.state")),
    "tifffile": Door(("data.rasters",), lazily=True),
    "imagecodecs": Door(("data.rasters",), lazily=True),
    "rasterio": Door(("data.geo", "predict.geo"), lazily=True),
    "tensorflow": Door(("data", "curate.formats", "runtime.process", "export", "predict.artefacts"), lazily=True),
    "tensorflow_datasets": Door(("data", "curate.formats"), lazily=True),
    "huggingface_hub": Door(("models.weights.hub",), lazily=True),
    "datasets": Door(("data", "curate.formats"), lazily=True),
    "orbax": Door(("run.saving",), lazily=True),
    "tensorstore": Door(("run.stored",)),
    "clu": Door(("run.log",), lazily=True),
    "ml_collections": Door(("config.flags",)),
    "optax": Door(("optim", "steps.train")),
    "matplotlib": Door(("viz.plots",), lazily=True),
    "yaml": Door(("data.labels.text",), lazily=True),
    "streamlit": Door(("demo.app",)),
    "av": Door(("predict.video",), lazily=True),
    "safetensors": Door(("models.weights.files", "export.safetensors", "predict.artefacts"), lazily=True),
    "onnx": Door(("export",), lazily=True),
    "onnxruntime": Door(("export.int8", "predict.artefacts"), lazily=True),
    "ai_edge_litert": Door(("predict.artefacts",), lazily=True),
    "h5py": Door(("models.weights.hdf5",), lazily=True),
    "keras": Door(("models.weights.imagenet",), lazily=True),
    "torch": Door(()),
    "pickle": Door(("models.weights.pickles",)),
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


MODULES = sorted(module for module in SOURCES if module)


def own_module(name):
    """The module of this program that an imported name stands for: 'seg_jax.data.load' -> 'data'; None for others."""
    if name.split(".")[0] != "seg_jax":
        return None
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in SOURCES:
        parts.pop()
    return ".".join(parts)


def room(module):
    """The folder or module at the top that `module` belongs to."""
    return module.split(".")[0]


def wrong_directions(module, source):
    """The imports of `module` that leave its room other than downwards."""
    found = []
    for name, _ in imports(source):
        target = own_module(name)
        if name.startswith(".") or target == "":
            found.append(f"{name}: not a module by its full name")
        elif target is not None and room(target) != room(module) and FLOOR[room(target)] >= FLOOR[room(module)]:
            found.append(f"{name}: from floor {FLOOR[room(module)]} to {FLOOR[room(target)]}")
    return found


def circles(arrows):
    """The modules that reach themselves; `arrows` has for each module those that it imports."""

    def reached(start):
        seen, ahead = set(), list(arrows[start])
        while ahead:
            module = ahead.pop()
            if module not in seen:
                seen.add(module)
                ahead += arrows.get(module, ())
        return seen

    return sorted(module for module in arrows if module in reached(module))


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


def test_every_room_has_its_floor():
    assert sorted(FLOOR) == sorted({room(module) for module in MODULES})


def test_there_is_no_circle():
    own = {module: {own_module(name) for name, _ in imports(source)} for module, source in SOURCES.items()}
    # A package's face and its modules: what a module imports by the name of its package is the face.
    assert circles({module: names - {None, module} for module, names in own.items()}) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["b", "c"]


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downwards(module):
    assert wrong_directions(module, SOURCES[module]) == []


@pytest.mark.parametrize("module", MODULES)
def test_libraries_come_in_by_their_doors(module):
    assert wrong_doors(module, SOURCES[module]) == []


@pytest.mark.parametrize("module", MODULES)
def test_networks_are_reached_by_their_door(module):
    if module.split(".")[0] != "models":
        inner = [name for name, _ in imports(SOURCES[module]) if (own_module(name) or "").startswith("models.")]
        assert inner == []


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_public_things_have_docstrings(module):
    assert undocumented(SOURCES[module]) == []


@pytest.mark.parametrize("path", sorted((REPOSITORY / "configs").rglob("*.py")), ids=lambda p: p.stem)
def test_configurations_import_configurations_only(path):
    # So that they work from a clone, from a wheel and from any directory.
    names = [name for name, _ in imports(path.read_text(encoding="utf-8"))]
    allowed = ("seg_jax.config.", "functools.", "collections.abc.")
    assert [name for name in names if not name.startswith(allowed)] == []


def test_no_module_for_everything_else():
    vague = {"utils", "util", "common", "helpers", "misc"}
    assert [module for module in SOURCES if vague & set(module.split("."))] == []


# The rules above find what they look for.
@pytest.mark.parametrize(
    ("rule", "module", "source"),
    [
        (wrong_directions, "losses", "from seg_jax.steps import train"),
        (wrong_directions, "losses.pixel", "from seg_jax.optim import build"),
        (wrong_directions, "losses", "import seg_jax.data.pipeline"),
        (wrong_directions, "data.labels", "def f():\n    from seg_jax import viz"),
        (wrong_directions, "losses", "from . import config"),
        (wrong_directions, "run.log", "from seg_jax.curate import lint"),
        (wrong_directions, "losses", "from seg_jax import nothing"),
        (wrong_doors, "train", "import flax.linen as nn"),
        (wrong_doors, "predict", "def f():\n    import tensorflow as tf"),
        (wrong_doors, "data.pipeline", "import tensorflow as tf"),
        (wrong_doors, "database", "def f():\n    import tensorflow as tf"),
        (wrong_doors, "viz.plots", "if True:\n    from matplotlib import pyplot"),
        (wrong_doors, "models.weights.files", "import h5py"),
        (wrong_doors, "models.weights.convert", "def f():\n    import torch"),
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
    assert loaded("seg_jax.predict.__main__") == []
    # demo.app is a page that Streamlit runs, not a module that anything imports.
    assert loaded(*(f"seg_jax.{module}" for module in MODULES if module != "demo.app")) == []
    assert loaded("seg_jax.config", "matplotlib") == ["matplotlib"]
