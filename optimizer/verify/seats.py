"""Rules on seats: real GPUs, each used once, in the order engines number ranks, all layers on board."""

import itertools
from collections import Counter, defaultdict, deque
from collections.abc import Iterator

from optimizer.cost.attention_replicas import misseated
from optimizer.cost.settings import refuses_gpu
from optimizer.layout import refuses_hand_over
from optimizer.topology.sections import told
from optimizer.verify.evidence import Claim, Evidence
from optimizer.verify.forwarders import forwarding, meet


def seats_exist(evidence: Evidence) -> Iterator[str]:
    """Every seat is a GPU of the cluster, named by the node and the local index it has there."""
    for claim, seat in evidence.seats():
        gpu = evidence.known.get(seat.gpu)
        if gpu is None:
            yield f"{claim.name} rank {seat.rank}: the cluster has no GPU {seat.gpu}"
        elif (seat.node, seat.local_index) != (gpu.node, gpu.local_index):
            yield (
                f"{claim.name} rank {seat.rank}: {seat.gpu} is GPU {gpu.local_index} of {gpu.node}, "
                f"not {seat.local_index} of {seat.node}"
            )


def seats_may_be_used(evidence: Evidence) -> Iterator[str]:
    """No rank sits on a GPU that is lost, cordoned, drained or reserved."""
    for claim, seat in evidence.seats():
        gpu = evidence.known.get(seat.gpu)
        if gpu is not None and not gpu.placeable:
            yield f"{claim.name} rank {seat.rank}: {seat.gpu} is {gpu.state}"


def seats_hold_one_rank(evidence: Evidence) -> Iterator[str]:
    """No GPU holds two ranks, of one replica or of two."""
    holders = defaultdict(list)
    for claim, seat in evidence.seats():
        holders[seat.gpu].append(f"{claim.name} rank {seat.rank}")
    for gpu, ranks in holders.items():
        if len(ranks) > 1:
            yield f"{gpu} holds {' and '.join(ranks)}"


