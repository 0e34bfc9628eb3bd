"""Where the ranks of a replica can sit whose stages are on GPUs of several types, each stage on one type.

Either every node holds equally many of its GPUs, as with one type, or every run of stages of one type is dealt out over
nodes of its own, equally among them: runs may then take more or fewer GPUs of a node than others.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement, groupby, islice, product

from optimizer.topology.classes import NodeClass
from optimizer.topology.footprints import Footprint, Parts, Slot, fillings_of, islands_touched
from optimizer.topology.sections import counts_of, told

MOST = 40
"""So many footprints of one order of types are tried at most for one way to deal the ranks out over nodes."""

Cut = tuple[tuple[str, int], ...]
"""What one node is to hold: the type and the ranks of each part of a stage, in rank order."""


def mixed_footprints(
    classes: Sequence[NodeClass], gpu_types: Sequence[str], ranks_per_stage: int, *, joined: bool, every: bool = False
) -> Iterator[Footprint]:
    """Yield footprints of a replica whose stages sit on these types, in a fixed order; ``joined`` as for one type.

    ``every``: all of them, runs of stages over any number of nodes in any order included.
    """
    label = told(counts_of(gpu_types, ranks_per_stage))
    for cuts in _ways_to_cut(classes, gpu_types, ranks_per_stage, joined=joined, every=every):
        found = _slots(classes, cuts, every=every)
        for slots in found if every else islice(found, MOST):
            yield Footprint(label, ranks_per_stage, slots, tuple(gpu_types))


def _ways_to_cut(
    classes: Sequence[NodeClass], gpu_types: Sequence[str], ranks: int, *, joined: bool, every: bool
) -> Iterator[tuple[Cut, ...]]:
    """Yield what each node is to hold, fewest nodes first."""
    nodes = sum(len(c.nodes) for c in classes) if joined else 1
    equal = (_dealt(gpu_types, ranks, n) for n in _divisors(len(gpu_types) * ranks))
    runs = [tuple(run) for _, run in groupby(gpu_types)]
    options = [[_dealt(run, ranks, n) for n in _divisors(len(run) * ranks)] for run in runs]
    options = options if every else [[_least(classes, dealt)] for dealt in options]
    by_run = (tuple(cut for cuts in chosen for cut in cuts) for chosen in product(*options))
    found = dict.fromkeys((*equal, *by_run))
    yield from sorted((cuts for cuts in found if len(cuts) <= nodes), key=len)


def _divisors(gpus: int) -> Iterator[int]:
    """Yield over how many nodes so many GPUs can be dealt out equally."""
    yield from (n for n in range(1, gpus + 1) if gpus % n == 0)


def _dealt(gpu_types: Sequence[str], ranks: int, nodes: int) -> tuple[Cut, ...]:
    """Return what each node holds when all get equally many ranks."""
    each = len(gpu_types) * ranks // nodes
    stages = [rank // ranks for rank in range(len(gpu_types) * ranks)]
    return tuple(
        tuple((gpu_types[stage], len(list(part))) for stage, part in groupby(stages[first : first + each]))
        for first in range(0, len(stages), each)
    )


def _least(classes: Sequence[NodeClass], ways: Sequence[tuple[Cut, ...]]) -> tuple[Cut, ...]:
    """Return the first way whose nodes exist, by what they are to hold; else the one over most nodes."""
    return next((cuts for cuts in ways if all(_held_by_any(classes, cut) for cut in set(cuts))), ways[-1])


def _held_by_any(classes: Sequence[NodeClass], cut: Cut) -> bool:
    return any(_fillings(node_class, cut) for node_class in classes)


def _slots(classes: Sequence[NodeClass], cuts: Sequence[Cut], *, every: bool) -> Iterator[tuple[Slot, ...]]:
    """Yield the slots of footprints; unless ``every``, nodes that are to hold the same come in order of classes."""
    known = {(i, cut): _fillings(c, cut) for i, c in enumerate(classes) for cut in dict.fromkeys(cuts)}
    runs = [(cut, len(list(run))) for cut, run in groupby(cuts)]
    usable = [[i for i in range(len(classes)) if known[i, cut]] for cut, _ in runs]
    picks = (
        product(able, repeat=n) if every else combinations_with_replacement(able, n)
        for able, (_, n) in zip(usable, runs, strict=True)
    )  # fmt: skip
    for picked in product(*picks):
        chosen = [index for group in picked for index in group]
        if any(chosen.count(index) > len(classes[index].nodes) for index in set(chosen)):
            continue
        options = [known[key] for key in zip(chosen, cuts, strict=True)]
        for parts in product(*options):
            yield tuple(Slot(index, p) for index, p in zip(chosen, parts, strict=True))


def _fillings(node_class: NodeClass, cut: Cut) -> tuple[Parts, ...]:
    """Return the ways to put the parts on the islands of one node, those that touch few islands first."""
    runs = [(gpu_type, [size for _, size in run]) for gpu_type, run in groupby(cut, key=lambda part: part[0])]
    ways = [fillings_of(node_class, gpu_type, sizes) for gpu_type, sizes in runs]
    found = (tuple(part for parts in chosen for part in parts) for chosen in product(*ways))
    return tuple(sorted(found, key=islands_touched))
