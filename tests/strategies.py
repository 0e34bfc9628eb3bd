"""Hypothesis strategies for tiny planning problems: at most 8 GPUs, every kind of wiring, fault, model and load.

Memory is chosen so that a replica sometimes fits on one GPU, sometimes only when split, and sometimes not at all.
"""

from dataclasses import dataclass

from hypothesis import strategies as st

from optimizer.cost.parameters import total_parameters
from optimizer.inputs.cluster import (
    Bridge,
    ClusterSpec,
    Fabric,
    FatTree,
    GpuGroup,
    Match,
    Mesh,
    Nics,
    NodeEntry,
    NodeTemplate,
    NvSwitch,
    OneSwitch,
    Override,
    Pcie,
    RailClos,
)
from optimizer.inputs.gpu import GpuSpec, Peak, ScaleUp
from optimizer.inputs.model import (
    Dense,
    FeedForward,
    GroupedQuery,
    Latent,
    LayerRun,
    MixtureOfExperts,
    ModelSpec,
)
from optimizer.inputs.service import Service
from optimizer.inputs.workload import EngineChoice, KvScheme, Role, Slo, WorkloadSpec
from optimizer.plan import ObjectiveName
from optimizer.topology.graph import build

OBJECTIVES: tuple[ObjectiveName, ...] = ("throughput", "latency", "ttft", "gpus", "cost", "energy")
MAX_GPUS = 8


_ENGINE_BYTES = 1.9e9
"""About what vLLM holds beside weights and KV, and the share of memory it leaves alone."""


@dataclass(frozen=True)
class Instance:
    """One planning problem."""

    cluster: ClusterSpec
    model: ModelSpec
    workload: WorkloadSpec
    objective: ObjectiveName


def gpu_spec(
    gpu_id: str = "big", memory: str = "12 GB", *, bandwidth: str = "600 GB/s", peer_to_peer: bool = True
) -> GpuSpec:
    """A made-up GPU, slow enough that the physics of a few layers outweighs what the host costs."""
    return GpuSpec(
        id=gpu_id, name=gpu_id, vendor="nvidia", architecture="hopper", memory=memory, memory_bandwidth=bandwidth,
        peak=Peak(bf16="100 TFLOP/s", fp8="200 TFLOP/s", int8="200 TFLOP/s"),
        scale_up=ScaleUp(kind="nvswitch", bandwidth="450 GB/s", pair_bandwidth="64 GB/s", links=18),
        pcie_bandwidth="50 GB/s", peer_to_peer=peer_to_peer,
        tdp="200 W" if gpu_id == "small" else "500 W", sources={"*": "made up for a test"},
    )  # fmt: skip


@st.composite
def _gpus(draw: st.DrawFn) -> dict[str, GpuSpec]:
    p2p = draw(st.booleans())
    big = gpu_spec("big", draw(st.sampled_from(["4 GB", "6 GB", "8 GB", "12 GB"])), peer_to_peer=p2p)
    small = gpu_spec("small", draw(st.sampled_from(["3 GB", "5 GB", "8 GB"])), bandwidth="300 GB/s")
    return {"big": big, "small": small}


@st.composite
def _interconnect(draw: st.DrawFn, gpus: int) -> dict[str, object]:
    """NVSwitch, mesh or PCIe, sometimes with bridges; always some PCIe tree when there is nothing faster."""
    kind = draw(st.sampled_from(["nvswitch", "pcie", "mesh", "pcie-tree", "bridged"]))
    rate = draw(st.sampled_from(["450 GB/s", "200 GB/s", "25 GB/s"]))
    if kind == "nvswitch":
        return {"nvswitch": NvSwitch(bandwidth=rate)}
    if kind == "mesh":
        return {"mesh": Mesh(pair_bandwidth=draw(st.sampled_from(["64 GB/s", "10 GB/s"])))}
    if kind == "pcie":
        return {"pcie": Pcie()}
    tree = Pcie(
        gpus_per_switch=draw(st.sampled_from([1, 2])), sockets=draw(st.sampled_from([1, 2])),
        uplink=draw(st.sampled_from([None, "20 GB/s"])), socket_bandwidth=draw(st.sampled_from(["40 GB/s", "8 GB/s"])),
    )  # fmt: skip
    if kind == "bridged" and gpus > 1:
        pairs = [(i, i + 1) for i in range(0, gpus - 1, 2)]
        return {"pcie": tree, "bridges": tuple(Bridge(gpus=pair, bandwidth="100 GB/s") for pair in pairs)}
    return {"pcie": tree}


