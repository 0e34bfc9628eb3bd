"""What was chosen for a routed pool: who holds which layers, what flows where, and the proof."""

from typing import Literal

from optimizer.inputs.model import Scheme
from optimizer.inputs.workload import KvScheme
from optimizer.plan import SCHEMA_VERSION, Inputs, Objective, PlanRecord, Provenance, Seat

KIND = "routed"


class RoutedMachine(PlanRecord):
    """A TP group that holds one run of layers."""

    id: str
    gpu_type: str
    tp: int
    seats: tuple[Seat, ...]
    first_layer: int
    end_layer: int
    """The first that it does not hold."""
    batch: int
    """Sequences in decode that a step advances."""
    turn_s: float
    """Seconds of a token here: waiting, its step, the hand-over."""
    tokens_per_s: float
    """Output tokens/s that flow through it."""
    most_tokens_per_s: float
    """What it could carry with these layers: in larger steps, in turns as long, as far as its memory keeps KV."""
    in_flight: float
    """Sequences whose KV it keeps, in the mean."""
    most_in_flight: int
    """Sequences whose KV its memory holds."""

    @property
    def num_layers(self) -> int:
        """Layers that it holds."""
        return self.end_layer - self.first_layer


class Flow(PlanRecord):
    """What a router sends from one machine to another, from "source" or to "sink"."""

    sender: str
    receiver: str
    tokens_per_s: float
    """Output tokens/s, their prompts beside them."""
    weight: float
    """Of all that the sender sends: a router's weight."""


class RoutedTotals(PlanRecord):
    """The pool as a whole."""

    gpus: int
    machines: int
    output_tokens_per_s: float
    requests_per_s: float
    ttft_s: float
    """On the longest path, a prompt's chunks one after another."""
    tpot_s: float
    """On the longest path."""
    longest_chain: int
    """Machines on the path with most of them."""


class Ordinary(PlanRecord):
    """The best plan of ordinary replicas on the same cluster."""

    layout: str
    """Empty where there is none."""
    gpus: int = 0
    output_tokens_per_s: float = 0.0
    why: str = ""
    """Why there is none."""


class RoutedPlan(PlanRecord):
    """plan.json of a routed pool."""

    schema_version: int = SCHEMA_VERSION
    kind: Literal["routed"] = "routed"
    status: Literal["optimal", "feasible"]
    objective: Objective
    turn_s: float
    """No path through the model takes a token longer; KV is kept for so long per token."""
    max_tp: int
    """GPUs of an island were grouped into machines of at most so many."""
    weights: Scheme
    kv_cache: KvScheme
    machines: tuple[RoutedMachine, ...]
    """Those that hold layers, in order of their first layer."""
    idle: tuple[str, ...]
    """Machines through which nothing flows."""
    flows: tuple[Flow, ...]
    totals: RoutedTotals
    ordinary: Ordinary
    inputs: Inputs
    provenance: Provenance
