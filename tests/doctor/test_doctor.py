"""The doctor: advice from planted facts, the text, and what it finds out about this machine."""

import copy
import json
import os
import platform
import sys

import jax
import pytest

import seg_jax
from seg_jax.doctor import __main__ as doctor
from seg_jax.doctor import facts
from seg_jax.doctor.advice import advise
from seg_jax.runtime import extras

GIB = 2**30

# A machine on which nothing is wrong.
WELL = {
    "seg_jax": {"version": "1.2", "place": "/home/me/seg_jax"},
    "python": {"version": "3.12.1", "program": "/env/bin/python", "platform": "Linux-6.1-x86_64"},
    "packages": {"jax": "0.10.2", "jaxlib": "0.10.2", "tensorflow-cpu": "2.21.0"},
    "extras": dict.fromkeys(extras.EXTRAS, True) | {"onnx": False},
    "jax": {
        "backend": "cpu",
        "devices": [{"id": 0, "kind": "cpu", "memory": None}],
        "matmul_precision": "default",
        "x64": False,
        "compiler_options": {"xla_cpu_prefer_vector_width": 512},
    },
    "nvidia": [],
    "tensorflow_gpu": "no: this build is without CUDA",
    "environment": {"XLA_FLAGS": "--xla_dump_to=/tmp/x"},
    "cpu": {"model": "A processor", "cores": 8, "features": ["avx", "avx2"]},
    "memory": {"total": 32 * GIB, "available": 30 * GIB, "limit": None, "huge_pages": "madvise"},
    "caches": {"compiled programs": {"place": "/cache", "bytes": 3 * 2**20, "writable": True}},
    "disk": {"/home/me": 100 * GIB},
}


def planted(**changes):
    found = copy.deepcopy(WELL)
    for path, value in changes.items():
        *groups, name = path.split("__")
        place = found
        for group in groups:
            place = place[group]
        place[name] = value
    return found


def test_nothing_is_wrong():
    assert advise(WELL) == []
    assert doctor.text(WELL, []).endswith("\nadvice\n  none: nothing here looks wrong")