@st.composite
def _template(draw: st.DrawFn, gpus: int) -> NodeTemplate:
    mixed = gpus > 1 and draw(st.integers(0, 3)) == 0
    nics = draw(st.sampled_from([None, 1, 1, 2, gpus, gpus]))
    wires = draw(_interconnect(gpus))
    kind = draw(st.sampled_from(["big", "big", "small"]))
    rate = draw(st.sampled_from(["400 Gb/s", "100 Gb/s", "8 Gb/s"]))
    return NodeTemplate(
        gpu=None if mixed else kind,
        gpus=(GpuGroup(gpu="big", count=gpus - 1), GpuGroup(gpu="small", count=1)) if mixed else gpus,
        nics=None if nics is None else Nics(count=min(nics, gpus), bandwidth=rate), **wires,
    )  # fmt: skip


_fabrics: st.SearchStrategy[Fabric | None] = st.one_of(
    st.sampled_from([None, OneSwitch(), OneSwitch()]),
    st.builds(RailClos, nodes_per_leaf=st.sampled_from([None, 1, 2]), oversubscription=st.sampled_from([1.0, 2.0])),
    st.builds(FatTree, nodes_per_leaf=st.sampled_from([1, 2]), oversubscription=st.sampled_from([1.0, 4.0])),
)


@st.composite
def _faults(draw: st.DrawFn, nodes: list[tuple[str, int, bool]]) -> tuple[Override, ...]:
    """At most two faults, each on a node (name, GPUs, has NICs) that has the part."""
    faults = []
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        node, gpus, nics = draw(st.sampled_from(nodes))
        gpu = draw(st.integers(0, gpus - 1))
        kind = draw(st.sampled_from(["lost", "reserved", "slow", "nic", "nvlink"]))
        match kind:
            case "lost" | "reserved":
                faults.append(Override(match=Match(node=node, gpu=gpu), state=kind))
            case "slow":
                faults.append(Override(match=Match(node=node, gpu=gpu), speed_factor=0.8))
            case "nic" if nics:
                faults.append(Override(match=Match(node=node, nic=0), state="down"))
            case "nvlink":
                faults.append(Override(match=Match(node=node, gpu=gpu, link="nvlink"), state="down"))
    return tuple(faults)


