"""The best choice of an instance made by hand, by going through all choices and all ways to seat them.

Written from the rules in plain words: replicas are put on nodes one by one, links and failures are looked at node by
node. Nothing of the formulation is used but the values it is given.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product

from optimizer.formulation.columns import Column, Piece
from optimizer.formulation.instance import Instance
from optimizer.plan import ObjectiveName

SLACK = 1e-6

Seats = tuple[tuple[int, ...], ...]
"""Of each replica the places of its pieces' nodes; nodes are numbered through all classes."""

Vector = tuple[float, ...]
"""What is asked in its order, then the tie-break of the last; less is better."""


def best(instance: Instance) -> Vector | None:
    """Return what the best of all choices reaches, None when there is none."""
    ranked = sorted(
        ((vector(instance, chosen), chosen) for chosen in choices(instance) if is_allowed(instance, chosen)),
        key=lambda item: item[0],
    )
    found: Vector | None = None
    for hoped, chosen in ranked:
        if found is not None and hoped >= found:
            break
        for seats in seatings(instance, chosen):
            lost = losses(instance, chosen, seats)
            if instance.survive is None or all(is_enough(instance, without(chosen, gone)) for gone in lost):
                reached = vector(instance, chosen, lost)
                found = reached if found is None or reached < found else found
                if reached == hoped:
                    break
    return found


