"""Weights of one rank and KV bytes per token: the memory room beside vLLM's own model classes, a line per case.

Usage: python tests/contracts/weights.py [--install] [--environments DIR] [--configs DIR] [--only WORD]

Both read the same config.json (facts of architectures.py, or DIR/ORG--NAME_config.json where --configs has one). vLLM
builds its model class for that rank on torch's meta device, so nothing is loaded and no GPU is needed. The exit code is
0 when every case agrees: weights within 0.5 %, KV bytes per token exactly.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

import environments  # noqa: E402
from architectures import ARCHITECTURES  # noqa: E402

from optimizer.cost.kv import rank_kv_bytes_per_token  # noqa: E402
from optimizer.cost.shards import vision_bytes, weights_bytes  # noqa: E402
from optimizer.inputs.huggingface import from_config  # noqa: E402
from optimizer.inputs.model import ModelSpec  # noqa: E402
from optimizer.layout import Layout, parse_label, split_layers  # noqa: E402

MOST_APART = 0.005
ENVIRONMENT = "vllm-0.33.0"


@dataclass(frozen=True)
class Case:
    """One rank of one layout of one model."""

    name: str
    label: str
    stage: int = 0
    kv_cache: str = "bf16"

    @property
    def line(self) -> str:
        """Its name in requests and answers."""
        return f"{self.name} {self.label} stage {self.stage} {self.kv_cache}"

    def layout(self, model: ModelSpec) -> Layout:
        """Return the layout, its weights as the checkpoint stores them."""
        degrees = parse_label(self.label)
        if degrees is None:
            raise ValueError(self.label)
        layers = split_layers(model.num_layers, degrees.pop("pp"))
        kv_cache: Any = self.kv_cache
        return Layout(
            pp=len(layers), layers_per_stage=layers, weights=model.checkpoint_scheme, kv_cache=kv_cache, **degrees
        )


@dataclass(frozen=True)
class Held:
    """Bytes of one rank by both, and the class that vLLM chose."""

    ours: int
    theirs: int
    kv_ours: float
    kv_theirs: float
    model: str

    @property
    def apart(self) -> float:
        """Relative error of the weights."""
        return self.ours / self.theirs - 1

    @property
    def agrees(self) -> bool:
        """Whether weights are close and the cache is equal."""
        return abs(self.apart) <= MOST_APART and self.kv_ours == self.kv_theirs


CASES = (
    Case("meta-llama/Llama-3.1-70B", "tp4", kv_cache="fp8"),
    Case("meta-llama/Llama-3.1-70B", "tp8"),
    Case("meta-llama/Llama-3.1-70B", "tp16"),
    Case("meta-llama/Meta-Llama-3.1-405B", "tp8pp2", 0),
    Case("meta-llama/Meta-Llama-3.1-405B", "tp8pp2", 1),
    Case("mistralai/Devstral-2-123B-Instruct", "tp4"),
    Case("mistralai/Devstral-2-123B-Instruct", "tp8pp3", 1),
    Case("ibm-granite/granite-3.3-8b", "tp1"),
    Case("ibm-granite/granite-3.3-8b", "tp2pp2", 1),
    Case("microsoft/phi-4", "tp2"),
    Case("microsoft/phi-2", "tp2"),
    Case("facebook/opt-66b", "tp4"),
    Case("facebook/opt-66b", "tp4pp2", 1),
    Case("google/gemma-2-27b", "tp2"),
    Case("google/gemma-3-27b", "tp2"),
    Case("google/gemma-3-27b", "tp4pp2", 1),
    Case("google/gemma-4-26B-A4B", "tp2"),
    Case("google/gemma-4-26B-A4B", "tp4"),
    Case("nvidia/Gemma-4-31B-IT-NVFP4", "tp2"),
    Case("nvidia/Gemma-4-31B-IT-NVFP4", "tp2pp2", 1),
    Case("Qwen/Qwen2.5-32B-Instruct", "tp8"),
    Case("XiaomiMiMo/MiMo-7B-Base", "tp2"),
    Case("Qwen/Qwen3-0.6B", "tp1"),
    Case("Qwen/Qwen3-0.6B", "tp1pp2", 1),
    Case("Qwen/Qwen3-32B", "tp16"),
    Case("Qwen/Qwen3-32B-FP8", "tp8"),
    Case("Qwen/Qwen3-30B-A3B", "tp8"),
    Case("Qwen/Qwen3-30B-A3B-FP8", "tp8"),
    Case("Qwen/Qwen3-235B-A22B-FP8", "tp8ep8"),
    Case("Qwen/Qwen3-235B-A22B-FP8", "tp1attndp8ep8"),
    Case("Qwen/Qwen3-235B-A22B-FP8", "tp4pp3", 1),
    Case("Qwen/Qwen3-VL-8B-Instruct", "tp1"),
    Case("Qwen/Qwen3-VL-8B-Instruct", "tp2"),
    Case("Qwen/Qwen3-VL-30B-A3B-Instruct", "tp4"),
    Case("mistralai/Mixtral-8x22B-v0.1", "tp8"),
    Case("mistralai/Mixtral-8x22B-v0.1", "tp4pp2", 0),
    Case("zai-org/GLM-4.6", "tp8"),
    Case("zai-org/GLM-4.6", "tp8pp2ep8", 1),
    Case("openai/gpt-oss-20b", "tp2"),
    Case("openai/gpt-oss-20b", "tp1pp3", 1),
    Case("openai/gpt-oss-120b", "tp4"),
    Case("openai/gpt-oss-120b", "tp8ep8"),
    Case("MiniMaxAI/MiniMax-M2.5", "tp4ep4"),
    Case("MiniMaxAI/MiniMax-M2.5", "tp8"),
    Case("nvidia/MiniMax-M2.5-NVFP4", "tp4"),
    Case("meta-llama/Llama-4-Scout-17B-16E-Instruct", "tp8"),
    Case("meta-llama/Llama-4-Maverick-17B-128E-Instruct", "tp8ep8"),
    Case("meta-llama/Llama-4-Maverick-17B-128E-Instruct", "tp8pp2", 1),
    Case("XiaomiMiMo/MiMo-V2-Flash", "tp8"),
    Case("XiaomiMiMo/MiMo-V2-Flash", "tp4pp2ep4", 0),
    Case("deepseek-ai/DeepSeek-V2-Lite", "tp2"),
    Case("deepseek-ai/DeepSeek-V3", "tp8"),
    Case("deepseek-ai/DeepSeek-V3", "tp1attndp16ep16"),
    Case("deepseek-ai/DeepSeek-V3", "tp8attndp2ep16"),
    Case("deepseek-ai/DeepSeek-V3", "tp8pp3", 0),
    Case("deepseek-ai/DeepSeek-V3", "tp8pp3", 1),
    Case("deepseek-ai/DeepSeek-V3", "tp8pp3", 2),
    Case("deepseek-ai/DeepSeek-V3.2", "tp8"),
    Case("deepseek-ai/DeepSeek-V3.2", "tp8", kv_cache="fp8"),
    Case("moonshotai/Kimi-K2-Instruct", "tp16"),
    Case("moonshotai/Kimi-K2.5 (text)", "tp8"),
    Case("zai-org/GLM-5-FP8", "tp8"),
    Case("zai-org/GLM-5.2-FP8", "tp8"),
    Case("nvidia/GLM-5.1-NVFP4", "tp8"),
)


def compare(root: Path, configs: Path | None, only: str = "") -> dict[Case, Held | str]:
    """Return both answers of every case whose line has the word; vLLM's error where it built nothing."""
    chosen = [case for case in CASES if only in case.line]
    with tempfile.TemporaryDirectory(prefix="tpopt-weights-") as scratch:
        requests = [json.dumps(_request(case, configs, Path(scratch))) for case in chosen]
        done = subprocess.run(
            [environments.interpreter(ENVIRONMENT, root), str(HERE / "inside_vllm_weights.py")],
            input="\n".join(requests) + "\n", capture_output=True, text=True, check=False,
            env={**os.environ, **environments.variables(ENVIRONMENT, root)},
        )  # fmt: skip
    answers = {answer["name"]: answer for answer in map(json.loads, done.stdout.splitlines())}
    silent = {"error": (done.stderr.strip().splitlines() or ["nothing said"])[-1]}
    return {case: _held(case, configs, answers.get(case.line, silent)) for case in chosen}