@st.composite
def clusters(draw: st.DrawFn, most: int = MAX_GPUS) -> ClusterSpec:
    """One to six nodes with at most 8 GPUs in all (or ``most``), equal or not."""
    nodes = draw(st.sampled_from([n for n in (1, 2, 2, 3, 3, 4, 5, 6) if n <= most]))
    equal = nodes > 1 and draw(st.booleans())
    sizes = [draw(st.integers(1, min(4, most // nodes)))] * nodes if equal else _sizes(draw, nodes, most)
    kinds = {f"t{size}": draw(_template(size)) for size in sorted(set(sizes))}
    entries = tuple(NodeEntry(name=f"n{i}", template=f"t{size}") for i, size in enumerate(sizes))
    parts = [(f"n{i}", size, kinds[f"t{size}"].nics is not None) for i, size in enumerate(sizes)]
    prices = draw(st.sampled_from([{"big": "3 USD/h", "small": "1 USD/h"}, {"big": "2 USD/h", "small": "2.5 USD/h"}]))
    return ClusterSpec(
        name="tiny", nodes=entries, templates=kinds, gpus=draw(_gpus()), fabric=draw(_fabrics),
        overrides=draw(_faults(parts)), prices=prices,
    )  # fmt: skip


def _sizes(draw: st.DrawFn, nodes: int, most: int) -> list[int]:
    sizes = [draw(st.sampled_from([1, 1, 2, 2, 3, 4] if nodes < 4 else [1, 1, 1, 2])) for _ in range(nodes)]
    while sum(sizes) > most:
        sizes[sizes.index(max(sizes))] -= 1
    return sizes


@st.composite
def _feed_forward(draw: st.DrawFn, hidden: int, *, routed: bool) -> FeedForward:
    if routed or draw(st.integers(0, 3)) == 0:
        return MixtureOfExperts(
            experts=draw(st.sampled_from([4, 8])), top_k=2, intermediate=hidden // 2,
            shared_intermediate=draw(st.sampled_from([0, hidden // 2])),
        )  # fmt: skip
    return Dense(intermediate=hidden * draw(st.sampled_from([2, 3, 4])))


@st.composite
def models(draw: st.DrawFn, *, routed: bool = False) -> ModelSpec:
    """Two to six layers of 0.1 to 1 GB; dense or MoE (``routed``: MoE); grouped-query or latent attention."""
    heads = draw(st.sampled_from([2, 4, 6, 8]))
    hidden = draw(st.sampled_from([3072, 4608, 6144, 9216]))
    kv_heads = draw(st.sampled_from([k for k in (1, 2, 4) if heads % k == 0]))
    attention = draw(
        st.sampled_from(
            [
                GroupedQuery(heads=heads, kv_heads=kv_heads, head_dim=128),
                GroupedQuery(heads=heads, kv_heads=kv_heads, head_dim=128, window=256),
                Latent(heads=heads, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128),
            ]
        )
    )
    run = LayerRun(
        attention=attention, feed_forward=draw(_feed_forward(hidden, routed=routed)), count=draw(st.integers(2, 6))
    )
    return ModelSpec(
        name="tiny", hidden=hidden, vocab=draw(st.sampled_from([1536, 32256])), context=8192, runs=(run,),
        tied_embeddings=draw(st.booleans()),
    )  # fmt: skip


@st.composite
def _slo(draw: st.DrawFn) -> Slo:
    ttft = draw(st.sampled_from([None, None, "50 ms", "200 ms", "1 s"]))
    tpot = draw(st.sampled_from([None, None, "6 ms", "15 ms", "40 ms"]))
    return Slo(ttft=ttft, tpot=tpot, percentile=draw(st.sampled_from([None, None, 90.0])))


@st.composite
def workloads(draw: st.DrawFn) -> WorkloadSpec:
    """Saturating, at a concurrency or at a rate; few sequences, so that few operating points exist."""
    load = draw(st.sampled_from(["saturating", "saturating", "concurrency", "rate"]))
    kv: tuple[KvScheme, ...] = draw(st.sampled_from([("bf16",), ("bf16", "fp8")]))
    return WorkloadSpec(
        isl=draw(st.sampled_from([128, 1024, 3000])), osl=draw(st.sampled_from([16, 256])),
        concurrency=draw(st.sampled_from([1, 3, 8, 20])) if load == "concurrency" else None,
        request_rate=draw(st.sampled_from(["0.5 /s", "4 /s", "30 /s", "80 /s"])) if load == "rate" else None,
        slo=draw(_slo()), weights=draw(st.sampled_from([None, None, ("bf16", "fp8")])), kv_cache=kv,
        engine=EngineChoice(
            name=draw(st.sampled_from(["vllm", "vllm", "sglang", "trtllm"])),
            max_num_seqs=draw(st.sampled_from([1, 4, 8])), max_num_batched_tokens=draw(st.sampled_from([512, 2048]))
        ),
        margin=draw(st.sampled_from([0.0, 0.0, 0.0, 0.1, 0.5])),
    )  # fmt: skip


def instances(most: int = MAX_GPUS, *, routed: bool = False) -> st.SearchStrategy[Instance]:
    """Whole problems on up to ``most`` GPUs; every other one is about links that replicas have to share.

    ``routed``: all of MoE models.
    """
    return st.one_of(
        problems(clusters(most), (0.5, 0.9, 1.5, 1.9, 2.5, 3.8, 5.5, 12.0), routed=routed),
        problems(contended(most), (1.5, 1.9, 2.5), routed=routed),
    )


@st.composite
def problems(
    draw: st.DrawFn, where: st.SearchStrategy[ClusterSpec], shares: tuple[float, ...], *, routed: bool
) -> Instance:
    """Problems whose weights need about so many GPUs as ``shares`` says."""
    model = draw(models(routed=routed))
    cluster = _filled(draw, draw(where), 2 * total_parameters(model) / draw(st.sampled_from(shares)))
    return Instance(cluster, model, draw(workloads()), draw(st.sampled_from(OBJECTIVES)))


def _filled(draw: st.DrawFn, cluster: ClusterSpec, weights_bytes: float) -> ClusterSpec:
    """Return the cluster with memory for so many bytes of weights on big GPUs, on small ones less or more."""
    sizes = {"big": 1.0, "small": draw(st.sampled_from([0.6, 1.0, 1.5]))}
    gpus = {
        name: spec.model_copy(update={"memory": round(sizes[name] * weights_bytes + _ENGINE_BYTES)})
        for name, spec in cluster.gpus.items()
    }
    return cluster.model_copy(update={"gpus": gpus})


@st.composite
def contended(draw: st.DrawFn, most: int = MAX_GPUS) -> ClusterSpec:
    """Small nodes behind few slow NICs, so that replicas larger than a node have to share links."""
    nodes = draw(st.sampled_from([2, 2, 3, 4]))
    big, small = GpuGroup(gpu="big", count=1), GpuGroup(gpu="small", count=1)
    gpus = draw(st.sampled_from([(big,), (big, big), (big, small), (big, small, big, small)]))
    gpus = gpus[: most // nodes]
    template = NodeTemplate(
        gpus=gpus, nvswitch=NvSwitch(bandwidth="450 GB/s"),
        nics=Nics(count=draw(st.sampled_from([1, 1, 2])) if len(gpus) > 1 else 1,
                  bandwidth=draw(st.sampled_from(["100 Gb/s", "16 Gb/s"]))),
    )  # fmt: skip
    entries = tuple(NodeEntry(name=f"n{i}", template="t") for i in range(nodes))
    return ClusterSpec(
        name="tiny", nodes=entries, templates={"t": template}, gpus=draw(_gpus()),
        fabric=draw(_fabrics.filter(lambda fabric: fabric is not None)),
        overrides=draw(_faults([(f"n{i}", len(gpus), True) for i in range(nodes)])),
        prices={"big": "3 USD/h", "small": "1 USD/h"},
    )  # fmt: skip


# -- several models, and prefill and decode apart -------------------------------------------------------------------


@dataclass(frozen=True)
class Shared:
    """One planning problem of several models, or of one whose prefill and decode may be apart."""

    cluster: ClusterSpec
    services: tuple[Service, ...]
    objective: ObjectiveName


FEW_GPUS = 4
"""Sets of replicas are as many as models, roles and points multiply to."""

_ROLES: tuple[tuple[Role, ...], ...] = (("both",), ("prefill", "decode"), ("both", "prefill", "decode"))


@st.composite
def _shared_workloads(draw: st.DrawFn, roles: tuple[Role, ...], *, most_points: int) -> WorkloadSpec:
    """Traffic at few points of a layout, KV precisions counted; bounds on TTFT about where a pair's sum decides."""
    load = draw(st.sampled_from(["saturating", "concurrency", "rate", "rate"]))
    kv: tuple[KvScheme, ...] = draw(st.sampled_from([("bf16",), ("bf16",), ("bf16", "fp8")]))
    seqs = [n for n in (1, 2, 4) if n * len(kv) <= most_points]
    return WorkloadSpec(
        isl=draw(st.sampled_from([128, 1024, 3000])), osl=draw(st.sampled_from([16, 256])),
        concurrency=draw(st.sampled_from([1, 2, 3, 8])) if load == "concurrency" else None,
        request_rate=draw(st.sampled_from(["0.1 /s", "0.5 /s", "2 /s", "9 /s"])) if load == "rate" else None,
        slo=Slo(
            ttft=draw(st.sampled_from([None, None, None, "60 ms", "120 ms", "250 ms", "600 ms"])),
            tpot=draw(st.sampled_from([None, None, None, None, "8 ms", "30 ms"])),
            percentile=draw(st.sampled_from([None, None, 90.0])),
        ),
        kv_cache=kv, roles=roles, margin=draw(st.sampled_from([0.0, 0.0, 0.0, 0.1])),
        engine=EngineChoice(
            name=draw(st.sampled_from(["vllm", "vllm", "trtllm"])), max_num_seqs=draw(st.sampled_from(seqs)),
            max_num_batched_tokens=draw(st.sampled_from([512, 2048])),
        ),
    )  # fmt: skip


@st.composite
def shared(draw: st.DrawFn) -> Shared:
    """Whole problems on at most 4 GPUs: two models, or one with roles apart, or both."""
    count = draw(st.sampled_from([1, 2]))
    services = tuple(
        Service(
            model=draw(models()).model_copy(update={"name": f"tiny-{number}"}),
            workload=draw(
                _shared_workloads(
                    draw(st.sampled_from(_ROLES if count > 1 else _ROLES[1:])),
                    most_points=2 if count > 1 else 4,
                )
            ),
            weight=draw(st.sampled_from([1.0, 1.0, 0.3, 5.0])),
        )
        for number in range(count)
    )
    largest = max(2 * total_parameters(service.model) for service in services)
    fewest = count + (count == 1 or draw(st.booleans()))
    where = st.one_of(clusters(FEW_GPUS), contended(FEW_GPUS)).filter(lambda cluster: _placeable(cluster) >= fewest)
    share = draw(st.sampled_from([0.5, 0.5, 0.8, 1.5] if count == 1 else [0.5, 0.5, 0.8]))
    return Shared(_filled(draw, draw(where), largest / share), services, draw(st.sampled_from(OBJECTIVES)))


def _placeable(cluster: ClusterSpec) -> int:
    return sum(gpu.placeable for gpu in build(cluster).gpus)


@st.composite
def of_thirds(draw: st.DrawFn) -> Shared:
    """Five GPUs and a model that is cut in two or three: sizes that do not divide one another are within reach."""
    hidden = draw(st.sampled_from([4608, 6144, 9216]))
    attention = GroupedQuery(heads=6, kv_heads=draw(st.sampled_from([1, 6])), head_dim=128)
    run = LayerRun(attention=attention, feed_forward=Dense(intermediate=hidden * 3), count=draw(st.integers(2, 4)))
    model = ModelSpec(name="thirds", hidden=hidden, vocab=1536, context=8192, runs=(run,))
    load = draw(_shared_workloads(draw(st.sampled_from(_ROLES[1:])), most_points=2))
    template = NodeTemplate(gpu="big", gpus=5, nvswitch=NvSwitch(bandwidth="450 GB/s"))
    cluster = ClusterSpec(
        name="five", nodes=(NodeEntry(name="n0", template="t"),), templates={"t": template}, gpus=draw(_gpus()),
        prices={"big": "3 USD/h", "small": "1 USD/h"},
    )  # fmt: skip
    filled = _filled(draw, cluster, 2 * total_parameters(model) / draw(st.sampled_from([1.5, 1.9, 2.5])))
    return Shared(filled, (Service(model=model, workload=load),), draw(st.sampled_from(OBJECTIVES)))


@st.composite
def of_unequal_gpus(draw: st.DrawFn) -> Shared:
    """Two fast and two slow GPUs and a model whose weights outweigh all else: a slow pair is much slower."""
    attention = GroupedQuery(heads=8, kv_heads=draw(st.sampled_from([1, 4])), head_dim=128)
    run = LayerRun(attention=attention, feed_forward=Dense(intermediate=4 * 9216), count=draw(st.integers(3, 6)))
    model = ModelSpec(name="heavy", hidden=9216, vocab=1536, context=8192, runs=(run,))
    load = draw(_shared_workloads(draw(st.sampled_from(_ROLES[1:])), most_points=2))
    template = NodeTemplate(
        gpus=(GpuGroup(gpu="big", count=2), GpuGroup(gpu="small", count=2)), nvswitch=NvSwitch(bandwidth="450 GB/s")
    )
    cluster = ClusterSpec(
        name="unequal", nodes=(NodeEntry(name="n0", template="t"),), templates={"t": template}, gpus=draw(_gpus()),
        prices={"big": "3 USD/h", "small": "1 USD/h"},
    )  # fmt: skip
    filled = _filled(draw, cluster, 2 * total_parameters(model) / draw(st.sampled_from([0.5, 0.8])))
    return Shared(filled, (Service(model=model, workload=load),), draw(st.sampled_from(OBJECTIVES)))
