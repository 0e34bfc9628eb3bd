"""Seconds per layer of what attention replicas and context parallel ranks send each other inside a stage."""

from dataclasses import dataclass
from functools import lru_cache

from optimizer.cost.collectives import NOTHING, Ways, across, part, ways
from optimizer.cost.work import Work
from optimizer.inputs.calibration import Calibration
from optimizer.inputs.identity import Same
from optimizer.layout import Layout
from optimizer.topology.wiring import ALONE, GroupPath


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """How the ranks of a stage reach each other, beside the all-reduces and gathers of a TP group."""

    constants: Work
    gathered: Ways
    """Rows for the experts, to all who share them."""
    scattered: Ways
    """The sums of the experts."""
    regathered: Ways
    """Rows of an attention replica of which each TP rank has its part."""
    context_gathered: Ways
    """Among decode context ranks."""
    context_reduced: Ways
    """All-reduced where they are prefill context ranks too, else reduced and scattered."""
    kv_gathered: Ways
    """Among prefill context ranks."""

    def exchange(self, rows: float, routed: float) -> float:
        """Return the seconds of gathering ``routed`` rows for the experts and of scattering their sums.

        Whole experts under attention DP: every rank of a TP group brings its part of the rows and gathers the ``rows``
        of its replica afterwards. Slices, or prefill context ranks: each TP rank brings all rows of its replica, to its
        peers. (vLLM: all2all backend allgather_reducescatter, use_sequence_parallel_moe.)
        """
        message = routed * self.constants.hidden_bytes
        seconds = self.gathered.seconds(message) + self.scattered.seconds(message)
        if self.regathered is not NOTHING:
            seconds += self.regathered.seconds(rows * self.constants.hidden_bytes)
        return seconds

    def merge(self, decodes: float, tokens: float, past: float) -> float:
        """Return the seconds of attention over tokens that decode context ranks hold a part of each.

        Inside TP the ranks gather their queries, attend to their tokens, and reduce and scatter the outputs, weighed by
        the sums of exponentials they gathered. Prefill context ranks have all queries already and need the whole
        output. Prompts (``tokens`` new ones in all, ``past`` cached) do the same, but for MLA, which gathers what is
        cached.
        """
        constants, layout = self.constants, self.constants.layout
        gather, reduce = self.context_gathered, self.context_reduced
        rows = decodes + (tokens if past and not constants.gathers_kv else 0.0)
        seconds = gather.seconds(past * constants.kv_written_bytes) if constants.gathers_kv else 0.0
        if not rows:
            return seconds
        if layout.pcp > 1:
            sums = rows * constants.weight_bytes / layout.tp * layout.dcp
            return seconds + gather.seconds(sums) + reduce.seconds(rows * constants.output_bytes / layout.tp)
        heads = rows * layout.dcp / layout.tp
        seconds += gather.seconds(heads * constants.query_bytes)
        seconds += gather.seconds(heads * constants.weight_bytes * layout.dcp)
        return seconds + reduce.seconds(heads * constants.output_bytes)

    def gather_kv(self, tokens: float) -> float:
        """Return the seconds until every prefill context rank has the KV of all ``tokens`` of the step."""
        return self.kv_gathered.seconds(tokens * self.constants.kv_written_bytes)


@lru_cache(maxsize=8192)
def groups(constants: Work, calibration: Same[Calibration], group: GroupPath) -> Groups:
    """Return how the ranks of a stage reach each other; ``group``: all of them."""
    layout = constants.layout
    sharing = _sharing_experts(layout, group) if any(kind.exchanges for kind in constants.kinds) else ALONE
    context = _context(layout, group) if layout.dcp > 1 else ALONE
    replica = part(group, layout.tp) if layout.ep > 1 and layout.attn_dp > 1 else ALONE
    return Groups(
        constants=constants,
        gathered=ways(calibration, "all_gather", sharing),
        scattered=ways(calibration, "reduce_scatter", sharing),
        regathered=ways(calibration, "all_gather", replica),
        context_gathered=ways(calibration, "all_gather", context),
        context_reduced=ways(calibration, "all_reduce" if layout.pcp > 1 else "reduce_scatter", context),
        kv_gathered=ways(calibration, "all_gather", across(group, layout.pcp, layout.tp)),
    )


def _sharing_experts(layout: Layout, group: GroupPath) -> GroupPath:
    """Return the ranks that share rows and experts."""
    if layout.pcp > 1:
        return across(group, layout.pcp, layout.tp)
    if layout.ep > 1 or layout.tp == 1:
        return part(group, layout.tp * layout.attn_dp)
    return across(group, layout.attn_dp, layout.tp)


def _context(layout: Layout, group: GroupPath) -> GroupPath:
    """Return the ranks that hold a part of each sequence."""
    return across(group, layout.pcp, layout.tp) if layout.pcp > 1 else part(group, layout.dcp)
