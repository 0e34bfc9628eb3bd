"""Tori for the tests: small ones drawn at random, and made by hand."""

from math import prod
from typing import Any

from hypothesis import strategies as st
from strategies import gpu_spec

from optimizer.inputs.cluster import ClusterSpec, Match, Nics, NodeEntry, NodeTemplate, NvSwitch, Override, Pcie, Torus

SHAPES = ((2,), (3,), (4,), (5,), (2, 2), (3, 2), (2, 3), (1, 4), (6,), (2, 1, 3))
RATES = ("100 GB/s", "20 GB/s", "2 GB/s")


def torus(
    shape: tuple[int, ...], *, gpus: int = 1, link: Any = "100 GB/s", wrap: Any = True, nodes: int | None = None,
    overrides: tuple[Override, ...] = (), memory: str = "12 GB", nic: str | None = None,
) -> ClusterSpec:  # fmt: skip
    """Return a torus of equal nodes n0, n1, ...; those of several GPUs have an NVSwitch and a NIC for each."""
    nics = Nics(count=gpus, bandwidth=nic or "400 Gb/s") if gpus > 1 or nic else None
    template = NodeTemplate(
        gpu="big", gpus=gpus, nvswitch=NvSwitch(bandwidth="450 GB/s") if gpus > 1 else None, pcie=Pcie(), nics=nics
    )
    return ClusterSpec(
        name="torus", nodes=tuple(NodeEntry(name=f"n{i}", template="t") for i in range(nodes or prod(shape))),
        templates={"t": template}, gpus={"big": gpu_spec("big", memory)},
        fabric=Torus(shape=shape, link=link, wrap=wrap), overrides=overrides,
        prices={"big": "3 USD/h", "small": "1 USD/h"},
    )  # fmt: skip


@st.composite
def tori(draw: st.DrawFn, most: int) -> ClusterSpec:
    """Tori and meshes of at most ``most`` GPUs, some with a place empty, a node lost, a link down or slow."""
    shape = draw(st.sampled_from([s for s in SHAPES if prod(s) <= most]))
    gpus = draw(st.sampled_from([n for n in (1, 1, 2, 3) if n * prod(shape) <= most]))
    rates = [draw(st.sampled_from(RATES)) for _ in shape]
    nodes = prod(shape) - draw(st.sampled_from([0, 0, 0, 1 if prod(shape) > 2 else 0]))
    bare = torus(
        shape, gpus=gpus, nodes=nodes, link=rates if draw(st.booleans()) else rates[0],
        wrap=draw(st.booleans()) if draw(st.booleans()) else [draw(st.booleans()) for _ in shape],
        nic=draw(st.sampled_from([None, "80 Gb/s"])),
    )  # fmt: skip
    return bare.model_copy(update={"overrides": draw(_faults(bare, nodes, gpus))})


@st.composite
def _faults(draw: st.DrawFn, bare: ClusterSpec, nodes: int, gpus: int) -> tuple[Override, ...]:
    from optimizer.topology.graph import build
    from optimizer.topology.lattice import lattice

    found = lattice(build(bare))
    assert found is not None
    links = sorted((found.node_at[a], found.node_at[b]) for a, b in found.rates)
    faults = []
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        node = f"n{draw(st.integers(0, nodes - 1))}"
        match draw(st.sampled_from(["down", "reserved", "gpu", "link", "slow", "nic"])):
            case "down":
                faults.append(Override(match=Match(node=node), state="down"))
            case "reserved":
                faults.append(Override(match=Match(node=node), state="reserved"))
            case "gpu":
                faults.append(Override(match=Match(node=node, gpu=draw(st.integers(0, gpus - 1))), state="lost"))
            case "link" if links:
                a, b = draw(st.sampled_from(links))
                faults.append(Override(match=Match(node=a, to=b), state="down"))
            case "slow" if links:
                a, b = draw(st.sampled_from(links))
                faults.append(Override(match=Match(node=a, to=b), bandwidth="0.5 GB/s"))
            case "nic" if bare.templates["t"].nics:
                faults.append(Override(match=Match(node=node, nic=0), state="down"))
    return tuple(faults)
