"""One engine process as data: program, options by purpose, environment; targets take what they need."""

from collections.abc import Mapping
from dataclasses import dataclass

from optimizer.errors import InputError
from optimizer.export.launch import nics
from optimizer.export.launch.refusal import refuse
from optimizer.export.launch.seating import Launch
from optimizer.export.launch.words import Option, Ref, Word
from optimizer.inputs.flags import EngineFlags
from optimizer.inputs.model import Scheme
from optimizer.layout import refuses_hand_over

LOADED_AS: dict[Scheme, str] = {"fp8": "fp8"}
"""Schemes that vLLM and SGLang make of a 16-bit checkpoint while loading; any other needs a checkpoint stored so."""


@dataclass(frozen=True)
class Command:
    """What starts one launch."""

    program: tuple[Word, ...]
    model: Word
    """The checkpoint: a hub name or a folder."""
    serving: tuple[Option, ...]
    """Names, address and port for requests."""
    layout: tuple[Option, ...]
    """Degrees: how the replica is cut."""
    nodes: tuple[Option, ...]
    """How the nodes of the replica find one another."""
    engine: tuple[Option, ...]
    """Every setting that was priced."""
    environment: tuple[tuple[str, Word], ...]

    @property
    def options(self) -> tuple[Option, ...]:
        """All options in the order in which they are written."""
        return self.serving + self.layout + self.nodes + self.engine

    @property
    def words(self) -> tuple[Word, ...]:
        """The whole argument list."""
        return (*self.program, *(word for option in self.options for word in option.words))

    @property
    def references(self) -> tuple[Ref, ...]:
        """The values an operator may set, each once."""
        words = (*self.words, *(word for _, word in self.environment))
        return tuple({word.name: word for word in words if isinstance(word, Ref)}.values())


@dataclass(frozen=True)
class Names:
    """The flags of the release a replica was priced for."""

    known: EngineFlags

    def option(self, what: str, value: object = True) -> Option:
        """Return the option that sets ``what``; InputError when the release has none."""
        return Option(self._name(self.known.flags, what, "flag"), value)  # type: ignore[arg-type]

    def variable(self, what: str) -> str:
        """Return the environment variable that sets ``what``; InputError when the release has none."""
        return self._name(self.known.environment, what, "environment variable")

    def _name(self, names: Mapping[str, str], what: str, kind: str) -> str:
        if what not in names:
            raise InputError(f"{self.known.engine} {self.known.version}: no {kind} is known for {what}")
        return names[what]


def checkpoint(launch: Launch) -> Ref:
    """Return what the engine loads: the model's own checkpoint, or one the operator must name (empty default)."""
    model = launch.model
    usable = launch.replica.weights == model.checkpoint_scheme or is_converted(launch)
    return Ref("MODEL", (model.weights_path or model.name) if usable else "")


def is_converted(launch: Launch) -> bool:
    """Return whether the engine makes the priced weights of a 16-bit checkpoint while it loads."""
    converts = launch.replica.engine.name != "trtllm"
    return converts and launch.model.checkpoint_scheme == "bf16" and launch.replica.weights in LOADED_AS


def half_precision(launch: Launch) -> bool:
    """Return whether a GPU of the replica lacks bfloat16."""
    return any(gpu.architecture in ("volta", "turing") for gpu in launch.gpus)


def device_environment(launch: Launch) -> tuple[tuple[str, Word], ...]:
    """Return the seats as environment: which GPUs, in rank order."""
    return ("CUDA_DEVICE_ORDER", "PCI_BUS_ID"), ("CUDA_VISIBLE_DEVICES", ",".join(launch.devices))


def network_environment(launch: Launch, *, transfers: bool) -> tuple[tuple[str, Word], ...]:
    """Return NIC pinning for ranks on several nodes and for KV transfers, as far as the cluster names its NICs."""
    names = nics.pinned(launch)
    if not names:
        return ()
    collectives = (("NCCL_IB_HCA", Ref("NCCL_IB_HCA", "=" + ",".join(names))),) if len(launch.nodes) > 1 else ()
    ucx = (("UCX_NET_DEVICES", Ref("UCX_NET_DEVICES", ",".join(f"{name}:1" for name in names))),) if transfers else ()
    return collectives + ucx


def share_text(share: float) -> float:
    """Return a share of memory rounded down to 1/10,000, so that rounding never asks for more."""
    return int(share * 10_000 + 1e-6) / 10_000


def check_pair(launch: Launch) -> None:
    """Raise InputError unless a prefill or decode replica has a partner that NIXL can move KV to or from.

    TP sizes must divide one another and blocks be equal (vLLM, NixlConnector); SGLang's transfer is held to the same.
    """
    others = {r.role: r for r in launch.plan.replicas if r.service == launch.service}
    where = f"replica {launch.number}"
    if not {"prefill", "decode"} <= set(others):
        raise refuse(where, f"role {launch.replica.role}: the plan holds no other half to pair it with")
    mine = launch.replica
    if alone := refuses_hand_over(mine.layout, mine.engine.name, mine.role):
        raise refuse(where, alone, remedy="solve again")
    for other in (r for r in launch.plan.replicas if r.service == mine.service and r.role not in ("both", mine.role)):
        if mine.tp % other.tp and other.tp % mine.tp:
            raise refuse(where, f"TP {mine.tp} and TP {other.tp} of its pair: neither divides the other")
        if mine.engine.block_tokens != other.engine.block_tokens or mine.kv_cache != other.kv_cache:
            raise refuse(where, "prefill and decode replicas need equal KV blocks and KV precision")
