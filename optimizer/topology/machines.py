"""GPUs taken together as the machines of a routed pool: TP groups of one node, on GPUs that nothing tells apart."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from optimizer.topology.classes import node_islands
from optimizer.topology.graph import Topology


@dataclass(frozen=True)
class MachineSeats:
    """The GPUs of one machine."""

    id: str
    """Its node and local indices: "node01/0-3"."""
    gpu_type: str
    gpus: tuple[str, ...]
    """Ids in TP rank order."""


def machine_seats(topology: Topology, admits: Callable[[int], bool], most: int) -> tuple[MachineSeats, ...]:
    """Return all GPUs that can hold a rank in groups of at most ``most``, each as large as its island admits.

    What is left of an island forms smaller groups; ``admits`` says whether so many ranks may hold a layer together.
    """
    return tuple(
        MachineSeats(_name(topology, gpus), island.gpu_type, gpus)
        for node in topology.node_by_name
        for island in node_islands(topology, node)
        for gpus in _groups(island.gpus, admits, most)
    )


def _groups(gpus: Sequence[str], admits: Callable[[int], bool], most: int) -> Iterator[tuple[str, ...]]:
    left = tuple(gpus)
    while left:
        size = next((n for n in range(min(most, len(left)), 0, -1) if admits(n)), None)
        if size is None:
            return
        yield left[:size]
        left = left[size:]


def _name(topology: Topology, gpus: Sequence[str]) -> str:
    places = [topology.gpu(gpu).local_index for gpu in gpus]
    in_a_row = places == list(range(places[0], places[0] + len(places)))
    told = f"{places[0]}-{places[-1]}" if in_a_row and len(places) > 1 else "+".join(map(str, places))
    return f"{topology.gpu(gpus[0]).node}/{told}"
