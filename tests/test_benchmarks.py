"""The benchmark of the training step: the networks of the peer, no library that it does not need, its arithmetic."""

import ast
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from benchmarks import __main__ as everything
from benchmarks import classes, counting, curves, export, roofline, scaling, table, train_step
from configs import default
from seg_jax import models
from seg_jax.run import pretrained, program
from seg_jax.runtime import sharding
from seg_jax.steps import look

REPOSITORY = Path(__file__).resolve().parent.parent

# Trainable parameters that segmentation_models.pytorch 0.6.0 counts for 19 classes.
PARAMETERS = {
    "unet_resnet34": 24_438_979,
    "unet_mobilenetv2": 6_631_555,
    "deeplabv3plus_resnet101": 45_674_339,
    "deeplabv3plus_resnet101_cityscapes": 45_674_339,
    # Those of transformers 5.24.0, UPerNet without the norms between encoder and decoder.
    "segformer_b2": 27_361_235,
    "upernet_convnext_tiny": 59_248_755,
}

# A U-Net of two levels on one batch, where the named libraries cannot be imported.
ALONE = """
import json, sys
absent = ("tensorflow", "tensorflow_datasets", "clu", "matplotlib", "ml_collections.config_flags")
sys.modules.update(dict.fromkeys(absent))
from benchmarks import scaling, train_step
from seg_jax.run.length import Length
fields = {"model.encoder.style": "torch", "model.encoder.width": 4, "model.encoder.depth": 2}
train_step.CASES = {"tiny": train_step.Case(fields, "Unet", "none", (32, 32))}
row = train_step.measure("tiny", batch=2, steps=1)
train_step.line(row)
print(json.dumps(row))
"""


@pytest.mark.parametrize("name", train_step.CASES)
def test_the_networks_are_the_peers(name):
    config = train_step.configuration(train_step.CASES[name], batch=4)
    model = models.build(pretrained.resolve(config), classes=train_step.CLASSES)
    params, _ = jax.eval_shape(lambda: models.init(model, jax.random.key(0), (1, 32, 32, 3)))
    assert models.count(params) == PARAMETERS[name]


def test_shares_of_counting_by_hand():
    found = counting.shares([(100.0, 99.0, 1.0), (100.0, 98.0, 3.0), (200.0, 190.0, 2.0)])
    assert found["differences"] == pytest.approx([0.01, 0.02, 0.05]) and found["difference"] == pytest.approx(0.02)
    assert found["quartiles"] == pytest.approx([0.015, 0.035]) and found["alone"] == pytest.approx(0.02)


def test_turns_of_counting_alternate():
    order = []

    def timed(name):
        return lambda steps: order.append(name) or float(steps)

    turns = counting.take_turns(*map(timed, "wox"), steps=3, pairs=2)
    assert order == list("woxowx") and turns == [(3.0, 3.0, 3.0)] * 2


def test_nothing_is_counted_without_counts():
    shape = jax.eval_shape(counting.nothing, jax.ShapeDtypeStruct((2, 4, 4, 5), "f4"), None)
    assert (shape.shape, shape.dtype) == ((2, 5, 5), "int32")


def test_nothing_is_drawn_in_a_step():
    config = train_step.configuration(train_step.CASES["unet_resnet34"], batch=4)
    assert config.augment.flip == 0 and config.model.dropout == 0
    assert config.augment.to_dict() == {**default.get_config().augment.to_dict(), "flip": 0.0}


def test_it_runs_without_what_it_does_not_need():
    done = subprocess.run([sys.executable, "-c", ALONE], cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout.splitlines()[-1])
    assert row["rate"] > 0 and row["compile_s"] > 0 and "mfu" not in row
    # Parameters with two moments of Adam, float32, and at least two FLOPs forward for each weight and image.
    assert row["peak_bytes"] > 12 * row["parameters"] and row["flops"] > 4 * row["parameters"]


