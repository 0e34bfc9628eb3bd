"""What every rank holds: weights, KV pool, activations, and what lies outside the allocator, as the engine's ledger."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil
from typing import assert_never

from optimizer.cost.case import Case
from optimizer.cost.kv import StageCache, stage_cache
from optimizer.cost.quantities import RankMemory
from optimizer.cost.room import Holdings, Room, room
from optimizer.cost.shards import buffer_bytes, weights_bytes
from optimizer.cost.speculation import Drafter, drafter
from optimizer.cost.stages import held_by_stages
from optimizer.inputs.identity import Keyed, Same
from optimizer.inputs.model import Dense, GroupedQuery, LayerRun, MixtureOfExperts, ModelSpec
from optimizer.layout import Layout

__all__ = ["activation_bytes", "fits", "kv_pool", "ledger", "sequences_that_fit", "stage_fits", "weights_bytes"]

_ACTIVATION_BYTES = 2  # activations are 16 bits wide

_EXPERT_CHUNK = 16384
"""Rows the fused experts work off at once (vLLM: VLLM_FUSED_MOE_CHUNK_SIZE)."""


@dataclass(frozen=True, slots=True)
class _Replica:
    """The ranks of a replica, whatever is in flight."""

    rooms: dict[int, Room]
    """By the first stage whose ranks hold the same."""
    alike: tuple[int, ...]
    """For every stage the first like it."""
    tokens: int
    """The KV pool's."""
    ranks: tuple[RankMemory, ...]
    """As all of them fit."""


def ledger(case: Case, sequences: int, tokens_per_sequence: float) -> tuple[tuple[RankMemory, ...], tuple[str, ...]]:
    """Return the memory of every rank with ``sequences`` in flight of so many tokens each, and why it does not fit.

    The reasons are empty when everything fits; each names the first rank of a stage, what it needs and what it has.
    The pool must also hold one sequence of ``max_model_len`` tokens, or the engine refuses to start.
    """
    found, asked = _replica_of(case), (sequences, tokens_per_sequence)
    short = {first for first, one in found.rooms.items() if not one.holds(*asked)}
    if not short:
        return found.ranks, ()
    why = {first: found.rooms[first].reason(*asked) for first in short}
    each = case.layout.ranks_per_stage
    reasons = [f"rank {stage * each} (stage {stage}) {why[f]}" for stage, f in enumerate(found.alike) if f in short]
    rows = {first: _row(one, found.tokens, fits=first not in short) for first, one in found.rooms.items()}
    return _ranks(each, tuple([rows[first] for first in found.alike])), tuple(reasons)


def fits(case: Case, sequences: int, tokens_per_sequence: float) -> bool:
    """Return whether every rank has room for ``sequences`` in flight of so many tokens each."""
    return all(one.holds(sequences, tokens_per_sequence) for one in _replica_of(case).rooms.values())


def _replica_of(case: Case) -> _Replica:
    gpus = tuple([(Same(part.gpu), len(held)) for part, held in case.parts])
    constants = Same(case.model), Same(case.facts), Same(case.speculative)
    return _replica(Keyed(case, case.layout, gpus, Same(case.engine), *constants))


@lru_cache(maxsize=2048)
def _replica(known: Keyed[Case]) -> _Replica:
    """Return the ranks of a replica on whatever links: memory is the same."""
    case = known.value
    alike = _alike(case)
    rooms = {stage: _room(case, stage) for stage in dict.fromkeys(alike)}
    tokens = _pool_tokens(case, rooms.values())
    rows = {first: _row(one, tokens, fits=True) for first, one in rooms.items()}
    return _Replica(rooms, alike, tokens, _ranks(case.layout.ranks_per_stage, tuple([rows[first] for first in alike])))


_Row = tuple[int, float, int, int, int, int, int, bool]
"""What a rank's memory consists of, from its weights on."""


@lru_cache(maxsize=1024)
def _ranks(each: int, stages: tuple[_Row, ...]) -> tuple[RankMemory, ...]:
    """Return the memory of ``each`` ranks of every stage."""
    return tuple(
        RankMemory(stage * each + index, stage, *row) for stage, row in enumerate(stages) for index in range(each)
    )


def _row(one: Room, tokens: int, *, fits: bool) -> _Row:
    held, cache = one.held, one.cache
    each, per_sequence = cache.bytes_per_token, cache.window_bytes(one.max_model_len)
    return held.weights, each, per_sequence, tokens, held.activations, held.overhead, held.capacity, fits


def kv_pool(case: Case) -> int:
    """Return the tokens the replica's KV pool holds: the scarcest rank decides, attention replicas add up."""
    return _replica_of(case).tokens


def _pool_tokens(case: Case, rooms: Iterable[Room]) -> int:
    length, counted = case.engine.max_model_len, case.facts.window_pool
    return min([one.cache.tokens(one.free, length, counted) for one in rooms]) * case.layout.attn_dp


def sequences_that_fit(case: Case, tokens_per_sequence: float) -> int:
    """Return how many sequences of so many tokens the replica's pool holds at once."""
    rooms = _replica_of(case).rooms.values()
    per_stage = [int(one.free // one.cache.sequence_bytes(tokens_per_sequence)) for one in rooms]
    return max(0, min(per_stage)) * case.layout.attn_dp


def stage_fits(case: Case, stage: int, sequences: int, tokens_per_sequence: float) -> bool:
    """Return whether the ranks of one stage hold their part of ``sequences`` in flight of so many tokens each."""
    return _room(case, stage).holds(sequences, tokens_per_sequence)


def _room(case: Case, stage: int) -> Room:
    return room(case, _holdings(case, stage), _cache(case, stage))


def _alike(case: Case) -> tuple[int, ...]:
    """Return for every stage the first whose ranks hold the same."""
    if case.layout.pp == 1:
        return (0,)
    memories = tuple([part.gpu.memory for part, held in case.parts for _ in held])
    return _same_holdings(Same(case.model), case.layout.layers_per_stage, memories)


@lru_cache(maxsize=8192)
def _same_holdings(model: Same[ModelSpec], split: tuple[int, ...], memories: tuple[int, ...]) -> tuple[int, ...]:
    """Return the first stage with the same layers and GPUs; the ends hold more than their layers."""
    last, first = len(split) - 1, dict[object, int]()
    kinds = enumerate(zip(held_by_stages(model, split), memories, strict=True))
    return tuple([first.setdefault((kind, stage == 0, stage == last), stage) for stage, kind in kinds])


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


def _holdings(case: Case, stage: int) -> Holdings:
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
    return Holdings(weights, activations, overhead, capacity, pool, visible, case.facts.share_of != "static")


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
