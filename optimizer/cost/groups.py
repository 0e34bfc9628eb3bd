"""Seconds per layer of what attention replicas and context parallel ranks send each other inside a stage."""

from optimizer.cost.case import Case
from optimizer.cost.collectives import across, all_gather, all_reduce, part, reduce_scatter
from optimizer.cost.work import Work
from optimizer.inputs.model import Latent
from optimizer.topology.wiring import GroupPath


def exchange(case: Case, constants: Work, rows: float, routed: float) -> float:
    """Return the seconds of gathering ``routed`` rows for the experts and of scattering their sums.

    Whole experts under attention DP: every rank of a TP group brings its part of the rows and gathers the ``rows`` of
    its replica afterwards. Slices, or prefill context ranks: each TP rank brings all rows of its replica, to its peers.
    (vLLM: all2all backend allgather_reducescatter, use_sequence_parallel_moe.)
    """
    layout, group, fits = case.layout, case.wiring.group, case.calibration
    message = routed * constants.hidden_bytes
    if layout.pcp > 1:
        peers = across(group, layout.pcp, layout.tp)
    elif layout.ep > 1 or layout.tp == 1:
        peers = part(group, layout.tp * layout.attn_dp)
    else:
        peers = across(group, layout.attn_dp, layout.tp)
    seconds = all_gather(fits, message, peers) + reduce_scatter(fits, message, peers)
    if layout.ep > 1 and layout.attn_dp > 1:
        seconds += all_gather(fits, rows * constants.hidden_bytes, part(group, layout.tp))
    return seconds


def merge(case: Case, constants: Work, decodes: float, tokens: float, past: float) -> float:
    """Return the seconds of attention over tokens that decode context ranks hold a part of each.

    Inside TP the ranks gather their queries, attend to their tokens, and reduce and scatter the outputs, weighed by the
    sums of exponentials they gathered. Prefill context ranks have all queries already and need the whole output.
    Prompts (``tokens`` new ones in all, ``past`` cached) do the same, but for MLA, which gathers what is cached.
    """
    layout, fits = case.layout, case.calibration
    peers = _decode_peers(case)
    gathers_kv = isinstance(case.model.runs[0].attention, Latent)
    rows = decodes + (tokens if past and not gathers_kv else 0.0)
    seconds = all_gather(fits, past * constants.kv_written_bytes, peers) if gathers_kv else 0.0
    if not rows:
        return seconds
    if layout.pcp > 1:
        sums = rows * constants.weight_bytes / layout.tp * layout.dcp
        output = rows * constants.output_bytes / layout.tp
        return seconds + all_gather(fits, sums, peers) + all_reduce(fits, output, peers)
    heads = rows * layout.dcp / layout.tp
    seconds += all_gather(fits, heads * constants.query_bytes, peers)
    seconds += all_gather(fits, heads * constants.weight_bytes * layout.dcp, peers)
    return seconds + reduce_scatter(fits, heads * constants.output_bytes, peers)


def _decode_peers(case: Case) -> GroupPath:
    layout, group = case.layout, case.wiring.group
    return across(group, layout.pcp, layout.tp) if layout.pcp > 1 else part(group, layout.dcp)


def gather_kv(case: Case, constants: Work, tokens: float) -> float:
    """Return the seconds until every prefill context rank has the KV of all ``tokens`` of the step."""
    peers = across(case.wiring.group, case.layout.pcp, case.layout.tp)
    return all_gather(case.calibration, tokens * constants.kv_written_bytes, peers)
