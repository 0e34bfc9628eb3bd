"""Plans written by hand: no solver, no pricing, so that tables, records and exports are tested alone.

The numbers are plausible, not predicted: Llama-3.1-70B (arXiv 2407.21783, table 3) on HGX H200 nodes.
"""

from typing import Any

from optimizer.cost.quantities import Breakdown, EngineSettings, Estimate, Phases, RankMemory
from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.workload import WorkloadSpec
from optimizer.plan import Candidate, Inputs, Objective, Plan, Provenance, Replica, Seat, Totals

GIB = 2**30

H200 = GpuSpec.model_validate(
    {
        "id": "h200-sxm", "name": "H200 SXM", "vendor": "nvidia", "architecture": "hopper",
        "memory": "143771 MiB", "memory_bandwidth": "4.8 TB/s", "peak": {"bf16": "989 TFLOP/s", "fp8": "1979 TFLOP/s"},
        "scale_up": {"kind": "nvswitch", "bandwidth": "450 GB/s"}, "pcie_bandwidth": "63 GB/s", "tdp": "700 W",
        "sources": {"*": "NVIDIA H200 datasheet"},
    }
)  # fmt: skip


def cluster(**changes: Any) -> ClusterSpec:
    """Return two HGX H200 nodes on rails."""
    node = {"gpu": "h200-sxm", "gpus": 8, "nvswitch": {}, "nics": {"count": 8, "bandwidth": "400 Gb/s"}}
    given = {
        "name": "two-hgx-h200", "nodes": [{"name": "node[01-02]", "template": "hgx-h200"}],
        "templates": {"hgx-h200": node}, "gpus": {"h200-sxm": H200.model_dump(mode="json")},
        "fabric": {"kind": "rail-clos"},
    }  # fmt: skip
    return ClusterSpec.model_validate(given | changes)


def model(**changes: Any) -> ModelSpec:
    """Return Llama-3.1-70B."""
    attention = {"kind": "gqa", "heads": 64, "kv_heads": 8, "head_dim": 128}
    layers = {"count": 80, "attention": attention, "feed_forward": {"kind": "dense", "intermediate": 28672}}
    given = {"name": "meta-llama/Llama-3.1-70B", "hidden": 8192, "vocab": 128256, "context": 131072, "runs": [layers]}
    return ModelSpec.model_validate(given | changes)


def workload(**changes: Any) -> WorkloadSpec:
    """Return 2048 tokens in, 512 out, as many requests as fit."""
    return WorkloadSpec.model_validate({"isl": 2048, "osl": 512} | changes)


def settings(**changes: Any) -> EngineSettings:
    """Return vLLM with every setting named."""
    given: dict[str, Any] = {
        "name": "vllm", "version": "0.33.0", "gpu_memory_utilization": 0.92, "max_num_seqs": 256,
        "max_num_batched_tokens": 8192, "max_model_len": 4096, "block_tokens": 16, "cuda_graphs": True,
        "cuda_graph_sizes": (1, 2, 4, 8, 16),
    }  # fmt: skip
    return EngineSettings(**(given | changes))


def estimate(ranks: int, stages: int, concurrency: int = 256) -> Estimate:
    """Return the price of one replica; the bytes of 70.6 G bf16 parameters are spread evenly."""
    memory = tuple(
        RankMemory(
            rank=rank, stage=rank * stages // ranks, weights_bytes=141_107_412_992 // ranks,
            kv_bytes_per_token=327_680 / ranks, kv_bytes_per_sequence=0, kv_tokens=1_000_000 * ranks // 4,
            activation_bytes=GIB, overhead_bytes=2 * GIB, capacity_bytes=129 * GIB, fits=True,
        )
        for rank in range(ranks)
    )  # fmt: skip
    return Estimate(
        concurrency=concurrency, ttft_s=0.25, tpot_s=0.0301, ttft_slo_s=0.25, tpot_slo_s=0.0301,
        requests_per_s=15.0, output_tokens_per_s=7680.0,
        memory=memory, fits=True,
        breakdown=Phases(
            prefill=Breakdown(gemm=0.15, attention=0.02, collectives=0.03, pipeline=0.0, overhead=0.01),
            decode=Breakdown(gemm=0.015, attention=0.010, collectives=0.003, pipeline=0.0, overhead=0.0021),
            request=Breakdown(gemm=0.040, attention=0.018, collectives=0.006, pipeline=0.0, overhead=1 / 15.0 - 0.064),
        ),
    )  # fmt: skip


