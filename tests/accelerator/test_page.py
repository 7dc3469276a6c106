"""docs/accelerators.md: never stale, and a section for each device that has results."""

import json

import pytest

from benchmarks.accelerator import page

SMOKE = {
    "seconds": 100.0,
    "precision": "highest",
    "cases": {
        "confusion matrix": {"status": "ok", "errors": {"counts that differ": 0.0}},
        "unet on plain, float32": {"status": "ok", "errors": {"loss": 1e-6, "grad_norm": 0, "logits": 2e-5}},
        "fpn on mit_b0, float32": {"status": "ok", "errors": {"loss": 3e-6, "grad_norm": 0, "logits": 1e-5}},
        "fpn on mit_b0, bfloat16": {"status": "failed", "error": "XlaRuntimeError: no algorithm\nfor it"},
    },
}
RATES = {"1 step a program": 900.0, "10 steps a program": 1000.0, "torch.compile": 500.0}
TRAIN = {
    "seconds": 50.0,
    "cases": {
        "ceilings": {"status": "ok", "bfloat16_flops_per_second": 8e14, "bytes_per_second": 3e12},
        "unet_resnet34": {
            "status": "ok", "size": [256, 256], "batch": 16, "images_per_second": RATES, "ratio": {"best": 2.0},
            "mfu": {"10 steps a program": 0.25, "torch.compile": 0.125}, "planned_bytes": 2**30, "compile_s": 31.0,
            "peer": {"peak_bytes": 2**31, "first_step_s": 40.0},
            "profile": {"shares": {"products": 0.5, "memory": 0.25, "copies": 0.05, "idle": 0.2}},
        },
    },
}  # fmt: skip
INFER = {
    "seconds": 20.0, "network": "unet_resnet34", "size": [512, 512],
    "cases": {
        "StableHLO": {"status": "ok", "ms": {"stablehlo": 4.0, "run": 5.0},
                      "certificate": {"passed": True, "largest_difference": 1e-6}},
        "bfloat16, batch 1, label": {"status": "ok", "ms": {"seg_jax": 1.0, "torch.compile": 1.5}},
    },
}  # fmt: skip
QUALITY = {
    "seconds": 180.0,
    "cases": {
        "camvid_fast": {
            "status": "ok", "scores": {"miou": 0.7512, "pixel_accuracy": 0.93}, "best_step": 900, "steps": 1000,
            "steps_per_second": 50.0, "fields": {"batch": 16}, "train_s": 120.0,
        },
    },
}  # fmt: skip
MEMORY = {
    "seconds": 40.0,
    "cases": {
        "150 classes, at once": {"status": "ok", "planned_bytes": 3 * 2**30, "seconds_of_call": 0.0123},
        "evaluation, whole": {"status": "out of time", "error": "late"},
    },
}
DEVICE = {"kind": "NVIDIA H100 80GB HBM3", "jax": "0.11.2", "python": "3.12.3", "cores": 16, "nvidia_smi": "a, b"}


@pytest.fixture
def results(tmp_path, monkeypatch):
    """results({step: content}, begun=) -> a file that a run has written; the page is of this test alone."""
    monkeypatch.setattr(page, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")

    def make(steps, *, begun="2026-01-02 03:04", **more):
        path = tmp_path / "found.json"
        path.write_text(json.dumps({"device": DEVICE, "begun": begun, "steps": steps, "minutes": 9, **more}))
        return path

    return make


def test_the_page_is_what_the_results_say():
    text = page.PAGE.read_text(encoding="utf-8")
    assert text == page.render(), "stale: run python -m benchmarks.accelerator --page"


def test_without_results_the_page_says_so_with_the_command(results):
    page.write()
    text = page.PAGE.read_text()
    assert "Not measured yet" in text and "bash DIR/run.sh --minutes=9 --out=OUT" in text


def test_a_section_for_a_device(results):
    page.write([results({"smoke": SMOKE, "train_step": TRAIN, "infer": INFER, "memory": MEMORY, "quality": QUALITY})])
    text = page.PAGE.read_text()
    assert "| 150 classes, at once | 3.00 | 12.3 |" in text and "- evaluation, whole: out of time. late" in text
    assert "## NVIDIA H100 80GB HBM3\n" in text and "Not measured yet" not in text
    assert "3 of 4 cases agree" in text and "| float32 | 2 | 3.0e-06 | 2.0e-05 |" in text
    assert "- fpn on mit_b0, bfloat16: failed. XlaRuntimeError: no algorithm for it" in text
    row = "| `unet_resnet34` | 256x256, 16 | 900.0 | 1,000.0 | 500.0 | 2.00 | 25.0 % | 12.5 % | 1.00 | 2.00 | 31 | 40 |"
    assert row in text and "| `unet_resnet34` | 50.0 % | 25.0 % | 5.0 % | 20.0 % |" in text
    assert "reaches 800 TFLOP/s here, a copy 3.00 TB/s" in text
    assert "| bfloat16, batch 1, label | 1.000 | 1.500 | 1.50 |" in text and "artefact: passed, 1.0e-06" in text
    assert "val mIoU 0.7512" in text and "after 900 of 1000 steps" in text


def test_steps_of_a_later_run_replace_those_before_and_the_others_stay(results):
    page.write([results({"smoke": SMOKE, "quality": QUALITY})])
    better = json.loads(json.dumps(QUALITY).replace("0.7512", "0.7777"))
    page.write([results({"quality": better}, begun="2026-02-02 00:00")])
    text = page.PAGE.read_text()
    assert "0.7777" in text and "0.7512" not in text and "3 of 4 cases agree" in text
    assert "2026-01-02 03:04 UTC, 100 s" in text and "2026-02-02 00:00 UTC, 180 s" in text
    assert [path.name for path in page.RESULTS.iterdir()] == ["accelerator_NVIDIA_H100_80GB_HBM3.json"]


def test_other_files_are_refused(results, tmp_path):
    with pytest.raises(page.PageError, match="is of toy sizes"):
        page.write([results({"smoke": SMOKE}, tiny=True)])
    (tmp_path / "x.json").write_text("{}")
    for name in ("x.json", "none.json"):
        with pytest.raises(page.PageError, match="has no results of"):
            page.write([tmp_path / name])
    assert not page.RESULTS.exists()


def test_steps_without_a_figure_are_shown_with_the_reason(results):
    nothing = {"seconds": 1.0, "cases": {}, "error": "its process was ended by SIGSEGV"}
    page.write([results({name: nothing for name in ("smoke", "train_step", "infer", "quality")})])
    assert page.PAGE.read_text().count("- its process was ended by SIGSEGV") == 4
