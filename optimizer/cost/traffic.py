"""What a replica sends between nodes on average."""

from optimizer.cost.case import Case
from optimizer.cost.collectives import part
from optimizer.cost.work import work


def crossing(case: Case, tokens_per_s: float) -> float:
    """Return mean bytes/s that computing so many tokens/s sends over the boundary of the busiest domain, per direction.

    All-reduces of a TP group over k domains send 2(k-1)/k of every row out of each, gather and scatter of rows among
    attention replicas (k-1)/k each; stages on other nodes pass on hidden state and residual, each of k domains its
    part.
    """
    per_token = max([_crossing_per_token(one, held) for one, held in case.parts])
    return tokens_per_s * per_token * work(case.at(0)).hidden_bytes


def _crossing_per_token(case: Case, held: range) -> float:
    """Return what the busiest of some stages on GPUs of one type send for each token, in hidden states."""
    constants, layout, group = work(case), case.layout, case.wiring.group
    per_token = 0.0
    if group.outer == "rdma":
        peers = part(group, layout.tp).domains
        reduced, gathered = 2.0 * (peers - 1) / peers / layout.attn_dp, 2.0 * (group.domains - 1) / group.domains
        per_token = max([
            sum([n * (kind.all_reduces * reduced + kind.exchanges * gathered)
                 for n, kind in zip(constants.shapes[index].counts, constants.kinds, strict=True)])
            for index in set(constants.order[held.start : held.stop])
        ])  # fmt: skip
    if any(hop.medium == "rdma" for hop in case.wiring.hops):
        per_token += 2.0 / (group.domains if group.outer == "rdma" else 1)
    return per_token
