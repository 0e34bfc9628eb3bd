"""Replicas whose price can be worked out by hand: typed specs, hardware at its datasheet's rates and nothing else."""

from dataclasses import replace
from math import inf

from optimizer.cost.case import Case
from optimizer.cost.quantities import EngineSettings
from optimizer.inputs.calibration import Calibration
from optimizer.inputs.engine import EngineVersion
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.model import ModelSpec
from optimizer.layout import Layout, split_layers
from optimizer.topology.wiring import ALONE, GroupPath, HopPath, Wiring

H100 = GpuSpec.model_validate({
    "id": "h100-sxm", "name": "H100", "vendor": "nvidia", "architecture": "hopper", "memory": "81559 MiB",
    "memory_bandwidth": "3.35 TB/s", "peak": {"bf16": "989 TFLOP/s", "fp8": "1979 TFLOP/s"},
    "scale_up": {"kind": "nvswitch", "bandwidth": "450 GB/s"}, "pcie_bandwidth": "63 GB/s", "tdp": "700 W",
    "sources": {"*": "NVIDIA H100 datasheet"},
})  # fmt: skip

LLAMA_70B = ModelSpec.model_validate({
    "name": "llama-70b", "hidden": 8192, "vocab": 128256, "context": 131072,
    "runs": [{
        "count": 80, "attention": {"kind": "gqa", "heads": 64, "kv_heads": 8, "head_dim": 128},
        "feed_forward": {"kind": "dense", "intermediate": 28672},
    }],
})  # fmt: skip

_SHARP = {"memory": 1.0, "compute": 1.0, "power": 32.0}
_FREE = {"base": "0 s", "hop": "0 s", "efficiency": 1.0}
_LINK = {"operations": dict.fromkeys(("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p"), _FREE)}

IDEAL = Calibration.model_validate({
    "gpu": "h100-sxm", "engine": "none", "date": "2026-11", "measured": True, "gemm": {"bf16": _SHARP},
    "attention_prefill": _SHARP, "attention_decode": {"bf16": _SHARP, "fp8": _SHARP}, "mla_prefill": _SHARP,
    "mla_decode": _SHARP, "moe": {"bf16": _SHARP | {"activations": 1.0}}, "elementwise": 1.0, "kernel": "0 s",
    "links": dict.fromkeys(("nvswitch", "mesh", "nvlink", "pcie", "host", "rdma"), _LINK),
    "host": dict.fromkeys(
        ("launch", "piece", "step_floor", "step_base", "per_sequence", "request", "prompt_token"), "0 s"
    ),
    "sources": {"*": "the datasheet, by definition"},
})  # fmt: skip
"""Every kernel at its datasheet bound, every message at its link's rate, a host that costs nothing."""

FACTS = EngineVersion.model_validate({
    "since": "0", "gpu_memory_utilization": 0.9, "block_tokens": 16,
    "sizes": [{"memory": "0 B", "max_num_seqs": 256, "max_num_batched_tokens": 8192}], "graph_batch_limit": 512,
    "graph_prefill_tokens": 512, "sampler_bytes_per_logit": 0, "non_torch_bytes": "0 B",
    "non_torch_bytes_per_group": "0 B", "runs_on": ["hopper"], "sources": {"*": "typed"},
})  # fmt: skip

SETTINGS = EngineSettings(
    name="vllm", version="0", gpu_memory_utilization=0.9, max_num_seqs=256, max_num_batched_tokens=8192,
    max_model_len=8192, block_tokens=16, cuda_graphs=True, cuda_graph_sizes=(),
)  # fmt: skip


def wiring(layout: Layout, *, bytes_per_s: float = 450e9) -> Wiring:
    """Return the paths inside one NVSwitch domain."""
    ranks = layout.ranks_per_stage
    group = ALONE if ranks == 1 else GroupPath(ranks, 1, "nvswitch", bytes_per_s, "local", inf)
    return Wiring(group, (HopPath("nvswitch", bytes_per_s, ranks),) * (layout.pp - 1))


def case(
    model: ModelSpec = LLAMA_70B,
    *,
    calibration: Calibration = IDEAL,
    gpu: GpuSpec = H100,
    tp: int = 1,
    pp: int = 1,
    settings: EngineSettings = SETTINGS,
    **layout: object,
) -> Case:
    """Return a replica in one NVSwitch domain."""
    shape = replace(Layout(tp, pp, split_layers(model.num_layers, pp)), **layout)  # type: ignore[arg-type]
    return Case(model, shape, gpu, wiring(shape), settings, FACTS, calibration)


def grouped(**changes: object) -> ModelSpec:
    """Return a small dense model with the attention or feed-forward changed."""
    attention = {"kind": "gqa", "heads": 16, "kv_heads": 4, "head_dim": 128} | changes
    layer = {"count": 4, "attention": attention, "feed_forward": {"kind": "dense", "intermediate": 8192}}
    return ModelSpec.model_validate(
        {"name": "small", "hidden": 2048, "vocab": 32000, "context": 65536, "runs": [layer]}
    )


def routed(*, experts: int = 64, top_k: int = 4, latent: bool = False, heads: int = 16) -> ModelSpec:
    """Return a small mixture of experts."""
    gqa = {"kind": "gqa", "heads": 16, "kv_heads": 4, "head_dim": 128}
    mla = {
        "kind": "mla", "heads": heads, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
        "v_head_dim": 128,
    }  # fmt: skip
    block = {"kind": "moe", "experts": experts, "top_k": top_k, "intermediate": 1024}
    layer = {"count": 4, "attention": mla if latent else gqa, "feed_forward": block}
    return ModelSpec.model_validate({"name": "moe", "hidden": 2048, "vocab": 32000, "context": 65536, "runs": [layer]})