def ranks_are_complete(evidence: Evidence) -> Iterator[str]:
    """Ranks run from 0 to the world size, stage by stage, TP fastest, and are listed in that order."""
    for claim in evidence.claims:
        layout = claim.replica.layout
        wanted = [(rank, rank // layout.ranks_per_stage) for rank in range(layout.world_size)]
        stated = [(seat.rank, seat.stage) for seat in claim.replica.seats]
        if stated != wanted:
            yield f"{claim.name}: (rank, stage) are {stated}, a {layout.label} numbers them {wanted}"


def layers_are_all_there(evidence: Evidence) -> Iterator[str]:
    """Every stage holds at least one layer and all stages together hold each layer once."""
    for claim in evidence.claims:
        held, layers = claim.replica.layers_per_stage, claim.service.model.num_layers
        if len(held) != claim.replica.pp or sum(held) != layers or min(held, default=0) < 1:
            yield f"{claim.name}: {claim.replica.pp} stages hold {held} of {layers} layers"


def gpus_are_of_the_stages_type(evidence: Evidence) -> Iterator[str]:
    """The GPUs of every stage are of the type it was priced for, and a mixed one says how many of each."""
    for claim in evidence.seated:
        stated = claim.replica.gpu_types
        if stated and (len(stated) != claim.replica.pp or claim.replica.gpu_type != told(claim.replica.gpus_of_type)):
            yield f"{claim.name}: {claim.replica.pp} stages on {', '.join(stated)} are no {claim.replica.gpu_type}"
            continue
        for stage, (gpu_type, ids) in enumerate(zip(claim.types, claim.stages, strict=True)):
            types = Counter(evidence.known[gpu].type for gpu in ids)
            if set(types) != {gpu_type}:
                yield f"{claim.name} stage {stage}: sits on {dict(types)}, priced for {gpu_type}"


def engine_runs_on_the_gpus(evidence: Evidence) -> Iterator[str]:
    """The engine's version runs on GPUs of the architecture of every stage."""
    for claim in evidence.claims:
        if claim.facts is None:
            continue
        engine = f"{claim.replica.engine.name} {claim.replica.engine.version}"
        specs = {spec.id: spec for stage in range(len(claim.types)) if (spec := claim.spec_of(stage)) is not None}
        reasons = (refuses_gpu(engine, claim.facts, spec) for spec in specs.values())
        yield from (f"{claim.name}: {reason}" for reason in reasons if reason)


def engine_takes_several_types(evidence: Evidence) -> Iterator[str]:
    """A pipeline runs over several types of GPU only where the engine's version does so, and all are of one vendor."""
    for claim in evidence.claims:
        if not claim.replica.gpu_types:
            continue
        engine = claim.replica.engine
        if claim.facts is not None and not claim.facts.several_gpu_types:
            yield f"{claim.name}: {engine.name} {engine.version} is not known to run over {claim.replica.gpu_type}"
        if len(set(claim.sections)) < len(claim.sections):
            yield f"{claim.name}: stages of one type are not in a row: {', '.join(claim.types)}"
        specs = [claim.spec_of(stage) for stage in range(len(claim.types))]
        if len(vendors := {spec.vendor for spec in specs if spec is not None}) > 1:
            yield f"{claim.name}: GPUs of {' and '.join(sorted(vendors))} do not work together"


def engine_admits_layout(evidence: Evidence) -> Iterator[str]:
    """The engine runs the model in this layout, and the model is the one that was asked for."""
    for claim in evidence.claims:
        model = claim.service.model
        layout, engine = claim.replica.layout, claim.service.workload.engine.name
        alone = refuses_hand_over(layout, engine, claim.replica.role)
        for reason in (*claim.refusals, *([alone] if alone else [])):
            yield f"{claim.name}: {reason}"
        if claim.replica.model != model.name:
            yield f"{claim.name}: serves {claim.replica.model}, asked for was {model.name}"


def precisions_are_allowed(evidence: Evidence) -> Iterator[str]:
    """Weights and KV cache have a precision that the workload allows."""
    for claim in evidence.claims:
        workload = claim.service.workload
        weights = workload.weights or (claim.service.model.checkpoint_scheme,)
        if claim.replica.weights not in weights:
            yield f"{claim.name}: weights in {claim.replica.weights}, allowed: {', '.join(weights)}"
        if claim.replica.kv_cache not in workload.kv_cache:
            yield f"{claim.name}: KV in {claim.replica.kv_cache}, allowed: {', '.join(workload.kv_cache)}"


def nodes_hold_equal_shares(evidence: Evidence) -> Iterator[str]:
    """A replica on several nodes has equally many GPUs on each, its ranks node after node.

    Where stages sit on several types, it is enough that those of each type do, on nodes of their own.
    """
    for claim in evidence.seated:
        nodes = [gpu.node for gpu in claim.gpus or ()]
        per_node = Counter(nodes)
        if len(set(per_node.values())) > 1 and not _each_type_is_dealt_out(claim):
            yield f"{claim.name}: unequal GPUs per node: {dict(per_node)}"
        changes = sum(a != b for a, b in itertools.pairwise(nodes))
        if changes != len(per_node) - 1:
            yield f"{claim.name}: its ranks return to a node they had left: {nodes}"


def _each_type_is_dealt_out(claim: Claim) -> bool:
    """Whether the stages of every type have equally many GPUs on each of their nodes, and no other stages there."""
    runs = itertools.groupby(claim.gpus or (), key=lambda gpu: gpu.type)
    held = [Counter(gpu.node for gpu in run) for _, run in runs]
    apart = sum(len(nodes) for nodes in held) == len(set().union(*held))
    return len(held) > 1 and apart and all(len(set(nodes.values())) == 1 for nodes in held)


def attention_replicas_are_whole(evidence: Evidence) -> Iterator[str]:
    """Each attention replica is on its own node or domain, or fills several."""
    for claim in evidence.seated:
        if not isinstance(claim.wiring, str):
            why = misseated(evidence.topology, claim.stages, claim.replica.layout, claim.wiring.group)
            if why is not None:
                yield f"{claim.name}: {why}"


def replicas_are_wired(evidence: Evidence) -> Iterator[str]:
    """The ranks of a TP group, and those of consecutive stages, reach each other."""
    for claim in evidence.seated:
        if isinstance(claim.wiring, str):
            yield f"{claim.name}: {claim.wiring}"
            continue
        paths = [claim.wiring.group.inner_bytes_per_s, claim.wiring.group.outer_bytes_per_s]
        if not all(rate > 0 for rate in (*paths, *(hop.bytes_per_s for hop in claim.wiring.hops))):
            yield f"{claim.name}: a path between its ranks carries nothing: {claim.wiring}"
        yield from _cut_off(claim)


def _cut_off(claim: Claim) -> Iterator[str]:
    """Yield the ranks that no chain of live cables joins to the first; GPUs and NICs of others do not forward."""
    ids = [gpu for stage in claim.stages for gpu in stage]
    topology = claim.topology
    if len(ids) == 1 or meet(topology, ids):
        return
    forwarders, adjacent = forwarding(topology), topology.graph.adj
    own = {*ids, *(nic for gpu in claim.gpus or () for nic in topology.node(gpu.node).nics)}
    entered: dict[str | int, list[str]] = defaultdict(list)
    for vertex in own:
        for before, cable in topology.graph.pred[vertex].items():
            if before in forwarders.part_of and cable["bytes_per_s"] != 0:
                entered[forwarders.part_of[before]].append(vertex)
    seen: set[str | int] = {ids[0]}
    waiting: deque[str | int] = deque(ids[:1])
    while waiting and not seen.issuperset(ids):
        place = waiting.popleft()
        if isinstance(place, str):
            live = (vertex for vertex, cable in adjacent[place].items() if cable["bytes_per_s"] != 0)
            further = [forwarders.part_of.get(vertex, vertex) for vertex in live]
        else:
            further = [*entered[place], *forwarders.beyond[place]]
        new = [v for v in further if v not in seen and (isinstance(v, int) or v in own)]
        seen.update(new)
        waiting.extend(new)
    if missing := [gpu for gpu in ids if gpu not in seen]:
        yield f"{claim.name}: no cable leads from {ids[0]} to {', '.join(missing)}"