def _config(name: str, configs: Path | None) -> dict[str, Any]:
    file = configs / f"{name.replace('/', '--')}_config.json" if configs else None
    return json.loads(file.read_text()) if file and file.is_file() else ARCHITECTURES[name]


def _request(case: Case, configs: Path | None, scratch: Path) -> dict[str, Any]:
    """Return what is asked of vLLM, the configuration written into a folder of its own."""
    config = _config(case.name, configs)
    layout = case.layout(from_config(config, name=case.name, where=case.name))
    folder = scratch / case.name.replace("/", "--")
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    argv = [str(folder), "--max-model-len", "2048", "--kv-cache-dtype", case.kv_cache.replace("bf16", "bfloat16")]
    for option, degree in (("tensor", layout.tp), ("pipeline", layout.pp), ("data", layout.attn_dp)):
        argv += [f"--{option}-parallel-size", str(degree)] if degree > 1 else []
    argv += ["--enable-expert-parallel"] if layout.ep > 1 else []
    return {"name": case.line, "argv": argv, "rank": case.stage * layout.tp}


def _held(case: Case, configs: Path | None, answer: dict[str, Any]) -> Held | str:
    if answer["error"] is not None:
        return str(answer["error"])
    model = from_config(_config(case.name, configs), name=case.name, where=case.name)
    layout = case.layout(model)
    tower = vision_bytes(model, layout, case.stage)
    theirs = dict(answer["weights_bytes"])
    seen = theirs.pop("vision", 0)
    first = sum(layout.layers_per_stage[: case.stage])
    runs = model.layers(first, first + layout.layers_per_stage[case.stage])
    return Held(
        ours=weights_bytes(model, layout, case.stage) + tower,
        theirs=sum(theirs.values()) + (seen if tower else 0),
        kv_ours=sum(count * rank_kv_bytes_per_token(run.attention, layout) for run, count in runs),
        kv_theirs=sum(size for _, _, size in answer["kv"]),
        model=answer["model"],
    )


