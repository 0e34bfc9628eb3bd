"""Which catalogue GPU a file means: what the user says, else the product's name, the machine type, the file's name."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from optimizer.errors import InputError
from optimizer.inputs.complaints import did_you_mean
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.importers.facts import Finding, HostFacts, NodeFacts, listed
from optimizer.inputs.importers.machines import machine
from optimizer.inputs.importers.products import candidates, is_certain

REMEDY = "give --gpu with an id of the catalogue (`tpopt presets gpus`)"


@dataclass
class Chooser:
    """Chooses GPU types, telling each choice once."""

    gpu: str | None
    load_gpu: Callable[[str], GpuSpec]
    known: Sequence[str]
    _said: dict[Finding, None] = field(default_factory=dict)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Return all that was told, in order."""
        return tuple(self._said)

    def __post_init__(self) -> None:
        if self.gpu is not None and self.gpu not in self.known:
            raise InputError(f"--gpu {self.gpu}: no such GPU; {did_you_mean(self.gpu, self.known)}")

    def say(self, finding: Finding) -> None:
        """Report once."""
        self._said.setdefault(finding)

    def of_node(self, node: NodeFacts, host: HostFacts | None) -> tuple[str | None, ...]:
        """Return the type of each GPU of a node, None where nothing tells."""
        named = {
            g.index: self._named(g.product, g.memory_bytes, node.where, _form(node)) for g in node.gpus if g.product
        }
        peers = Counter(found for found in named.values() if found)
        default = peers.most_common(1)[0][0] if peers else None if named else self._fallback(node, host)
        return tuple(named.get(g.index, default) for g in node.gpus)

    def of_host(self, host: HostFacts) -> str | None:
        """Return the type of the GPUs of a host whose inside no file describes."""
        if host.product:
            form = "sxm" if (host.gpus or 0) >= 8 else None
            return self._named(host.product, host.memory_bytes, host.name, form)
        kind = machine(host.machine)
        if self.gpu is not None:
            return self.gpu
        if kind is None:
            self.say(
                Finding("missing", f"no file names the GPU type of the nodes; {REMEDY}, or import a node's own file")
            )
            return None
        self.say(Finding("read", f"{host.machine}: {kind.gpus} x {kind.gpu}, {kind.nics} NICs by the machine type"))
        return kind.gpu if kind.gpu in self.known else None

    def _named(self, product: str, memory_bytes: int | None, where: str, form: str | None) -> str | None:
        ids = candidates(product, memory_bytes, self.load_gpu, self.known)
        if self.gpu is not None:
            if ids and self.gpu not in ids:
                self.say(Finding("broken", f"{where}: the file says {product} ({listed(ids)}), --gpu says {self.gpu}"))
            return self.gpu
        if len(ids) > 1 and form is not None:
            ids = tuple(i for i in ids if form in i) or ids
        if not ids:
            self.say(Finding("missing", f"{where}: {product!r} is no GPU of the catalogue; {REMEDY}"))
            return None
        if product == ids[0]:
            return product
        if len(ids) == 1:
            self.say(
                Finding(
                    "read", f"{where}: GPU type {ids[0]} by {'PCI device' if is_certain(product) else 'name'} {product}"
                )
            )
            return ids[0]
        return self._least(ids, f"{where}: {product}")

    def _fallback(self, node: NodeFacts, host: HostFacts | None) -> str | None:
        """Return the type when the node's own file names none."""
        if self.gpu is not None:
            return self.gpu
        if host is not None and (host.product or machine(host.machine)) and (found := self.of_host(host)):
            return found
        ids = candidates(node.where.rpartition("/")[2].rpartition(".")[0], None, self.load_gpu, self.known)
        form = _form(node)
        ids = tuple(i for i in ids if form is None or form in i) or ids
        if ids:
            return self._least(ids, f"{node.where}: the file names no GPU type; by the file's name")
        self.say(Finding("missing", f"{node.where}: the file names no GPU type, and links alone do not tell; {REMEDY}"))
        return None

    def _least(self, ids: Sequence[str], why: str) -> str:
        """Return the id with the least memory, as a guess that is told."""
        least = min(ids, key=lambda i: (self.load_gpu(i).memory, i))
        among = f", the least memory of {listed(list(ids))}" if len(ids) > 1 else ""
        self.say(Finding("guessed", f"{why}: {least}{among}; --gpu decides otherwise"))
        return least


def _form(node: NodeFacts) -> str | None:
    """Return the form factor that a node's links hint at: many linked GPUs sit on one board."""
    linked = {gpu for pair in node.pairs for gpu in pair} | {g.index for g in node.gpus if g.switch_links}
    if len(linked) > 4:
        return "sxm"
    return "pcie" if node.pairs and len(node.pairs) * 2 == len(linked) and len(node.gpus) > 2 else None
