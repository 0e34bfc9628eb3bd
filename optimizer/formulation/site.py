"""A cluster while replicas are put on it one column after the other: what is left, and what each node holds."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from optimizer.formulation.boxes import Held
from optimizer.formulation.columns import Piece
from optimizer.formulation.failures import loss_of
from optimizer.formulation.instance import Instance, Phase
from optimizer.formulation.integers import SHARE_STEPS, need
from optimizer.formulation.stock import Counted, Stock, counted, fit, put, spread_out, untouched


@dataclass(frozen=True)
class Ground:
    """A cluster with nothing on it."""

    instance: Instance
    spread: bool = False
    """Whether replicas of one node each sit on the emptiest nodes, so that little breaks with one, or fill nodes up."""

    @cached_property
    def stocks(self) -> dict[int, Stock]:
        """The nodes of each class."""
        columns, classes = self.instance.columns, self.instance.classes
        by_pieces = tuple({id(column.pieces): column for column in columns}.values())  # one shape's points share them
        return {index: untouched(node_class, by_pieces, index) for index, node_class in enumerate(classes)}

    @cached_property
    def uplinks(self) -> dict[str, int]:
        """What each leaf's uplinks carry, in steps."""
        return dict.fromkeys((leaf for c in self.instance.columns for leaf, _ in c.leaf_shares), SHARE_STEPS)


class Site:
    """What is left of a ground, and what was put on it."""

    def __init__(self, ground: Ground) -> None:
        self.instance = ground.instance
        self.copies: Counter[int] = Counter()
        """Replicas of each column, by its place."""
        self._put = spread_out if ground.spread else put
        self._stocks = dict(ground.stocks)
        self._uplinks = dict(ground.uplinks)
        self._gpus = ground.instance.gpus
        self._held: defaultdict[str, Counter[Piece]] = defaultdict(Counter)
        self._full: set[tuple[int, int]] = set()
        self._pieces: dict[int, Counted] = {}

    def room(self, number: int, most: int) -> int:
        """Return how many more replicas of a column have room, up to ``most``."""
        column = self.instance.columns[number]
        parts = id(column.pieces), id(column.leaf_shares)
        if parts in self._full or column.footprint.places:
            return 0
        by_uplinks = (self._uplinks[leaf] // need(share) for leaf, share in column.leaf_shares if share > 0)
        own = self._pieces.setdefault(parts[0], counted(column))
        found = fit(self._stocks, own, min([most, self._gpus // column.gpus, *by_uplinks]))
        if not found and most:
            self._full.add(parts)  # and stays so
        return found

    def add(self, number: int, replicas: int) -> None:
        """Put replicas of a column where they have room."""
        column = self.instance.columns[number]
        for node_class, pieces in self._pieces[id(column.pieces)].items():
            for piece, times in pieces.items():
                left, held = self._put(self._stocks[node_class], piece, replicas * times, replicas)
                self._stocks[node_class] = left
                for node, n in held.items():
                    self._held[node][piece] += n
        for leaf, share in column.leaf_shares:
            self._uplinks[leaf] -= replicas * need(share)
        self._gpus -= replicas * column.gpus
        self.copies[number] += replicas

    def carried(self, amounts: Sequence[int], phase: Phase | None = None) -> int:
        """Return the sum of what each replica (of a phase) adds."""
        columns = self.instance.columns
        return sum(
            amounts[number] * n for number, n in self.copies.items() if phase is None or phase.covers(columns[number])
        )

    def lost(self, weights: Sequence[int]) -> int:
        """Return the most that any single failure takes, each replica weighing as its column says."""
        return loss_of(self.instance, self.copies, self._held, weights)

    @property
    def held(self) -> Held:
        """What each node holds."""
        nodes = (node for node_class in self.instance.classes for node in node_class.nodes)
        return {node: dict(self._held.get(node, {})) for node in nodes}

    @property
    def replicas(self) -> tuple[int, ...]:
        """Replicas of each column."""
        return tuple(self.copies.get(number, 0) for number in range(len(self.instance.columns)))
