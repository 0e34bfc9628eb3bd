"""Classes whose nodes need no bookkeeping: pieces whose sizes divide one another fill equal nodes without loss.

With sizes s1 | s2 | ... | sk and M nodes of N GPUs, pieces have seats if and only if for every size s those of s and
more take no more than M floor(N / s) s GPUs: placed largest first, a node with j GPUs taken has floor((N - j) / s) =
floor(N / s) - j / s places of size s left, however the larger ones are spread.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from optimizer.formulation.columns import Piece
from optimizer.topology.classes import NodeClass

_SLACK = 1e-9


def fill_freely(node_class: NodeClass, pieces: Sequence[Piece]) -> bool:
    """Whether it is enough to count GPUs: one island, sizes that divide one another, links that never bind first.

    A replica on several nodes may only take them whole: its pieces sit apart by themselves then.
    """
    if len(node_class.islands) != 1:
        return False
    size = node_class.islands[0].size
    chain = sizes_of(pieces)
    divides = all(larger % smaller == 0 for smaller, larger in pairwise(chain))
    return divides and all(_takes_its_part(piece, size) for piece in pieces)


def _takes_its_part(piece: Piece, size: int) -> bool:
    """Whether a piece sets aside no more of any link than its part of the node's GPUs; its kin sit elsewhere."""
    (gpus,) = piece.counts
    return (piece.nodes == 1 or gpus == size) and all(share * size <= gpus * (1 + _SLACK) for _, share in piece.shares)


def sizes_of(pieces: Sequence[Piece]) -> tuple[int, ...]:
    """Return the different sizes of pieces of one island, ascending."""
    return tuple(sorted({piece.counts[0] for piece in pieces}))


def laid_out(node_class: NodeClass, used: Mapping[Piece, int]) -> dict[str, dict[Piece, int]]:
    """Return what each node holds: the largest pieces first, each on the first node with room."""
    held: dict[str, dict[Piece, int]] = {node: {} for node in node_class.nodes}
    free = dict.fromkeys(node_class.nodes, node_class.islands[0].size)
    for piece in sorted(used, key=lambda piece: (-piece.counts[0], piece)):
        (gpus,), left = piece.counts, used[piece]
        for node in node_class.nodes:
            taken = min(left, free[node] // gpus)
            if taken:
                held[node][piece] = taken
                free[node] -= taken * gpus
                left -= taken
            if not left:
                break
    return held
