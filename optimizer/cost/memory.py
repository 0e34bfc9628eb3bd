"""What every rank holds: weights, KV pool, activations, and what lies outside the allocator, as the engine's ledger."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil
from typing import assert_never

from optimizer.cost.case import Case
from optimizer.cost.kv import StageCache, stage_cache
from optimizer.cost.quantities import RankMemory
from optimizer.cost.shards import buffer_bytes, weights_bytes
from optimizer.cost.speculation import Drafter, drafter
from optimizer.inputs.identity import Keyed, Same
from optimizer.inputs.model import Dense, GroupedQuery, LayerRun, MixtureOfExperts, ModelSpec
from optimizer.layout import Layout
from optimizer.units import show_bytes

__all__ = ["activation_bytes", "kv_pool", "ledger", "sequences_that_fit", "stage_fits", "weights_bytes"]

_ACTIVATION_BYTES = 2  # activations are 16 bits wide

_EXPERT_CHUNK = 16384
"""Rows the fused experts work off at once (vLLM: VLLM_FUSED_MOE_CHUNK_SIZE)."""


@dataclass(frozen=True, slots=True)
class _Holdings:
    """What one rank of a stage holds before any KV, and the pool that is left for it."""

    weights: int
    activations: int
    overhead: int
    capacity: int
    pool: int
    """Bytes left for KV; negative when nothing is."""
    counts_activations: bool
    """Whether ``capacity`` must hold activations too."""


def ledger(case: Case, sequences: int, tokens_per_sequence: float) -> tuple[tuple[RankMemory, ...], tuple[str, ...]]:
    """Return the memory of every rank with ``sequences`` in flight of so many tokens each, and why it does not fit.

    The reasons are empty when everything fits; each names the first rank of a stage, what it needs and what it has.
    The pool must also hold one sequence of ``max_model_len`` tokens, or the engine refuses to start.
    """
    gpus = tuple([(Same(part.gpu), len(held)) for part, held in case.parts])
    constants = Same(case.model), Same(case.facts), Same(case.speculative)
    return _ledger(Keyed(case, case.layout, gpus, Same(case.engine), *constants), sequences, tokens_per_sequence)


@lru_cache(maxsize=2048)
def _ledger(
    replica: Keyed[Case], sequences: int, tokens_per_sequence: float
) -> tuple[tuple[RankMemory, ...], tuple[str, ...]]:
    """Return the ledger of a replica on whatever links: memory is the same."""
    case = replica.value
    alike, asked = _alike(case), (sequences, tokens_per_sequence)
    stages = {stage: (_holdings(case, stage), _cache(case, stage)) for stage in dict.fromkeys(alike)}
    tokens = _pool_tokens(case, stages.values())
    why = {stage: _reasons(case, stage, held, cache, *asked) for stage, (held, cache) in stages.items()}
    reasons: list[str] = []
    if any(why.values()):
        reasons = [one for stage, first in enumerate(alike) for one in _reasons(case, stage, *stages[first], *asked)]
    rows = {stage: _row(case, *stages[stage], tokens, fits=not why[stage]) for stage in stages}
    return _ranks(case.layout.ranks_per_stage, tuple([rows[first] for first in alike])), tuple(reasons)


_Row = tuple[int, float, int, int, int, int, int, bool]
"""What a rank's memory consists of, from its weights on."""


@lru_cache(maxsize=1024)
def _ranks(each: int, stages: tuple[_Row, ...]) -> tuple[RankMemory, ...]:
    """Return the memory of ``each`` ranks of every stage."""
    return tuple(
        RankMemory(stage * each + index, stage, *row) for stage, row in enumerate(stages) for index in range(each)
    )


def _row(case: Case, held: _Holdings, cache: StageCache, tokens: int, *, fits: bool) -> _Row:
    each, per_sequence = cache.bytes_per_token, cache.window_bytes(case.engine.max_model_len)
    return held.weights, each, per_sequence, tokens, held.activations, held.overhead, held.capacity, fits


def kv_pool(case: Case) -> int:
    """Return the tokens the replica's KV pool holds: the scarcest rank decides, attention replicas add up."""
    return _pool_tokens(case, [(_holdings(case, stage), _cache(case, stage)) for stage in dict.fromkeys(_alike(case))])


def _pool_tokens(case: Case, stages: Iterable[tuple[_Holdings, StageCache]]) -> int:
    length, counted = case.engine.max_model_len, case.facts.window_pool
    scarcest = min([cache.tokens(_pool(case, held), length, counted) for held, cache in stages])
    return scarcest * case.layout.attn_dp


