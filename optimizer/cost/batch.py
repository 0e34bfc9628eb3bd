"""What one step computes, as the fullest attention replica and captured graphs see it."""

from bisect import bisect_left
from math import ceil
from typing import NamedTuple

from optimizer.cost.case import Case


class Batch(NamedTuple):
    """What one step computes, in the whole replica: prompts of equal length and sequences in decode."""

    prompts: float = 0.0
    tokens: float = 0.0
    """New tokens of each prompt in this step."""
    past: float = 0.0
    """Tokens of each prompt already cached."""
    decodes: float = 0.0
    context: float = 0.0
    """Cached tokens of each sequence in decode."""
    distinct: float | None = None
    """Experts hit per layer, where a measurement's router is known not to spread tokens."""
    everyone: float | None = None
    """Rows of all attention replicas, where the rest of this is what one of them computes."""


def is_captured(case: Case, batch: Batch) -> bool:
    """Whether the step replays a whole captured graph: decodes only, no more than the largest captured batch."""
    sizes = case.engine.cuda_graph_sizes
    most = sizes[-1] if sizes else case.facts.graph_batch_limit
    shared = case.layout.attn_dp if batch.everyone is None else 1
    return case.engine.cuda_graphs and batch.prompts == 0 and batch.decodes * case.checked <= most * shared


def is_piecewise(case: Case, rows: float) -> bool:
    """Whether a step of so many rows that is not captured whole runs from the graphs of its pieces."""
    sizes = case.engine.cuda_graph_sizes
    return case.engine.cuda_graphs and rows <= (sizes[-1] if sizes else case.facts.graph_prefill_tokens)


def padded(case: Case, rows: float) -> float:
    """Return the captured batch that holds so many rows of one attention replica."""
    sizes = case.engine.cuda_graph_sizes
    slot = bisect_left(sizes, rows)
    return float(sizes[slot]) if slot < len(sizes) else rows


def fullest(case: Case, batch: Batch) -> Batch:
    """Return what the fullest attention replica computes: all others wait for it at the experts.

    Each prompt is one replica's: of fewer prompts than replicas the fullest has a whole one. It never takes more than
    its token budget, unless an even split already does.
    """
    shared = case.layout.attn_dp
    if shared == 1:
        return batch
    prompts = batch.prompts / shared
    if batch.prompts:
        within = case.engine.max_num_batched_tokens / batch.tokens
        prompts = min(batch.prompts, max(prompts, min(ceil(prompts), max(1.0, within))))
    everyone = batch.prompts * batch.tokens + batch.decodes * case.checked
    decodes = float(ceil(batch.decodes / shared))
    return Batch(prompts, batch.tokens, batch.past, decodes, batch.context, batch.distinct, everyone)


def rows_of(case: Case, batch: Batch) -> float:
    """Return rows of activations on one rank of an attention replica, padding included."""
    each = batch.prompts * batch.tokens / case.layout.pcp + batch.decodes * case.checked
    return padded(case, each) if is_captured(case, batch) else each