@pytest.mark.parametrize("name", ["peer_train_step.py", "peer_inference.py", "peer_networks.py"])
def test_the_peer_knows_nothing_of_this_project(name):
    imported = []
    for node in ast.walk(ast.parse((REPOSITORY / "benchmarks" / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported.append(node.module)
    roots = {name.split(".")[0] for name in imported}
    libraries = {"torch", "torchvision", "segmentation_models_pytorch", "transformers", "peer_networks"}
    assert "torch" in roots and roots - sys.stdlib_module_names <= libraries


@pytest.fixture
def peer(tmp_path, monkeypatch):
    """A function (parameters) -> an interpreter of a peer that takes 0.5, 0.25, 1 s; ours takes 0.2, 0.4, 0.1 s."""
    times = iter((0.2, 0.4, 0.1))
    ours = SimpleNamespace(parameters=10, compile_s=1.0, peak_bytes=2**20, flops=5e12, run=lambda steps: next(times))
    monkeypatch.setattr(train_step, "Ours", lambda case, *, batch: ours)

    def make(parameters):
        path = tmp_path / "python"
        hello = json.dumps({"parameters": parameters, "peak_bytes": 3 * 2**20})
        path.write_text(f"#!/bin/sh\necho '{hello}'\nfor t in 0.5 0.25 1; do read line; echo $t; done\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return make


def test_the_best_of_both_is_compared(peer, monkeypatch):
    kind = jax.devices()[0].device_kind
    monkeypatch.setitem(train_step.PEAK_FLOPS, kind, 1e15)
    row = train_step.measure("unet_resnet34", batch=4, steps=2, python=peer(10))
    # 8 images in 0.1 s and in 0.25 s; 5e12 FLOPs twice in 0.1 s are a tenth of 1e15 a second.
    assert (row["rate"], row["peer"]["rate"], row["mfu"]) == pytest.approx((80, 32, 0.1))
    assert train_step.line(row).split()[2:] == ["80.00", "1.0", "1", "10.0%", "32.00", "3", "2.50"]


def test_another_network_is_no_peer(peer):
    with pytest.raises(RuntimeError, match="10 parameters, the peer's 11"):
        train_step.measure("unet_resnet34", batch=4, steps=2, python=peer(11))


def test_a_peer_that_cannot_run_is_named(peer):
    with pytest.raises(RuntimeError, match="segmentation_models_pytorch"):
        train_step.measure("unet_resnet34", batch=4, steps=2, python="true")


HLO = """
  %a = f32[10,10]{1,0} all-reduce(f32[10,10]{1,0} %x), replica_groups={{0,1,2,3}}, to_apply=%add
  %b = (f32[5]{0}, bf16[5]{0}) all-reduce(%y, %z), replica_groups=[1,8]<=[8], to_apply=%add
  %c = f32[80]{0} all-gather(f32[10]{0} %p), replica_groups=[1,8]<=[8], dimensions={0}
  %d = f32[10]{0} reduce-scatter(f32[80]{0} %p), replica_groups={{0,1,2,3,4,5,6,7}}, dimensions={0}
  %e = u8[3,7]{1,0} collective-permute(u8[3,7]{1,0} %h), source_target_pairs={{0,1}}
  %f = f32[9]{0} all-reduce(f32[9]{0} %q), replica_groups={{0},{1}}, to_apply=%add
  %g = f32[100]{0} add(f32[100]{0} %q, f32[100]{0} %q)
"""


def test_traffic_of_rings_by_hand():
    sent = scaling.traffic(HLO, devices=8).bytes
    assert sent == {
        "all-reduce": 2 * 3 / 4 * 400 + 2 * 7 / 8 * 30,
        "all-gather": 7 / 8 * 320,
        "reduce-scatter": 7 / 8 * 320,
        "collective-permute": 21,
    }


def test_efficiency_by_hand():
    assert scaling.efficiency(3.0, 1.0) == (0.75, 1.0)
    assert scaling.efficiency(1.0, 4.0) == (0.2, 0.25)


def test_gradients_are_what_a_split_of_the_batch_sends(tiny_config):
    mesh = sharding.make_mesh(8)
    functions = program.Functions(pretrained.resolve(tiny_config()), classes=3, mesh=mesh)
    sent = scaling.traffic(functions.train_step((32, 32)).compile().as_text(), devices=8).bytes
    gradients = 2 * 7 / 8 * 4 * models.count(functions.abstract_state.params)
    assert set(sent) == {"all-reduce"} and gradients <= sent["all-reduce"] <= 1.3 * gradients  # and batch statistics


@pytest.mark.slow
def test_steps_by_the_number_of_classes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(look, "LARGE", look.LARGE)  # the benchmark sets it
    monkeypatch.setattr(classes, "NETWORK", {"model.encoder.width": 4, "model.encoder.depth": 1})
    picture = tmp_path / "classes.png"
    flags = ["--classes=3,300", "--batch=2", "--side=32", "--steps=1", f"--plot={picture}"]  # 300 do not fit in bytes
    monkeypatch.setattr(sys, "argv", ["classes", *flags])
    classes.main()
    assert picture.read_bytes().startswith(b"\x89PNG")
    head, names, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("2 images of 32x32, cpu") and "one by one, GiB" in names
    assert [row.split()[0] for row in rows] == ["3", "300"] and all(len(row.split()) == 5 for row in rows)
    many = classes.Step(40, batch=4, side=32, large=2**60), classes.Step(40, batch=4, side=32, large=0)
    assert many[0].peak_bytes > many[1].peak_bytes and many[1].run() > 0


def test_formats_and_the_peer_take_turns(tmp_path, monkeypatch):
    fields = {"model.encoder.style": "torch", "model.encoder.width": 4, "model.encoder.depth": 2}
    monkeypatch.setitem(train_step.CASES, "tiny", train_step.Case(fields, "Unet", "none", (32, 32)))
    monkeypatch.setattr(export, "seconds", lambda artefact, image, calls: [0.5, 0.25])
    python = tmp_path / "python"

    def measure(parameters):
        hello = json.dumps({"parameters": parameters, "versions": "peer 1"})
        python.write_text(f"#!/bin/sh\necho '{hello}'\nfor t in 1.0 0.5; do read line; echo [$t, 2.0]; done\n")
        python.chmod(0o755)
        return export.measure("tiny", formats=["onnx"], side=16, python=str(python), turns=2)

    with pytest.raises(RuntimeError, match=r"not the same network: .*the peer's 7"):
        measure(7)
    network = export.make_network(train_step.CASES["tiny"], size=None)
    row = measure(network.metadata["parameters"])
    assert row["ms"] == {"onnx": 250, "peer": 500} and row["bytes"]["onnx"] > 4 * network.metadata["parameters"]
    assert export.line(row).split() == ["tiny", "16", "250.0", "x", "2.00", "500.0"]


def test_a_ratio_above_one_is_better():
    assert table.Row("b", "step", 30, 20, "PyTorch", "images/s").ratio == 1.5
    row = table.Row("b", "call", 20, 30, "PyTorch", "ms")
    assert row.ratio == 1.5 and str(row).split() == ["b", "call", "20.0", "30.0", "ms", "1.50", "PyTorch"]


@pytest.mark.slow
def test_all_benchmarks_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(look, "LARGE", look.LARGE)  # the benchmark of classes sets it
    flags = ["--only=layers,classes,export,train_step", f"--out={tmp_path}"]
    assert everything.main([*flags, "--quick"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines[1:]} == {"layers", "classes", "export", "train_step"}
    assert "train_step      left out: it needs --peer" in lines[-1] and not list(tmp_path.iterdir())
    monkeypatch.setitem(
        everything.BENCHMARKS, "layers", lambda options: iter([table.Row("layers", "x", 2, 3, "y", "ms")])
    )
    assert everything.main(["--only=layers", f"--out={tmp_path}"]) == 0
    (path,) = tmp_path.iterdir()
    content = json.loads(path.read_text())
    assert path.name.startswith("bench_") and path.name.endswith("_native.json")
    assert content["rows"][0]["ratio"] == 1.5 and content["processor"]["cores"] >= 1
    with pytest.raises(SystemExit):
        everything.main(["--only=nothing"])
    assert "the benchmarks are layers, augment" in capsys.readouterr().err


def test_both_sides_get_the_instructions(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=1")
    for name in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    table.limit_isa("native")
    assert os.environ["XLA_FLAGS"] == "--xla_a=1" and "ATEN_CPU_CAPABILITY" not in os.environ
    table.limit_isa("avx2")
    assert os.environ["XLA_FLAGS"] == "--xla_a=1 --xla_cpu_max_isa=AVX2" and os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    monkeypatch.delenv("ATEN_CPU_CAPABILITY")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")


@pytest.mark.slow
def test_curves_have_exponents(monkeypatch, capsys):
    assert curves.growth((2, 4), (5, 20)) == 2  # twice the amount, four times the cost
    monkeypatch.setattr(look, "LARGE", look.LARGE)
    monkeypatch.setattr(curves, "NETWORK", {"model.encoder.width": 4, "model.encoder.depth": 1})
    monkeypatch.setattr(curves, "BASE", {"side": 16, "batch": 1, "classes": 2})
    monkeypatch.setattr(sys, "argv", ["curves", "--sides=16,32", "--batches=2", "--classes=3", "--steps=1"])
    curves.main()
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:4] for row in rows[2:]] == [
        ["side", "16", "1", "2"], ["side", "32", "1", "2"], ["batch", "16", "2", "2"], ["classes", "16", "1", "3"],
    ]  # fmt: skip
    assert 0.3 < float(rows[3][7]) < 1.2 and rows[4][5] == "-"


def test_a_step_against_the_roofline(monkeypatch, capsys):
    monkeypatch.setattr(roofline, "SIDE", 64)
    monkeypatch.setattr(roofline, "ELEMENTS", 1024)
    monkeypatch.setattr(sys, "argv", ["roofline", "--only=toy", "--batch=2", "--steps=1"])
    roofline.main()
    head, _, row = capsys.readouterr().out.splitlines()
    assert "GFLOP/s" in head and row.split()[0] == "toy"
    gflop, gigabytes, compute, memory, step = map(float, row.split()[1:6])
    assert gflop > 0 and gigabytes > 0 and step > 0
    assert int(row.split()[6].rstrip("%")) == pytest.approx(100 * max(compute, memory) / step, rel=0.2, abs=2)