def sequences_that_fit(case: Case, tokens_per_sequence: float) -> int:
    """Return how many sequences of so many tokens the replica's pool holds at once."""
    per_stage = [
        int(_pool(case, _holdings(case, stage)) // _cache(case, stage).sequence_bytes(tokens_per_sequence))
        for stage in range(case.layout.pp)
    ]
    return max(0, min(per_stage)) * case.layout.attn_dp


def stage_fits(case: Case, stage: int, sequences: int, tokens_per_sequence: float) -> bool:
    """Return whether the ranks of one stage hold their part of ``sequences`` in flight of so many tokens each."""
    held, cache = _holdings(case, stage), _cache(case, stage)
    return not _reasons(case, stage, held, cache, sequences, tokens_per_sequence)


def _pool(case: Case, held: _Holdings) -> float:
    return held.pool * (1.0 - case.engine.fragmentation)


def _reasons(case: Case, stage: int, held: _Holdings, cache: StageCache, sequences: int, tokens: float) -> list[str]:
    rank = f"rank {stage * case.layout.ranks_per_stage} (stage {stage})"
    free = _pool(case, held)
    outside = held.activations + held.overhead + held.capacity
    memory = case.at(stage).gpu.memory
    if not held.counts_activations and outside > memory:
        return [f"{rank} needs {show_bytes(outside)} of {show_bytes(memory)}: {_terms(held, 0.0, '')}"]
    longest = cache.request_bytes(case.engine.max_model_len)
    each = ceil(sequences / case.layout.attn_dp)
    running = each * cache.sequence_bytes(min(tokens, case.engine.max_model_len))
    if longest > free:
        label = f"KV of one sequence of {case.engine.max_model_len} tokens"
        best = cache.longest(free)
        remedy = f"; the largest max_model_len that fits is {best}" if best else "; no sequence fits"
        return [_shortage(rank, held, longest, label) + remedy]
    if running > free:
        label = f"KV of {each} sequences of {tokens:.0f} tokens"
        return [_shortage(rank, held, running, label) + f"; {int(free // (running / each))} sequences fit"]
    return []


def _shortage(rank: str, held: _Holdings, kv: float, label: str) -> str:
    needs = held.capacity - held.pool + kv
    return f"{rank} needs {show_bytes(needs)} of {show_bytes(held.capacity)}: {_terms(held, kv, label)}"


def _terms(held: _Holdings, kv: float, label: str) -> str:
    terms = [("weights", held.weights), (label, kv), ("activations", held.activations), ("overhead", held.overhead)]
    return " + ".join(f"{name} {show_bytes(size)}" for name, size in terms if size)


def _alike(case: Case) -> tuple[int, ...]:
    """Return for every stage the first whose ranks hold the same."""
    if case.layout.pp == 1:
        return (0,)
    memories = tuple([part.gpu.memory for part, held in case.parts for _ in held])
    return _same_holdings(Same(case.model), case.layout, memories)


@lru_cache(maxsize=8192)
def _same_holdings(model: Same[ModelSpec], layout: Layout, memories: tuple[int, ...]) -> tuple[int, ...]:
    first: dict[object, int] = {}
    return tuple(
        first.setdefault(
            (
                _loaded_bytes(model, layout, stage),
                _widths(model, layout, stage),
                _stage_cache(model, layout, stage, 1, 1),
                memory,
                stage == layout.pp - 1,
            ),
            stage,
        )
        for stage, memory in enumerate(memories)
    )


@lru_cache(maxsize=8192)
def _loaded_bytes(model: Same[ModelSpec], layout: Layout, stage: int) -> int:
    return weights_bytes(model.value, layout, stage) + buffer_bytes(model.value, layout, stage)


@lru_cache(maxsize=8192)
def _stage_cache(model: Same[ModelSpec], layout: Layout, stage: int, block: int, batched: int) -> StageCache:
    return stage_cache(model.value, layout, stage, block_tokens=block, batched_tokens=batched)


def _cache(case: Case, stage: int) -> StageCache:
    engine = case.engine
    cache = _stage_cache(Same(case.model), case.layout, stage, engine.block_tokens, engine.max_num_batched_tokens)
    if (guess := _drafter(case, stage)) is None:
        return cache
    return replace(cache, bytes_per_token=cache.bytes_per_token + guess.kv_bytes_per_token)


def _drafter(case: Case, stage: int) -> Drafter | None:
    """Return what drafts on this stage: the last one's."""
    return drafter(case) if stage == case.layout.pp - 1 else None


def _holdings(case: Case, stage: int) -> _Holdings:
    """Return what a rank of ``stage`` holds; the engine's share decides what the pool may take."""
    weights = _loaded_bytes(Same(case.model), case.layout, stage)
    if (guess := _drafter(case, stage)) is not None:
        weights += guess.weights_bytes
    activations, overhead = activation_bytes(case, stage), _overhead_bytes(case)
    visible, share = case.at(stage).gpu.memory, case.engine.gpu_memory_utilization
    match case.facts.share_of:
        case "total":
            capacity = int(share * visible) - case.engine.reserve_bytes
            pool = capacity - weights - activations - overhead
        case "static":
            capacity = int(share * (visible - overhead)) - case.engine.reserve_bytes
            pool = capacity - weights
        case "free":
            capacity = visible - case.engine.reserve_bytes
            pool = int(share * (capacity - weights - activations - overhead))
        case _:
            assert_never(case.facts.share_of)
    return _Holdings(weights, activations, overhead, capacity, pool, case.facts.share_of != "static")


def _overhead_bytes(case: Case) -> int:
    facts, grouped = case.facts, case.layout.ranks_per_stage > 1
    return facts.non_torch_bytes + (facts.non_torch_bytes_per_group if grouped else 0)


def activation_bytes(case: Case, stage: int) -> int:
    """Return the peak of temporary tensors on a rank of ``stage``: the larger of a full forward step and the sampler.

    Both are what the engine's profiling run allocates: a step of ``max_num_batched_tokens``, and the sampling of
    ``max_num_seqs`` rows of logits (last stage only), which TP does not shrink. Attention replicas each bring a step:
    the experts take all their rows and give as many back, worked off in chunks of ``_EXPERT_CHUNK``.
    """
    layout, tokens = case.layout, case.engine.max_num_batched_tokens
    row, workspace = _widths(Same(case.model), layout, stage)
    forward = _ACTIVATION_BYTES * tokens * row
    if workspace and layout.attn_dp > 1:
        forward += _ACTIVATION_BYTES * tokens * layout.attn_dp * 2 * case.model.hidden
        tokens_at_once = min(tokens * layout.attn_dp, max(tokens, _EXPERT_CHUNK))
    else:
        tokens_at_once = tokens
    sampler = 0.0
    if stage == layout.pp - 1:
        logits = case.engine.max_num_seqs * case.model.vocab
        sampler = case.facts.sampler_bytes_per_logit * logits + _ACTIVATION_BYTES * tokens * case.model.hidden
    kept = _ACTIVATION_BYTES * tokens_at_once * workspace
    if case.facts.keeps_expert_workspace:
        return round(max(forward, sampler)) + kept
    return round(max(forward + kept, sampler))


@lru_cache(maxsize=8192)
def _widths(model: Same[ModelSpec], layout: Layout, stage: int) -> tuple[int, int]:
    """Return the widest row of a stage's layers and its widest workspace, in numbers per token."""
    spec, first = model.value, sum(layout.layers_per_stage[:stage])
    runs = [run for run, _ in spec.layers(first, first + layout.layers_per_stage[stage])]
    return (
        max(_row_width(spec.hidden, run, layout) for run in runs),
        max(_workspace_width(spec.hidden, run, layout) for run in runs),
    )


def _row_width(hidden: int, run: LayerRun, layout: Layout) -> int:
    """Return the widths alive at once per token: 4 of the model's, and 3 of the block's shard (gate, up, product)."""
    attention, mlp = run.attention, run.feed_forward
    if isinstance(attention, GroupedQuery):
        inside = 2 * (attention.heads + attention.kv_heads) * attention.head_dim
    else:
        inside = attention.heads * (attention.head_dim + attention.qk_nope_head_dim + 2 * attention.v_head_dim)
    wide = mlp.intermediate if isinstance(mlp, Dense) else mlp.shared_intermediate
    return 4 * hidden + ceil(max(inside, (3 if mlp.gated else 2) * wide) / layout.tp)


def _workspace_width(hidden: int, run: LayerRun, layout: Layout) -> int:
    """Return the fused-experts buffers per token: each of top_k rows enters (gate and up, or output) and leaves."""
    mlp = run.feed_forward
    if not isinstance(mlp, MixtureOfExperts):
        return 0
    slices = max(1, layout.ranks_per_stage // layout.ep)
    inside = (2 if mlp.gated else 1) * ceil(mlp.intermediate / slices)
    return mlp.top_k * (hidden + max(hidden, inside))
