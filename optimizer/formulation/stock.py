"""What nodes have left while replicas are put on them one after the other, without a solver."""

from collections import Counter
from collections.abc import Mapping, Sequence

from optimizer.formulation.columns import Column, Piece
from optimizer.formulation.patterns import room
from optimizer.topology.classes import NodeClass

Left = tuple[tuple[int, ...], tuple[tuple[str, float], ...]]
"""What a node has left: GPUs of each island, and parts of its boundaries."""

Stock = dict[Left, tuple[str, ...]]
"""The nodes of a class, by what they have left."""

Counted = dict[int, Counter[Piece]]
"""How many of which pieces a replica has, by class."""


def counted(column: Column) -> Counted:
    """Return the pieces of a column by class."""
    found: Counted = {}
    for piece in column.pieces:
        found.setdefault(piece.node_class, Counter())[piece] += 1
    return found


def untouched(node_class: NodeClass, columns: Sequence[Column], index: int) -> Stock:
    """Return the nodes of a class with nothing taken."""
    places = {name for c in columns for piece in c.pieces if piece.node_class == index for name, _ in piece.shares}
    links = tuple((place, 1.0) for place in sorted(places))
    return {(tuple(island.size for island in node_class.islands), links): node_class.nodes}


def fit(stocks: Mapping[int, Stock], own: Counted, limit: int) -> int:
    """Return how many replicas have room, up to a limit: their pieces sit on different nodes (Gale and Ryser).

    Nothing where a replica has different pieces on one class: that is not counted here.
    """
    most = limit
    for node_class, pieces in own.items():
        if len(pieces) > 1:
            return 0
        ((piece, times),) = pieces.items()
        held = [(room(sizes, dict(links), piece), len(nodes)) for (sizes, links), nodes in stocks[node_class].items()]
        most = _most_apart(held, times, most)
    return most


def _most_apart(held: Sequence[tuple[int, int]], times: int, limit: int) -> int:
    """Return the most replicas of ``times`` pieces each on different nodes, of which each holds only so many."""
    low, high = 0, min(limit, sum(each * nodes for each, nodes in held) // times)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(each, middle) * nodes for each, nodes in held) >= times * middle:
            low = middle
        else:
            high = middle - 1
    return low


def put(stock: Stock, piece: Piece, pieces: int, replicas: int) -> tuple[Stock, dict[str, int]]:
    """Return what is left after so many pieces are put on the first nodes with room, and how many each of these holds.

    No node holds more than one piece of a replica.
    """
    left: Stock = {}
    held: dict[str, int] = {}
    for (sizes, links), nodes in stock.items():
        each = min(room(sizes, dict(links), piece), replicas)
        full, rest = divmod(min(pieces, each * len(nodes)), each) if each else (0, 0)
        pieces -= full * each + rest
        last = full + int(rest > 0)
        for n, taken in ((each, nodes[:full]), (rest, nodes[full:last]), (0, nodes[last:])):
            if taken:
                after = _less((sizes, links), piece, n)
                left[after] = left.get(after, ()) + taken
                held |= dict.fromkeys(taken, n) if n else {}
    return left, held


def spread_out(stock: Stock, piece: Piece, pieces: int, replicas: int) -> tuple[Stock, dict[str, int]]:
    """Return the same with one piece on each of the emptiest nodes in turn, where replicas have one each."""
    if pieces != replicas:
        return put(stock, piece, pieces, replicas)
    held: dict[str, int] = {}
    while pieces:
        emptiest = sorted(stock, key=lambda left: -sum(left[0]))
        nodes = sum(len(stock[left]) for left in emptiest if room(left[0], dict(left[1]), piece))
        if not nodes:
            break
        stock, more = put({left: stock[left] for left in emptiest}, piece, min(pieces, nodes), 1)
        pieces -= min(pieces, nodes)
        for node, n in more.items():
            held[node] = held.get(node, 0) + n
    return stock, held


def _less(left: Left, piece: Piece, n: int) -> Left:
    sizes, links = left
    taken = dict(piece.shares)
    return (
        tuple(size - n * count for size, count in zip(sizes, piece.counts, strict=True)),
        tuple((place, part - n * taken.get(place, 0.0)) for place, part in links),
    )
