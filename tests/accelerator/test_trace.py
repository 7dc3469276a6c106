"""The shares of a profile: a GPU's trace by hand, and one that jax.profiler writes here."""

import pytest

from benchmarks.accelerator import trace


def name(pid, text, tid=None):
    kind = "process_name" if tid is None else "thread_name"
    return {"ph": "M", "pid": pid, "name": kind, "args": {"name": text}} | ({} if tid is None else {"tid": tid})


def span(begin, length, text, *, pid=1, tid=13, **args):
    return {"ph": "X", "pid": pid, "tid": tid, "ts": begin, "dur": length, "name": text, "args": args}


# Two streams of one GPU in 100 microseconds: 40 of convolutions and products, 20 + 10 of memory-bound operations, of
# which 10 at the same time as a product, a copy of 10, and the rest idle. What repeats it by module, and the CPU, does
# not count.
GPU = [
    name(1, "/device:GPU:0"),
    name(1, "Stream #13(Compute)", 13),
    name(1, "Stream #14(MemcpyD2D)", 14),
    name(1, "XLA Modules", 15),
    name(7, "/host:CPU"),
    name(2, "/device:GPU:1"),
    name(2, "Stream #13(Compute)", 13),
    span(1000, 30, "sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128"),
    span(1030, 10, "loop_convert_fusion_12", hlo_op="loop_convert_fusion.12"),
    span(1040, 10, "loop_convert_fusion_3"),
    span(1050, 10, "gemm_fusion_dot_7"),
    span(1050, 10, "void cudnn::ops::nchwToNhwcKernel<float>", tid=14),
    span(1090, 10, "MemcpyD2D", tid=14),
    span(1000, 100, "jit_train_step", tid=15),
    span(900, 900, "convolution", pid=7, tid=1, hlo_op="convolution"),
    span(0, 5000, "cutlass", pid=2),
]


def test_the_shares_of_a_gpu_by_hand():
    found = trace.shares(GPU)
    assert found["device"] == "/device:GPU:0" and found["kernels"] == 6 and found["milliseconds"] == 0.1
    # 70 of 100 microseconds are busy, with 80 of work: 40, 30 and 10.
    assert found["shares"] == pytest.approx(
        {
            "convolutions and matrix products": 0.7 * 40 / 80,
            "memory-bound operations": 0.7 * 30 / 80,
            "copies": 0.7 * 10 / 80,
            "CUDA graphs as a whole": 0.0,
            "idle": 0.3,
        }
    )
    first, second = found["top"][:2]
    assert first["kind"] == trace.PRODUCTS and first["share"] == 30 / 80
    assert second == {"name": "loop_convert_fusion", "kind": trace.MEMORY, "share": 20 / 80, "count": 2}


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_NNT", trace.PRODUCTS),
        ("sm80_xmma_wgrad_implicit_gemm_indexed_bf16bf16_bf16f32_f32_nhwckrsc", trace.PRODUCTS),
        ("void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm>", trace.PRODUCTS),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_fprop", trace.PRODUCTS),
        ("convolution_add_fusion.2", trace.PRODUCTS),
        ("input_reduce_fusion_4", trace.MEMORY),
        ("loop_convert_fusion", trace.MEMORY),
        ("wrapped_transpose", trace.MEMORY),
        ("loop_add_fusion", trace.MEMORY),
        ("MemsetD32", trace.COPIES),
        ("CudaGraphExecution", trace.GRAPHS),
        ("copy.12", trace.COPIES),
    ],
)
def test_kernels_by_name(kernel, kind):
    assert trace.kind(kernel) == kind


def test_a_trace_without_work_is_an_error():
    with pytest.raises(RuntimeError, match="no work of a device"):
        trace.shares([name(1, "/device:GPU:0")])


def test_a_trace_of_this_machine(tmp_path):
    import jax
    import jax.numpy as jnp

    product = jax.jit(lambda x: x @ x)
    x = jnp.ones((256, 256))
    product(x).block_until_ready()
    found = trace.record(lambda: [product(x).block_until_ready() for _ in range(3)], tmp_path)
    assert found["kernels"] >= 3 and sum(found["shares"].values()) == pytest.approx(1)
    assert found["shares"][trace.PRODUCTS] > 0 and found["milliseconds"] > 0
