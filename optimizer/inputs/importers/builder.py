"""Hosts and the insides of nodes to templates, equal ones shared."""

import re
from collections.abc import Mapping
from dataclasses import replace

from optimizer.inputs.cluster import NodeTemplate
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.importers.choose import Chooser
from optimizer.inputs.importers.fabric import Placed
from optimizer.inputs.importers.facts import Finding, GpuFacts, HostFacts, NicFacts, NodeFacts
from optimizer.inputs.importers.machines import machine
from optimizer.inputs.importers.nic_shape import guessed_nic_rate
from optimizer.inputs.importers.shape import shape
from optimizer.inputs.importers.shaped import Shaped


class Builder:
    """Templates by what is in them, so that equal nodes share one."""

    def __init__(self, chooser: Chooser, is_joined: bool, shared_ids: frozenset[str] = frozenset()) -> None:
        self.chooser = chooser
        self.is_joined = is_joined
        self.shared_ids = shared_ids
        self.templates: dict[str, NodeTemplate] = {}
        self.specs: dict[str, GpuSpec] = {}
        self._shaped: dict[object, tuple[Shaped, tuple[str, ...]] | None] = {}
        self._bare: dict[object, NodeFacts | None] = {}

    def place(self, host: HostFacts, inside: NodeFacts | None) -> Placed:
        """Return a host with its template, or without one when its GPUs are not known."""
        node = self._with_host(inside, host) if inside is not None else self._from_host(host)
        if node is None:
            return Placed(host, None, host.gpus or 0, len(host.nics))
        key = (id(node), host.product, host.memory_bytes, host.machine)
        if key not in self._shaped:
            self._shaped[key] = self._shape(node, host)
        shaped = self._shaped[key]
        if shaped is None or shaped[0].template is None:
            return Placed(host, None, len(node.gpus), len(node.nics))
        name = self._template_name(shaped[0].template)
        return Placed(host, name, len(node.gpus), len(node.nics), tuple(shaped[0].overrides), shaped[1])

    def _shape(self, node: NodeFacts, host: HostFacts) -> tuple[Shaped, tuple[str, ...]] | None:
        ids = self.chooser.of_node(node, host)
        if not ids or None in ids:
            return None
        specs = tuple(self._spec(i) for i in ids if i is not None)
        gpu_ids = tuple(g.uuid or g.bus_id or "" for g in node.gpus)
        is_unique = all(gpu_ids) and len(set(gpu_ids)) == len(gpu_ids) and not self.shared_ids & set(gpu_ids)
        unique = gpu_ids if is_unique else ()
        shaped = shape(node, specs, unique)
        for finding in shaped.findings:
            self.chooser.say(finding)
        return shaped, unique

    def _spec(self, gpu: str) -> GpuSpec:
        if gpu not in self.specs:
            self.specs[gpu] = self.chooser.load_gpu(gpu)
        return self.specs[gpu]

    def _template_name(self, template: NodeTemplate) -> str:
        for name, known in self.templates.items():
            if known == template:
                return name
        kind = template.gpu if isinstance(template.gpu, str) else "mixed"
        count = template.gpus if isinstance(template.gpus, int) else sum(group.count for group in template.gpus)
        plain = f"{count}x-{kind}"
        name = plain if plain not in self.templates else f"{plain}-{len(self.templates) + 1}"
        self.templates[name] = template
        return name

    def _with_host(self, inside: NodeFacts, host: HostFacts) -> NodeFacts:
        """Add the NICs that the fabric's file knows, when the node's own file knows none or no rate."""
        key = (id(inside), host.nics, host.machine)
        if key not in self._bare:
            self._bare[key] = self._joined(inside, host)
        found = self._bare[key]
        assert found is not None
        return found

    def _joined(self, inside: NodeFacts, host: HostFacts) -> NodeFacts:
        if host.nics and not inside.nics:
            return replace(inside, nics=host.nics, nearest=_spread(len(inside.gpus), len(host.nics)))
        rates = {nic.name: nic.bytes_per_s for nic in host.nics}
        usual = max((rate for rate in rates.values() if rate), default=None)
        nics = tuple(
            replace(
                n,
                bytes_per_s=n.bytes_per_s or rates.get(n.name) or usual,
                is_down=bool(rates) and self._is_absent(n, rates, host),
            )
            for n in inside.nics
        )
        return replace(inside, nics=nics)

    def _is_absent(self, nic: NicFacts, rates: Mapping[str, float | None], host: HostFacts) -> bool:
        """Whether a NIC that the node has is not on the fabric, though the others are there by the same names."""
        if nic.name in rates or not any(re.match(r"mlx|ib", name) for name in rates):
            return False
        if re.sub(r"\d+", "", nic.name) not in {re.sub(r"\d+", "", name) for name in rates}:
            return False
        self.chooser.say(Finding("broken", f"{host.name}: NIC {nic.name} of the node is not seen on the fabric: down"))
        return True

    def _from_host(self, host: HostFacts) -> NodeFacts | None:
        """Return a node made of what labels, machine type and GPU type tell, for a host without a file of its own."""
        gpu = self.chooser.of_host(host)
        kind = machine(host.machine)
        key = (gpu, host.gpus, host.nics, host.machine, host.product)
        if key not in self._bare:
            self._bare[key] = None
            count = host.gpus or (kind.gpus if kind else None) or self._usual_count(gpu)
            if gpu is not None and count is not None:
                self._bare[key] = self._bare_node(host, gpu, count)
        return self._bare[key]

    def _usual_count(self, gpu: str | None) -> int | None:
        """Return the GPUs of a board of this type, as a guess that is told."""
        spec = self._spec(gpu) if gpu is not None else None
        if spec is None or spec.scale_up is None or spec.scale_up.kind == "bridge":
            self.chooser.say(
                Finding("missing", "no file tells how many GPUs a node has; import a node's own file as well")
            )
            return None
        count = 1 if spec.id.startswith("gh200") else 4 if spec.id.startswith("gb") else 8
        self.chooser.say(Finding("guessed", f"{count} GPUs per node, as {spec.id} boards have; no file tells"))
        return count

    def _bare_node(self, host: HostFacts, gpu: str, count: int) -> NodeFacts:
        kind = machine(host.machine)
        nics, transport = host.nics, None
        if not nics and kind is not None:
            nics, transport = tuple(NicFacts(f"nic{i}", kind.nic_bytes_per_s) for i in range(kind.nics)), kind.transport
        up = self._spec(gpu).scale_up
        if not nics and self.is_joined and up is not None and up.kind != "bridge":
            rate = guessed_nic_rate(self._spec(gpu))
            nics = tuple(NicFacts(f"nic{i}", rate) for i in range(count))
            self.chooser.say(
                Finding(
                    "guessed", f"one NIC per GPU at the rate of its PCIe link, as boards of {gpu} have; no file tells"
                )
            )
        gpus = tuple(GpuFacts(i, gpu) for i in range(count))
        where = host.machine or "nodes without a file of their own"
        return NodeFacts(where, "labels", gpus=gpus, nics=nics, nearest=_spread(count, len(nics)), transport=transport)


def _spread(gpus: int, nics: int) -> tuple[int, ...]:
    return tuple(gpu * nics // gpus for gpu in range(gpus)) if nics else ()