def replica(nodes: list[tuple[str, list[int]]], tp: int, pp: int = 1, **changes: Any) -> Replica:
    """Return one replica on (node, local indices), ranks in that order."""
    places = [(node, index) for node, indices in nodes for index in indices]
    seats = tuple(
        Seat(rank=rank, stage=rank // tp, node=node, gpu=f"{node}/{index}", local_index=index)
        for rank, (node, index) in enumerate(places)
    )
    given: dict[str, Any] = {
        "model": "meta-llama/Llama-3.1-70B", "gpu_type": "h200-sxm", "tp": tp, "pp": pp, "weights": "bf16",
        "kv_cache": "bf16", "layers_per_stage": (80 // pp,) * pp, "seats": seats, "engine": settings(),
        "estimate": estimate(len(places), pp),
    }  # fmt: skip
    return Replica(**(given | changes))


def candidates() -> tuple[Candidate, ...]:
    """Return the priced layouts beside the chosen tp4."""
    common: dict[str, Any] = {
        "ep": 1, "weights": "bf16", "kv_cache": "bf16", "gpu_type": "h200-sxm", "gpus": 16, "fits": True, "meets": True,
        "concurrency": 1024, "capacity_bytes": 129 * GIB, "prefill": {"gemm": 0.15, "collectives": 0.03},
    }  # fmt: skip
    return (
        Candidate(
            tp=4, pp=1, dp=4, span="1 node", chosen=True, ttft_s=0.25, tpot_s=0.0301, output_tokens_per_s=30720.0,
            memory_bytes=110 * GIB, kv_tokens=1_000_000,
            decode={"gemm": 0.015, "attention": 0.010, "collectives": 0.003, "overhead": 0.0021}, **common,
        ),
        Candidate(
            tp=8, pp=1, dp=2, span="1 node", ttft_s=0.2, tpot_s=0.035, output_tokens_per_s=26000.0,
            memory_bytes=90 * GIB, kv_tokens=2_600_000, why="-15% tokens/s: collectives",
            decode={"gemm": 0.012, "attention": 0.010, "collectives": 0.010, "overhead": 0.0021}, **common,
        ),
        Candidate(
            tp=1, pp=1, dp=16, span="1 node", memory_bytes=135 * GIB, why="needs 6 GiB more",
            **(common | {"fits": False, "meets": False}),
        ),
    )  # fmt: skip


def plan(*replicas: Replica, **changes: Any) -> Plan:
    """Return a plan of these replicas; without any, four of tp4 on two nodes."""
    seated = replicas or tuple(
        replica([(node, list(half))], tp=4) for node in ("node01", "node02") for half in (range(4), range(4, 8))
    )
    served = sum(r.estimate.output_tokens_per_s for r in seated)
    given: dict[str, Any] = {
        "status": "optimal",
        "objective": Objective(name="throughput", value=served, bound=served, gap=0.0, unit="output tokens/s"),
        "replicas": seated,
        "totals": Totals(
            gpus=sum(len(r.seats) for r in seated), replicas=len(seated), output_tokens_per_s=served,
            requests_per_s=served / 512, ttft_s=0.25, tpot_s=0.0301,
        ),
        "inputs": Inputs(cluster=cluster(), model=model(), workload=workload()),
        "candidates": candidates(),
        "provenance": Provenance(inputs_sha256={"cluster": "00", "model": "11"}, versions={"tpopt": "0.1.0"}, seed=0),
    }  # fmt: skip
    return Plan(**(given | changes))
