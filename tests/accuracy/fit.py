"""Writes topologies/calibrations/*.yaml: python tests/accuracy/fit.py --data DIR [--out DIR].

DIR holds kernels_h100_h200.csv.gz, collectives.csv.gz, h200_microbench.csv and h200_vllm.csv. The same data give the
same files.
"""

import argparse
from pathlib import Path

import fit_engine
import fit_links
import fit_tables
import yaml

from optimizer.inputs import presets
from optimizer.inputs.gpu import GpuSpec

Tree = dict[str, object]
Rows = list[dict[str, str]]
ROOT = Path(__file__).resolve().parents[2]
MEASURED = "2026-11"
"""When the newest of the measurements was taken."""
MEASURED_HERE = ("h200-sxm", "h100-sxm")
"""GPUs with kernel tables of their own; the others have measured links only."""
TABLE_SOURCE = "ai-dynamo/aiconfigurator 0.12.0, measured tables (Apache-2.0)"

BF16, FP8 = "torch.nn.functional.linear", "CutlassFP8ScaledMMLinearKernel"
FP8_BLOCK = ("DeepGemmFp8BlockScaledMMKernel", "FlashInferFp8BlockScaledMMKernel")
MOE_BF16, MOE_FP8 = "vllm_unquantizedfusedmoe_triton_tritonexperts", "vllm_fp8moe_triton_tritonexperts"

NAMES = {
    "h200-sxm": ("h200_sxm", "H200-SXM-141G"), "h100-sxm": ("h100_sxm", "H100-SXM-80G"),
    "a100-80-sxm": ("", "A100-SXM-80G"), "b200-sxm": ("", "B200-180G"), "gb200": ("", "GB200-192G"),
    "l40s": ("", "L40S-48G"), "rtx-pro-6000-bw-server": ("", "RTX-PRO-6000-96G"),
}  # fmt: skip
"""Catalogue id to the names in the kernel and the collective tables."""

KERNELS_OF = {
    "a100-80-sxm": "h100-sxm",
    "b200-sxm": "h200-sxm",
    "gb200": "h200-sxm",
    "l40s": "h100-sxm",
    "rtx-pro-6000-bw-server": "h200-sxm",
}
"""Whose kernel families are borrowed where no table has the GPU's own."""

SUSTAINED_ROWS = 1024
"""Products of at least so many rows in h200_microbench.csv tell the share of the peak that prefill keeps up."""

GUESSES: Tree = {
    "elementwise": 0.6, "kernel": 3.5e-6,
    "host": {
        "launch": 50e-6, "piece": 30e-6, "step_floor": 3.3e-3, "step_base": 1.5e-3,
        "per_sequence": 2.5e-6, "request": 0.7e-3, "prompt_token": 0.45e-6,
    },
}  # fmt: skip
"""Where the engine fit starts, and its priors: round figures near earlier fits to the same rows. prompt_token is not
fitted; building random token lists in Python was timed at 0.49 us a token."""


def roofline(fit: fit_tables.Fit) -> Tree:
    """Return a family as the file holds it."""
    memory, compute, power, fixed = fit.values
    return {"memory": memory, "compute": compute, "power": power, "fixed": fixed}


def experts(fit: fit_tables.Fit) -> Tree:
    """Return fused experts as the file holds them."""
    *shares, activations = fit.values
    family: Tree = dict(zip(("memory", "compute", "power", "fixed"), shares, strict=True))
    return family | {"activations": activations}