def tells_a_missing_layer(case: Case, held: Held) -> bool:
    """Whether the comparison fails when our side has one layer less."""
    config = dict(ARCHITECTURES[case.name])
    config["num_hidden_layers"] -= 1
    model = from_config(config, name=case.name, where=case.name)
    return not replace(held, ours=weights_bytes(model, case.layout(model), case.stage)).agrees


def main(options: list[str]) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Weights of one rank, and KV bytes per token, beside vLLM's.")
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--environments", type=Path, default=environments.CACHE)
    parser.add_argument("--configs", type=Path)
    parser.add_argument("--only", default="")
    given = parser.parse_args(options)
    root = given.environments.expanduser().resolve()
    if given.install:
        environments.install(root, only=ENVIRONMENT)
    found = compare(root, given.configs, given.only)
    for case, held in found.items():
        _tell(case, held)
    known = [held for held in found.values() if isinstance(held, Held)]
    agree = sum(held.agrees for held in known)
    classes = {held.model for held in known}
    worst = max((abs(held.apart) for held in known), default=0.0)
    sys.stdout.write(
        f"\n{agree} of {len(found)} cases agree, {len(classes)} model classes; "
        f"weights at most {worst:.2%} apart, KV bytes per token equal in "
        f"{sum(held.kv_ours == held.kv_theirs for held in known)}\n"
    )
    return 0 if agree == len(found) else 1


def _tell(case: Case, held: Held | str) -> None:
    place = f"{case.name:28} {case.label:15} stage {case.stage}"
    if isinstance(held, str):
        sys.stdout.write(f"{place}  not built: {held}\n")
        return
    mark = "" if held.agrees else "  APART"
    sys.stdout.write(
        f"{place} {held.model:34} {held.ours / 2**30:8.3f} GiB {held.theirs / 2**30:8.3f} GiB {held.apart:+7.2%}  "
        f"KV {held.kv_ours:.0f} B {held.kv_theirs:.0f} B{mark}\n"
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
