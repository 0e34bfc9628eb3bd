"""Two made-up GPU types in one cluster, and a model that neither holds alone unless it is small."""

from strategies import gpu_spec

from optimizer.cost.case import Case
from optimizer.cost.orders import Order, Place
from optimizer.inputs.cluster import ClusterSpec, GpuGroup, Nics, NodeEntry, NodeTemplate, NvSwitch, OneSwitch
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.model import Dense, GroupedQuery, LayerRun, ModelSpec
from optimizer.inputs.workload import EngineChoice, WorkloadSpec
from optimizer.layout import Layout, split_layers
from optimizer.pipeline.markets import market_of
from optimizer.pipeline.usable import classes_of
from optimizer.topology.graph import build

LOAD = WorkloadSpec(isl=512, osl=64, engine=EngineChoice(max_num_seqs=32, max_num_batched_tokens=2048))


def model(layers: int = 12) -> ModelSpec:
    """Llama-like layers of 0.44 GB in 16 bits."""
    run = LayerRun(
        attention=GroupedQuery(heads=32, kv_heads=8, head_dim=128), feed_forward=Dense(intermediate=14336), count=layers
    )
    return ModelSpec(name="tiny", hidden=4096, vocab=32000, context=8192, runs=(run,))


def apart(big: int = 1, small: int = 2, *, memory: tuple[str, str] = ("5 GB", "3.5 GB")) -> ClusterSpec:
    """One node of big GPUs and one of small ones, half as fast, each GPU with a NIC."""
    templates = {
        name: NodeTemplate(gpu=name, gpus=n, nvswitch=NvSwitch(), nics=Nics(count=n, bandwidth="100 Gb/s"))
        for name, n in (("big", big), ("small", small))
    }
    return ClusterSpec(
        name="two-types", nodes=tuple(NodeEntry(name=f"n-{name}", template=name) for name in templates),
        templates=templates, gpus=_types(memory), fabric=OneSwitch(), prices={"big": "3 USD/h", "small": "1 USD/h"},
    )  # fmt: skip


def together(big: int = 1, small: int = 2, *, memory: tuple[str, str] = ("5 GB", "3.5 GB")) -> ClusterSpec:
    """One node with GPUs of both types."""
    groups = (GpuGroup(gpu="big", count=big), GpuGroup(gpu="small", count=small))
    return ClusterSpec(
        name="one-node", nodes=(NodeEntry(name="n0", template="t"),), gpus=_types(memory), fabric=OneSwitch(),
        templates={"t": NodeTemplate(gpus=groups, nvswitch=NvSwitch())}, prices={"big": "3 USD/h", "small": "1 USD/h"},
    )  # fmt: skip


def _types(memory: tuple[str, str]) -> dict[str, GpuSpec]:
    return {"big": gpu_spec("big", memory[0]), "small": gpu_spec("small", memory[1], bandwidth="300 GB/s")}


def order(where: ClusterSpec, gpu_types: tuple[str, ...], spec: ModelSpec, load: WorkloadSpec = LOAD) -> Order:
    """Return TP 1 stages on these types."""
    topology = build(where)
    place = Place(topology, classes_of(topology), market_of(where, spec, load), lambda *_: None)
    layout = Layout(1, len(gpu_types), split_layers(spec.num_layers, len(gpu_types)))
    return Order(place, layout, gpu_types)


def case(made: Order, split: tuple[int, ...], concurrency: int) -> Case:
    """Return an order with its layers split so."""
    assert made.paths is not None
    layout = Layout(1, len(split), split)
    return made.place.market.case(layout, made.label, made.paths, concurrency)