def choices(instance: Instance) -> Iterator[tuple[Column, ...]]:
    """Yield every multiset of replicas on no more GPUs than there are, or are allowed."""
    total = sum(len(c.nodes) * sum(i.size for i in c.islands) for c in instance.classes)

    def more(columns: Sequence[Column], left: int) -> Iterator[tuple[Column, ...]]:
        if not columns:
            yield ()
            return
        first, *others = columns
        for n in range(left // first.gpus + 1):
            for rest in more(others, left - n * first.gpus):
                yield (*(first,) * n, *rest)

    yield from more(instance.columns, min(total, instance.max_gpus or total))


def is_allowed(instance: Instance, chosen: Sequence[Column]) -> bool:
    """Whether they serve what is asked, as many as are fixed, and understand each other; seats aside."""
    if instance.replicas is not None and len(chosen) != instance.replicas:
        return False
    leaves: Counter[str] = Counter()
    for column in chosen:
        leaves.update(dict(column.leaf_shares))
    if any(promised > 1 + SLACK for promised in leaves.values()):
        return False
    if not all(_may_pair(instance, p, d) for p, d in pairs(chosen)):
        return False
    if instance.objective == "throughput":
        for number, load in enumerate(instance.loads):
            clients = load.workload.concurrency
            if clients and sum(c.point.concurrency for c in chosen if c.service == number) > clients:
                return False
    return is_enough(instance, chosen)


def pairs(chosen: Sequence[Column]) -> Iterator[tuple[Column, Column]]:
    """Yield every prefill replica with every decode replica of its model."""
    for p, d in product(chosen, chosen):
        if (p.role, d.role) == ("prefill", "decode") and p.service == d.service:
            yield p, d


def _may_pair(instance: Instance, p: Column, d: Column) -> bool:
    bound = instance.loads[p.service].workload.slo.ttft
    total = p.point.ttft_slo_s + max(p.point.transfer_s, d.point.transfer_s) + d.point.ttft_slo_s
    small, large = sorted((p.layout.tp, d.layout.tp))
    same = p.layout.kv_cache == d.layout.kv_cache and large % small == 0
    return same and (bound is None or total <= bound * (1 + SLACK))


def is_enough(instance: Instance, chosen: Sequence[Column]) -> bool:
    """Whether every phase has a replica and all that is asked for is served."""
    for number, load in enumerate(instance.loads):
        own = [c for c in chosen if c.service == number]
        prompts, answers = (_of(own, "both", role) for role in ("prefill", "decode"))
        if not prompts or not answers:
            return False
        if instance.objective == "throughput":
            continue
        rate, clients = load.workload.request_rate, load.workload.concurrency
        if rate is not None:
            if min(_rate(prompts), _rate(answers)) < rate * (1 - SLACK):
                return False
            continue
        clients = clients or (1 if instance.objective in ("latency", "ttft") else None)
        if clients is not None:
            late = _rate(_of(own, "prefill")) < _rate(_of(own, "decode")) * (1 - SLACK)
            if late or sum(c.point.concurrency for c in answers) < clients:
                return False
    return True


def _of(own: Sequence[Column], *roles: str) -> list[Column]:
    return [column for column in own if column.role in roles]


def _rate(own: Sequence[Column]) -> float:
    return sum(column.point.requests_per_s for column in own)


# -- seats --------------------------------------------------------------------------------------------------------


def seatings(instance: Instance, chosen: Sequence[Column]) -> Iterator[Seats]:
    """Yield every way to put all pieces on nodes, equal nodes that hold nothing yet once."""
    free = [[island.size for island in c.islands] for c in instance.classes for _ in c.nodes]
    kind = [number for number, c in enumerate(instance.classes) for _ in c.nodes]
    links: list[Counter[str]] = [Counter() for _ in kind]

    def put(left: Sequence[tuple[int, Piece]], seats: dict[int, tuple[int, ...]]) -> Iterator[Seats]:
        if not left:
            yield tuple(seats[number] for number in range(len(chosen)))
            return
        (number, piece), *others = left
        fresh = set()
        for node, own in enumerate(kind):
            if own != piece.node_class or node in seats.get(number, ()):
                continue
            if not links[node] and free[node] == [island.size for island in instance.classes[own].islands]:
                if own in fresh:
                    continue
                fresh.add(own)
            if _has_room(free[node], links[node], piece):
                _take(free[node], links[node], piece, 1)
                yield from put(others, {**seats, number: (*seats.get(number, ()), node)})
                _take(free[node], links[node], piece, -1)

    yield from put([(number, piece) for number, column in enumerate(chosen) for piece in column.pieces], {})


def _has_room(free: Sequence[int], links: Counter[str], piece: Piece) -> bool:
    gpus = all(n <= left for n, left in zip(piece.counts, free, strict=True))
    return gpus and all(links[place] + share <= 1 + SLACK for place, share in piece.shares)


def _take(free: list[int], links: Counter[str], piece: Piece, sign: int) -> None:
    for island, n in enumerate(piece.counts):
        free[island] -= sign * n
    for place, share in piece.shares:
        links[place] += sign * share  # type: ignore[assignment]
        if abs(links[place]) < SLACK:
            del links[place]


# -- failures -----------------------------------------------------------------------------------------------------


def losses(instance: Instance, chosen: Sequence[Column], seats: Seats) -> list[frozenset[int]]:
    """Return the replicas that break with each element that may."""
    if instance.survive is None:
        return []
    if instance.survive == "gpu":
        return [frozenset((number,)) for number in range(len(chosen))]
    broken: dict[object, set[int]] = {}
    for number, (column, nodes) in enumerate(zip(chosen, seats, strict=True)):
        for piece, node in zip(column.pieces, nodes, strict=True):
            if instance.survive == "node":
                broken.setdefault(node, set()).add(number)
            elif any(share > 0 for place, share in piece.shares if place == "nics"):
                own = instance.own_nics[piece.node_class]
                broken.setdefault((node, number if own else None), set()).add(number)
    return [frozenset(numbers) for numbers in broken.values()]


def without(chosen: Sequence[Column], gone: frozenset[int]) -> list[Column]:
    """Return the replicas that are left."""
    return [column for number, column in enumerate(chosen) if number not in gone]


# -- what it is worth ---------------------------------------------------------------------------------------------


def vector(instance: Instance, chosen: Sequence[Column], lost: Sequence[frozenset[int]] = ()) -> Vector:
    """Return what is asked in its order, and the tie-break of the last; throughput first is after the worst loss."""
    names = instance.objectives
    first = names[0] == "throughput" and [value(instance, "throughput", without(chosen, gone)) for gone in lost]
    reached = [max(first) if first else value(instance, names[0], chosen)]
    reached += [value(instance, name, chosen) for name in names[1:]]
    tie: ObjectiveName = "gpus" if names[-1] in ("throughput", "latency", "ttft") else "throughput"
    return tuple(float(f"{one:.9g}") for one in (*reached, value(instance, tie, chosen)))


def value(instance: Instance, name: ObjectiveName, chosen: Sequence[Column]) -> float:
    """Return an objective of replicas, less is better."""
    match name:
        case "throughput":
            return -sum(_tokens_per_s(instance, number, chosen) for number in range(len(instance.loads)))
        case "latency":
            return max((c.point.tpot_s for c in chosen), default=0.0)
        case "ttft":
            whole = [c.point.ttft_s for c in chosen if c.role == "both"]
            apart = (
                p.point.ttft_s + max(p.point.transfer_s, d.point.transfer_s) + d.point.ttft_s for p, d in pairs(chosen)
            )
            return max((*whole, *apart), default=0.0)
        case "gpus":
            return sum(c.gpus for c in chosen)
        case "cost":
            return sum(c.price_per_h or 0.0 for c in chosen)
        case "energy":
            return sum(c.power_w for c in chosen)


def _tokens_per_s(instance: Instance, number: int, chosen: Sequence[Column]) -> float:
    """Return the weighted output tokens/s of requests that pass both phases, of those that arrive."""
    load = instance.loads[number]
    own = [c for c in chosen if c.service == number]
    carried = min(_rate(_of(own, "both", "prefill")), _rate(_of(own, "both", "decode")))
    return min(carried, load.workload.request_rate or carried) * load.workload.osl.mean * load.weight
