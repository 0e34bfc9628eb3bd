"""A closed loop of requests, traced to its steps."""

from optimizer.cost.bursts import mean_context, new_tokens
from optimizer.cost.case import Case
from optimizer.cost.serving import Loop
from optimizer.inputs.workload import WorkloadSpec
from optimizer.report.explained_step import host_fact, step_fact
from optimizer.report.facts import Fact, fact
from optimizer.units import show_seconds


class LoopFacts:
    """The quantities of a closed loop, each once."""

    def __init__(self, case: Case, workload: WorkloadSpec, loop: Loop) -> None:
        turn = loop.turn
        self.step = step_fact("decode step", case, loop.decode, loop.running, mean_context(workload))
        self.chunks = _chunks(case, workload, turn.chunks)
        self.osl = fact("OSL", workload.osl.mean, f"{workload.osl.mean} tokens", source="workload")
        self.cycle_s = loop.cycle.total - loop.front_s
        self.cycle = fact(
            "cycle", self.cycle_s, show_seconds(self.cycle_s),
            "max(OSL - 1 + chunks, mixed steps) x decode step + extra", self.step, self.osl, self.chunks,
            fact("mixed steps", turn.mixed_steps, f"{turn.mixed_steps:,.1f}",
                 "steps that prefill while every running request is renewed once"),
            fact("extra", turn.extra_s, show_seconds(turn.extra_s),
                 "what those steps take beyond decode steps, on the slowest stage"),
        )  # fmt: skip
        self.mixed = fact("mixed step", turn.mixed_s, show_seconds(turn.mixed_s),
                          "a step that prefills beside the decodes, through all stages")  # fmt: skip
        self.prompt = fact("prompt", loop.prompt_s, show_seconds(loop.prompt_s), "extra / running", self.cycle)
        self.later = fact(
            "later", loop.later_s, show_seconds(loop.later_s),
            "a step with one prompt alone beyond decode step + prompt, + further chunks x mixed step",
            self.step, self.prompt, self.chunks, self.mixed,
        )  # fmt: skip


def _chunks(case: Case, workload: WorkloadSpec, chunks: int) -> Fact:
    return fact(
        "chunks", chunks, f"{chunks}", "ceil(new tokens / (max_num_batched_tokens - decodes))",
        fact("new tokens", new_tokens(workload), f"{new_tokens(workload):g}", "ISL x (1 - prefix_cache_hit)"),
        fact("max_num_batched_tokens", case.engine.max_num_batched_tokens, f"{case.engine.max_num_batched_tokens}",
             source=f"{case.engine.name} {case.engine.version} as started"),
    )  # fmt: skip


def front_fact(case: Case, workload: WorkloadSpec, seconds: float) -> Fact:
    """Return the seconds until a request reaches the engine."""
    return fact(
        "front end", seconds, show_seconds(seconds), "per request + ISL x per token",
        host_fact(case, "per request", "request"), host_fact(case, "per token", "prompt_token"),
        fact("ISL", workload.isl.mean, f"{workload.isl.mean} tokens", source="workload"),
    )  # fmt: skip


def running_fact(case: Case, concurrency: int, running: float, formula: str) -> Fact:
    """Return the requests that take part in steps."""
    limit = case.engine.max_num_seqs * case.layout.attn_dp
    return fact(
        "running", running, f"{running:g} requests", formula,
        fact("concurrency", concurrency, f"{concurrency}", "chosen by the solver among the priced points"),
        fact("max_num_seqs", limit, f"{limit}", source=f"{case.engine.name} {case.engine.version} as started"),
    )  # fmt: skip


def margin_factor(workload: WorkloadSpec, sign: str) -> str:
    """Return the factor by which a price is stated worse than predicted; nothing without a margin."""
    return f" x (1 {sign} margin {100 * workload.margin:g} %)" if workload.margin else ""
