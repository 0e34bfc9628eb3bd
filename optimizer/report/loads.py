"""What a GPU of a plan holds and sends: memory, and the mean traffic on its links beside what they carry."""

from collections.abc import Iterator
from itertools import groupby

from optimizer.compare import fixed_bytes, is_apart, service_names, service_of, workload_of
from optimizer.cost.bursts import new_tokens
from optimizer.cost.collectives import volume_factor
from optimizer.cost.projections import ACTIVATION_BYTES
from optimizer.plan import Plan, Replica, Reservation
from optimizer.report.models import link_load
from optimizer.report.picture_gpu import gpu_tip
from optimizer.report.scene import Scene
from optimizer.report.tables import percent
from optimizer.topology.bandwidth import capacity
from optimizer.topology.exits import role_wiring
from optimizer.topology.wiring import Medium, Wiring
from optimizer.units import show_bytes, show_bytes_per_s, show_seconds

MEDIA: dict[Medium, str] = {
    "local": "nothing", "nvswitch": "NVSwitch", "mesh": "direct links", "nvlink": "direct cables",
    "pcie": "PCIe", "host": "host memory", "rdma": "the network",
}  # fmt: skip


def tips(shown: Scene, plan: Plan) -> dict[str, str]:
    """Return what to tell of every GPU that holds a rank, by id."""
    told: dict[str, str] = {}
    for replica in plan.replicas:
        lines = [[*_purpose(plan, replica), *told] for told in _by_stage(shown, plan, replica)]
        for seat in replica.seats:
            rank = replica.estimate.memory[seat.rank]
            head = gpu_tip(shown, shown.topology.gpu(seat.gpu))
            share = f"{show_bytes(fixed_bytes(rank))} of {show_bytes(rank.capacity_bytes)} before KV"
            memory = f"memory: {share}, {rank.kv_tokens:,} tokens of KV in the replica"
            told[seat.gpu] = "\n".join([head, memory, *lines[seat.stage]])
    return told


def _purpose(plan: Plan, replica: Replica) -> Iterator[str]:
    """Yield what a replica is for, where not all are for the same."""
    if plan.inputs.more:
        yield f"serves {service_names(plan.inputs.services)[replica.service]}"
    if is_apart(plan):
        yield {"both": "prefill and decode", "prefill": "prefill only", "decode": "decode only"}[replica.role]


def stages_of(replica: Replica) -> tuple[tuple[str, ...], ...]:
    """Return GPU ids by stage, in rank order."""
    seats = sorted(replica.seats, key=lambda seat: seat.rank)
    return tuple(tuple(seat.gpu for seat in stage) for _, stage in groupby(seats, key=lambda seat: seat.stage))


def _by_stage(shown: Scene, plan: Plan, replica: Replica) -> list[list[str]]:
    """Return the lines about links of a rank of each stage."""
    paths = role_wiring(shown.topology, stages_of(replica), replica.share, replica.role)
    reserved = [_reservation(shown, one) for one in replica.reservations[:4]]
    return [
        [
            *_group(plan, replica, paths, stage),
            *_hand_over(plan, replica, paths, stage),
            *_way_out(replica, paths),
            *reserved,
        ]
        for stage in range(replica.pp)
    ]


def tokens_per_s(plan: Plan, replica: Replica) -> float:
    """Return the tokens per second that pass every layer of a replica: prompts and answers, as far as it does them."""
    workload = workload_of(plan, replica)
    prompt, answer = new_tokens(workload), float(workload.osl.mean)
    passing = {"both": prompt + answer, "prefill": prompt, "decode": answer}[replica.role]
    return replica.estimate.requests_per_s * passing


def all_reduce_bytes_per_s(plan: Plan, replica: Replica, stage: int) -> float:
    """Return the mean bytes/s a rank sends for the all-reduces of its stage's layers, two in each.

    A ring moves 2(n-1)/n of every message (nccl-tests, PERFORMANCE.md); a message is a token's hidden state.
    """
    message = service_of(plan, replica).model.hidden * ACTIVATION_BYTES
    per_token = 2 * replica.layers_per_stage[stage] * volume_factor("all_reduce", replica.tp) * message
    return tokens_per_s(plan, replica) * per_token


def _group(plan: Plan, replica: Replica, paths: Wiring, stage: int) -> Iterator[str]:
    group = paths.group
    if replica.tp == 1:
        return
    inside = f"{MEDIA[group.inner]} at {show_bytes_per_s(group.inner_bytes_per_s)} a rank"
    across = f" and {MEDIA[group.outer]} at {show_bytes_per_s(group.outer_bytes_per_s)} a part"
    way = (inside if group.inner != "local" else "") + (across if group.domains > 1 else "")
    load = ""
    if replica.attn_dp == 1:
        load = f": sends {show_bytes_per_s(all_reduce_bytes_per_s(plan, replica, stage))} in the mean"
    yield f"all-reduce over {way.removeprefix(' and ')}{load}"


def _hand_over(plan: Plan, replica: Replica, paths: Wiring, stage: int) -> Iterator[str]:
    if stage < len(paths.hops):
        hop = paths.hops[stage]
        sent = tokens_per_s(plan, replica) * 2 * service_of(plan, replica).model.hidden * ACTIVATION_BYTES / hop.streams
        rate = show_bytes_per_s(hop.bytes_per_s)
        yield f"to stage {stage + 1} over {MEDIA[hop.medium]} at {rate}: sends {show_bytes_per_s(sent)} in the mean"


def _way_out(replica: Replica, paths: Wiring) -> Iterator[str]:
    if paths.exit is not None:
        way = f"{MEDIA[paths.exit.medium]} at {show_bytes_per_s(paths.exit.bytes_per_s)} a rank"
        seconds = show_seconds(replica.estimate.transfer_s)
        yield f"KV of a request over {way}: {seconds}, under way {percent(link_load(replica))} of the time"


def _reservation(shown: Scene, one: Reservation) -> str:
    whole = capacity(shown.topology, one.domain)
    return f"{one.domain}: {show_bytes_per_s(one.bytes_per_s)} of {show_bytes_per_s(whole)} set aside"