def kernels(gpu: GpuSpec, rows: Rows, sustained: dict[str, float]) -> tuple[Tree, Tree]:
    """Return the kernel families of a GPU from its table, and their errors."""
    system = NAMES[gpu.id][0]
    ours = [row for row in rows if row["system"] == system and row["framework"] == "VLLM"]
    width, peak, peak8 = gpu.memory_bandwidth, gpu.peak.bf16, gpu.peak.fp8 or gpu.peak.bf16

    def of(*names: str, op: str) -> Rows:
        return [row for row in ours if row["op"] == op and row["kernel"] in names]

    fits = {
        "gemm bf16": fit_tables.gemm(of(BF16, op="gemm"), 2, width, peak),
        "gemm fp8": fit_tables.gemm(of(FP8, op="gemm"), 1, width, peak8),
        "gemm fp8-block": fit_tables.gemm(of(*FP8_BLOCK, op="gemm"), 1, width, peak8),
        "moe bf16": fit_tables.moe(of(MOE_BF16, op="moe"), 2, width, peak),
        "moe fp8": fit_tables.moe(of(MOE_FP8, op="moe"), 1, width, peak8),
        "attention_prefill": fit_tables.attention_prefill(
            [row for row in ours if row["op"] == "context_attention"], width, peak
        ),
    }
    decode = {}
    for name, dtype, size in (("bf16", "bfloat16", 2.0), ("fp8", "fp8", 1.0)):
        rows_of = [row for row in ours if row["op"] == "generation_attention" and row["kv_dtype"] == dtype]
        fits[f"attention_decode {name}"] = found = fit_tables.attention_decode(rows_of, size, width)
        decode[name] = {"memory": found.values[0], "compute": 0.6, "power": 4.0, "per_sequence": found.values[1]}
    tree: Tree = {
        "gemm": {name: roofline(fits[f"gemm {name}"]) for name in ("bf16", "fp8", "fp8-block")},
        "attention_prefill": roofline(fits["attention_prefill"]),
        "attention_decode": decode,
        "mla_prefill": {"memory": 0.5, "compute": 0.5, "power": 1.0},
        "mla_decode": {"memory": 0.8, "compute": 0.55, "power": 2.0, "per_sequence": 2e-8},
        "moe": {name: experts(fits[f"moe {name}"]) for name in ("bf16", "fp8")},
    }
    return _in_graphs(tree, sustained), {name: fit.error() for name, fit in fits.items()}


def _in_graphs(tree: Tree, sustained: dict[str, float]) -> Tree:
    """Return the families as a captured graph runs them.

    The tables' fixed times overlap there: refitted to a running engine with them kept, decode is 0.5 points worse. What
    a family needs beyond the gap of any kernel is left to ``kernel``. Fused experts reach 0.86 of the bandwidth in the
    engine; the tables' bytes are not known exactly (their routing is skewed), so that share is a prior only. Long
    products keep a lower share of the peak than the tables' short runs: the mean of our own long ones is the prior.
    Without its fixed time the block-scaled family would read weights at the full bandwidth: it gets the per-tensor
    one's share.
    """
    gemm, moe = tree["gemm"], tree["moe"]
    assert isinstance(gemm, dict)
    assert isinstance(moe, dict)
    for family in (*gemm.values(), *moe.values(), tree["attention_prefill"]):
        family["fixed"] = 0.0
    gemm["fp8-block"]["memory"] = min(gemm["fp8-block"]["memory"], gemm["fp8"]["memory"])
    for scheme, share in sustained.items():
        gemm[scheme]["compute"] = share
    for family in moe.values():
        family["memory"] = 0.86
    return tree


def sustained(gpu: GpuSpec, rows: Rows) -> dict[str, float]:
    """Return the mean share of the peak that long matrix products reach, by scheme."""
    peaks = {"bf16": gpu.peak.bf16, "fp8": gpu.peak.fp8 or gpu.peak.bf16}
    shares = {}
    for scheme, peak in peaks.items():
        chosen = [r for r in rows if r["op"] == f"gemm_{scheme}" and float(r["m"]) >= SUSTAINED_ROWS]
        m, n, k, seconds = fit_tables.columns(chosen, "m", "n", "k", "seconds")
        shares[scheme] = float((2 * m * n * k / seconds / peak).mean())
    return shares


def document(gpu: GpuSpec, engine: str, families: Tree, own_links: Tree, more: Tree) -> Tree:
    """Return one calibration as its file holds it."""
    return {
        "gpu": gpu.id, "engine": engine, "date": MEASURED, "measured": gpu.id in MEASURED_HERE,
        "borrowed": more["borrowed"], **families, "links": own_links, "errors": more["errors"],
        "sources": more["sources"],
    }  # fmt: skip


def write(path: Path, tree: Tree) -> None:
    """Write a calibration: four digits, times in the unit that suits them."""
    header = "# Written by tests/accuracy/fit.py; shares are of the datasheet's figures.\n"
    text = yaml.safe_dump(_text(tree), sort_keys=False, width=120, allow_unicode=True)
    path.write_text(header + text)


def _text(node: object, key: str = "") -> object:
    if isinstance(node, dict):
        return {name: _text(value, name) for name, value in node.items()}
    if isinstance(node, float):
        return _seconds(node) if key in fit_engine.SECONDS else float(f"{node:.4g}")
    return node


