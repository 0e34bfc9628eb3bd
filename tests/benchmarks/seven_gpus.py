"""Seven H200 of one node, two models: the plan beside every mixture of shapes and the best plan of equal replicas.

Usage: python tests/benchmarks/seven_gpus.py
ISL 2048, OSL 512, saturating load, bf16. A shape is a layout on some seats, at the requests in flight that give it most
tokens/s; a mixture is any multiset of shapes on seven GPUs or fewer. All are priced without the formulation, and all
mixtures are gone through. The exit code is 1 unless the plan equals the best of them.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from seatings import equal_gpus, replicas

from optimizer.cost.options import ROOMY_TOKENS
from optimizer.inputs.cluster import ClusterSpec, Match, NodeEntry, NodeTemplate, NvSwitch, Override
from optimizer.inputs.presets import load_gpu, load_model
from optimizer.inputs.workload import WorkloadSpec
from optimizer.pipeline import Request, solve
from optimizer.topology.graph import build

MODELS = ("qwen3-32b", "llama-3.1-70b")
WORKLOAD = WorkloadSpec(isl=2048, osl=512, weights=("bf16",), kv_cache=("bf16",))

Mixture = tuple[str, ...]
"""Labels of its replicas."""


@dataclass(frozen=True)
class Found:
    """What is told of one model."""

    plan: Mixture
    plan_tokens_per_s: float
    status: str
    mixtures: Mapping[Mixture, float]
    """Tokens/s of each."""
    gpus: Mapping[str, int]
    """Of each shape."""

    @property
    def best(self) -> Mixture:
        """The mixture of most tokens/s."""
        return max(self.mixtures, key=lambda one: self.mixtures[one])

    @property
    def equal(self) -> Mixture:
        """The best mixture of equal replicas."""
        alike = (one for one in self.mixtures if len(set(one)) == 1)
        return max(alike, key=lambda one: self.mixtures[one])


def cluster() -> ClusterSpec:
    """Return a node of eight H200 of which one is lost."""
    template = NodeTemplate(gpu="h200-sxm", gpus=8, nvswitch=NvSwitch(bandwidth="450 GB/s"))
    return ClusterSpec(
        name="seven", nodes=(NodeEntry(name="n0", template="t"),), templates={"t": template},
        gpus={"h200-sxm": load_gpu("h200-sxm")}, overrides=(Override(match=Match(node="n0", gpu=5), state="lost"),),
    )  # fmt: skip


def shapes(model: str) -> dict[str, tuple[int, float]]:
    """Return GPUs and most tokens/s of each shape that is admissible, by its label."""
    topology, found = build(cluster()), dict[str, tuple[int, float]]()
    steps = (None, *ROOMY_TOKENS)
    for one in replicas(topology, equal_gpus(topology), load_model(model), WORKLOAD, batched_tokens=steps):
        tokens_per_s = one.estimate.output_tokens_per_s
        if tokens_per_s > found.get(one.layout.label, (0, 0.0))[1]:
            found[one.layout.label] = (len(one.gpus), tokens_per_s)
    return found


def mixtures(left: int, labels: tuple[str, ...], gpus: Mapping[str, int]) -> Iterator[Mixture]:
    """Yield every multiset of shapes on no more GPUs than are left."""
    if not labels:
        yield ()
        return
    first, *others = labels
    for n in range(left // gpus[first] + 1):
        for rest in mixtures(left - n * gpus[first], tuple(others), gpus):
            yield (*(first,) * n, *rest)


def compared(model: str) -> Found:
    """Return the plan of a model and all mixtures of its shapes."""
    known = shapes(model)
    gpus = {label: n for label, (n, _) in known.items()}
    every = {
        one: sum(known[label][1] for label in one)
        for one in mixtures(7, tuple(sorted(known, key=lambda label: (-gpus[label], label))), gpus)
        if one
    }
    plan = solve(Request(cluster(), load_model(model), WORKLOAD, faults=False)).plan
    chosen = tuple(replica.layout.label for replica in plan.replicas)
    return Found(chosen, plan.objective.value, plan.status, every, gpus)


def told(mixture: Mixture) -> str:
    """Return a mixture in words."""
    return " + ".join(f"{n} x {label}" if n > 1 else label for label, n in Counter(mixture).items())


def main() -> int:
    """Print both models and return whether some plan is not the best mixture."""
    wrong = False
    for model in MODELS:
        found = compared(model)
        best_per_s, equal_per_s = found.mixtures[found.best], found.mixtures[found.equal]
        same = abs(found.plan_tokens_per_s - best_per_s) <= 2e-6 * best_per_s
        verdict, wrong = "equal" if same else "NOT EQUAL", wrong or not same
        print(f"{model}: {len(found.gpus)} shapes, {len(found.mixtures):,} mixtures")
        print(f"  plan               {found.plan_tokens_per_s:>9,.1f} tokens/s  {told(found.plan)} ({found.status})")
        print(f"  best mixture       {best_per_s:>9,.1f} tokens/s  {told(found.best)}: {verdict}")
        print(
            f"  equal replicas     {equal_per_s:>9,.1f} tokens/s  {told(found.equal)}: "
            f"{found.plan_tokens_per_s / equal_per_s - 1:+.1%} for the plan"
        )
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