H100 = ["NVIDIA H100, 580.1, 81559 MiB"]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"jax": {"error": "exit code -4: boom"}}, "JAX does not start (exit code -4: boom). Run: /env/bin/python -c"),
        ({"jax__program": "ImportError: x"}, "The program cannot be imported (ImportError: x)."),
        ({"nvidia": H100}, "There is an NVIDIA driver, but JAX computes on the CPU. Install jax[cuda13]"),
        (
            {"nvidia": H100, "packages__jax-cuda13-plugin": "0.10.2"},
            "computes on the CPU. jax-cuda13-plugin 0.10.2 is installed; JAX_PLATFORMS=cuda shows why",
        ),
        ({"packages__jaxlib": "0.10.1"}, "jax 0.10.2 and jaxlib 0.10.1 differ."),
        ({"packages": {"jax": "0.10.2"}}, "jax 0.10.2 and jaxlib (missing) differ."),
        ({"packages__tensorflow": "2.21.0"}, "tensorflow and tensorflow-cpu overwrite each other's files."),
        ({"memory__huge_pages": "never"}, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"),
        ({"environment": {"GLIBC_TUNABLES": "a=1:glibc.malloc.hugetlb=0"}}, "GLIBC_TUNABLES switches huge pages off"),
        ({"cpu__features": ["sse4_2"]}, "The processor has no AVX2"),
        ({"memory__available": 3 * GIB}, "3.0 GiB of memory are free."),
        ({"memory__limit": GIB}, "1.0 GiB of memory are free."),
        ({"caches__compiled programs__writable": False}, "/cache cannot be written to (compiled programs)."),
        ({"disk": {"/full": GIB // 2}}, "/full has 0.5 GiB left on its disk"),
    ],
)
def test_one_thing_is_wrong(changes, found):
    (said,) = advise(planted(**changes))
    assert found in said


@pytest.mark.parametrize(
    "changes",
    [
        {"nvidia": H100, "jax__backend": "gpu"},
        {"packages__jax": "0.10.2.dev2026"},
        {"memory__huge_pages": "never", "jax__backend": "gpu"},
        {"memory__huge_pages": None},
        {"cpu__features": []},
        {"cpu__features": ["asimd"]},
    ],
)
def test_what_is_all_right(changes):
    assert advise(planted(**changes)) == []


def test_the_text_says_it_all():
    said = doctor.text(planted(jax__devices=[{"id": 0, "kind": "H100", "memory": 80 * GIB}]), ["Do this."])
    for part in (
        *("seg_jax 1.2 in /home/me/seg_jax", "tensorflow-cpu", "2.21.0", "H100, 80.0 GiB", "3.0 MiB in /cache"),
        *("--xla_dump_to=/tmp/x", "xla_cpu_prefer_vector_width", "avx avx2", "100.0 GiB", "advice\n  Do this."),
        f"missing    {extras.EXTRAS['onnx'].purpose}; {extras.install_command('onnx')}",
    ):
        assert part in said, part
    crashed = doctor.text(planted(jax={"error": "no answer within 120 s"}, environment={}), [])
    assert "no answer within 120 s" in crashed and "no variable that matters is set" in crashed


def test_this_machine(capsys, monkeypatch, tmp_path):
    (tmp_path / "one.bin").write_bytes(bytes(1000))
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("NVIDIA_API_KEY", "secret")
    monkeypatch.setenv("TF_TOKEN_app", "secret")
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "3")
    assert doctor.main(["--json"]) == 0
    text = capsys.readouterr().out
    found = json.loads(text)
    assert "secret" not in text
    assert found["python"]["version"] == platform.python_version() and found["packages"]["jax"] == jax.__version__
    assert found["seg_jax"] == {"version": seg_jax.__version__, "place": os.path.dirname(seg_jax.__file__)}
    assert [device["id"] for device in found["jax"]["devices"]] == [0, 1, 2]
    assert found["jax"]["compiler_options"] == {"xla_cpu_prefer_vector_width": 512}
    assert found["caches"]["compiled programs"] == {"place": str(tmp_path), "bytes": 1000, "writable": True}
    assert found["environment"]["JAX_NUM_CPU_DEVICES"] == "3" and isinstance(found["advice"], list)
    if sys.platform.startswith("linux"):
        assert found["memory"]["total"] > found["memory"]["available"] > 0 and found["cpu"]["cores"] >= 1


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit('no such device')", "exit code 1: no such device"),
        ("import os; os.abort()", "exit code -6: it says nothing"),
        ("import time; time.sleep(60)", "no answer within 0.5 s"),
    ],
)
def test_jax_that_does_not_start(monkeypatch, code, message):
    monkeypatch.setattr(facts, "PROBE", code)
    monkeypatch.setattr(facts, "PROBE_SECONDS", 0.5 if "sleep" in code else 60)
    assert facts.probe_jax() == {"error": message}


@pytest.mark.parametrize(
    ("cuda", "accelerator", "start"),
    [(False, True, "no: this build is without CUDA"), (True, False, "no: there is no"), (True, True, "yes, outside")],
)
def test_whether_tensorflow_takes_a_gpu(monkeypatch, tmp_path, cuda, accelerator, start):
    place = tmp_path / "tensorflow" / "python" / "platform"
    place.mkdir(parents=True)
    (tmp_path / "tensorflow" / "__init__.py").write_text("raise RuntimeError('it is not imported')\n")
    (place / "build_info.py").write_text(f"build_info = dict([('is_cuda_build', {cuda}), ('is_rocm_build', False)])\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(facts.process, "has_accelerator", lambda: accelerator)
    assert facts.tensorflow_gpu().startswith(start)