def _seconds(value: float) -> str:
    unit, factor = next(((u, f) for u, f in (("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)) if value >= f), ("ns", 1e-9))
    return f"{float(f'{value / factor:.4g}')} {unit}" if value >= 1e-12 else "0 s"


ENGINE_SOURCE = "fitted to tests/accuracy/data/h200_vllm.csv: vLLM 0.24.0 on one host of 4 H200, dummy weights"


def main() -> None:
    """Fit all GPUs and write their files."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--out", type=Path, default=ROOT / "topologies" / "calibrations")
    chosen = options.parse_args()
    kernel_rows = fit_tables.table(chosen.data / "kernels_h100_h200.csv.gz")
    link_rows = fit_tables.table(chosen.data / "collectives.csv.gz")
    gpus = {name: presets.load_gpu(name) for name in NAMES}
    own = {name: fit_links.links(gpu, NAMES[name][1], link_rows) for name, gpu in gpus.items()}
    larger = {"gb200": fit_links.larger_groups(own["gb200"][0], own["b200-sxm"][0], "b200-sxm")}
    spare: Tree = {
        "nvswitch": own["h100-sxm"][0]["nvswitch"], "pcie": own["rtx-pro-6000-bw-server"][0]["pcie"],
        "host": own["l40s"][0]["host"],
    }  # fmt: skip
    shares = sustained(gpus["h200-sxm"], fit_tables.table(chosen.data / "h200_microbench.csv"))
    trees, tables = {}, {}
    for name in ("h200-sxm", "h100-sxm"):
        trees[name], tables[name] = kernels(gpus[name], kernel_rows, shares)
    trees |= _engine_fit(trees, own["h200-sxm"][0], spare, chosen.data, tables)
    for name, gpu in gpus.items():
        complete, borrowed = fit_links.all_links(own[name][0], spare)
        families, source = trees[KERNELS_OF.get(name, name)], KERNELS_OF.get(name)
        more = {
            "borrowed": borrowed | larger.get(name, {}) | _borrowed(name, source),
            "errors": own[name][1] | ({} if source else tables[name]),
            "sources": {
                "*": TABLE_SOURCE,
                "kernel": ENGINE_SOURCE,
                "host": ENGINE_SOURCE,
                "links rdma": fit_links.RDMA_SOURCE,
            },
        }
        write(chosen.out / f"{name}.yaml", document(gpu, "vllm 0.24.0", families, complete, more))


def _engine_fit(
    trees: dict[str, Tree], link: Tree, spare: Tree, data: Path, tables: dict[str, Tree]
) -> dict[str, Tree]:
    """Return both GPUs' families as a running engine shows them: H200's fitted, H100's shifted alike."""
    complete, _ = fit_links.all_links(link, spare)
    shell: Tree = {
        "gpu": "h200-sxm",
        "engine": "vllm 0.24.0",
        "date": MEASURED,
        "measured": True,
        "sources": {"*": TABLE_SOURCE},
    }
    tree = shell | trees["h200-sxm"] | GUESSES | {"links": complete}
    chosen = fit_engine.parameters(tree)
    rows = fit_tables.table(data / "h200_vllm.csv")
    priced = fit_engine.cases(rows, fit_engine.calibration(tree))
    x = fit_engine.fit(tree, chosen, priced)
    tables["h200-sxm"] |= fit_engine.engine_errors(tree, chosen, x, priced)
    for parameter, shift in zip(chosen, x, strict=True):
        print(f"{'.'.join(parameter.path):32} {parameter.prior:.4g} -> {parameter.prior * 2.718281828**shift:.4g}")
    for name, error in tables["h200-sxm"].items():
        print(name, error)
    kept = {*trees["h200-sxm"], *GUESSES}
    fitted = {}
    for name, families in trees.items():
        whole: Tree = families | GUESSES
        shifted = fit_engine.with_values(whole, fit_engine.parameters(whole), x)
        fitted[name] = {key: value for key, value in shifted.items() if key in kept}
    return fitted


HOST = "one host of 4 H200; short prompts took up to twice as long on others (host of the cluster file states yours)"


def _borrowed(name: str, kin: str | None) -> Tree:
    host: Tree = {"host": HOST}
    if name == "h200-sxm":
        return host | {"mla": "guesses fitted to one model with dummy weights (DeepSeek-V2-Lite); no kernel table"}
    engine: Tree = host | {"kernel, elementwise, mla": "h200-sxm (engine runs)"}
    if kin is not None:
        engine["gemm, attention, moe"] = f"{kin} (shares of the datasheet's figures)"
    return engine


if __name__ == "__main__":
    main()
