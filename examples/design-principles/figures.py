"""Rules of thumb for serving large models, beside what tpopt computes.

Usage: python figures.py   prints one table
"""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from optimizer.cost.parameters import model_kv_bytes_per_token, total_parameters
from optimizer.cost.shards import weights_bytes
from optimizer.inputs.model import ModelSpec, Scheme
from optimizer.inputs.read import read_cluster, read_model
from optimizer.inputs.workload import WorkloadSpec
from optimizer.layout import Layout
from optimizer.pipeline import estimate
from optimizer.topology.bandwidth import wiring
from optimizer.topology.graph import build

HERE = Path(__file__).parent
GB = 10**9


def one_gpu(model: ModelSpec, weights: Scheme) -> Layout:
    """Return the layout of a replica on a single GPU."""
    return Layout(tp=1, pp=1, layers_per_stage=(model.num_layers,), weights=weights)


def rows() -> list[tuple[str, str, str]]:
    """Return (question, the rule of thumb, tpopt's figure)."""
    big, llama = read_model(str(HERE / "glm-130b.yaml")), read_model("llama-3.1-70b")
    h100, two_nodes = read_cluster(str(HERE / "h100.yaml")), read_cluster(str(HERE / "two-nodes.yaml"))
    parameters = total_parameters(big)
    int4 = weights_bytes(big, one_gpu(big, "int4"), 0)
    kv = model_kv_bytes_per_token(llama, "bf16") * 128_000
    gpu = h100.gpus["h100-sxm"]
    prompt = WorkloadSpec.model_validate({"isl": 1024, "osl": 1})
    idle, settings = estimate(h100, llama, prompt, {"tp": 1, "pp": 1}, batch=1)
    prefill_s = idle.breakdown.prefill.total
    room = int(gpu.memory * settings.gpu_memory_utilization)
    overhead = idle.memory[0].activation_bytes + idle.memory[0].overhead_bytes
    topology = build(two_nodes)
    inside = wiring(topology, [["node1/0", "node1/1"]]).group.inner_bytes_per_s
    across = wiring(topology, [["node1/0"], ["node2/0"]]).hops[0].bytes_per_s
    return [
        ("weights of a 130B model, FP16", "260 GB", f"{2 * parameters / GB:.0f} GB"),
        (
            "the same in INT4",
            "65 GB",
            f"{parameters / 2 / GB:.0f} GB bare, {int4 / GB:.0f} with scales and 16-bit head",
        ),
        (
            "KV cache of a 70B model, 128,000 tokens",
            "394 GB",
            f"{kv / GB:.1f} GB: 8 KV heads, not 64, and each layer once",
        ),
        (
            "usable share of 80 GB",
            "50 to 60 %",
            f"{(room - overhead) / gpu.memory:.0%}: utilisation {settings.gpu_memory_utilization:.2f}, "
            f"{overhead / GB:.1f} GB of activations and context",
        ),
        (
            "prefill of 1,024 tokens, 70B, one H100",
            "14 s",
            f"{prefill_s:.2f} s (if its weights fitted)",
        ),
        (
            "NVLink against RDMA, per direction",
            "36 times",
            f"{inside / GB:.0f} against {across / GB:.0f} GB/s: {inside / across:.0f} times",
        ),
    ]


def main() -> None:
    """Print the table."""
    table = Table("question", "rule of thumb", "tpopt", box=None, pad_edge=False)
    for row in rows():
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
