"""Whether the ranks of a stage have room for requests in flight, and where not, why: in numbers."""

from dataclasses import dataclass
from math import ceil

from optimizer.cost.case import Case
from optimizer.cost.kv import StageCache
from optimizer.units import show_bytes


@dataclass(frozen=True, slots=True)
class Holdings:
    """What one rank of a stage holds before any KV, and the pool that is left for it."""

    weights: int
    activations: int
    overhead: int
    capacity: int
    pool: int
    """Bytes left for KV; negative when nothing is."""
    visible: int
    """Memory of the GPU."""
    counts_activations: bool
    """Whether ``capacity`` must hold activations too."""

    @property
    def outside(self) -> int:
        """Bytes that the GPU needs, where activations lie outside ``capacity``."""
        return self.activations + self.overhead + self.capacity


@dataclass(frozen=True, slots=True)
class Room:
    """What a rank of one stage has for KV."""

    held: Holdings
    cache: StageCache
    free: float
    """Bytes of the pool that can be used."""
    max_model_len: int
    replicas: int
    """Attention replicas, which share the requests in flight."""
    never: str
    """Why it cannot even start; empty where it can."""

    def holds(self, sequences: int, tokens: float) -> bool:
        """Return whether so many sequences in flight of so many tokens each have room."""
        return not self.never and self._running(sequences, tokens) <= self.free

    def reason(self, sequences: int, tokens: float) -> str:
        """Return why they have none."""
        if self.never:
            return self.never
        each, running = self._each(sequences), self._running(sequences, tokens)
        short = _shortage(self.held, running, f"KV of {each} sequences of {tokens:.0f} tokens")
        return f"{short}; {int(self.free // (running / each))} sequences fit"

    def _each(self, sequences: int) -> int:
        return ceil(sequences / self.replicas)

    def _running(self, sequences: int, tokens: float) -> float:
        return self._each(sequences) * self.cache.sequence_bytes(min(tokens, self.max_model_len))


def room(case: Case, held: Holdings, cache: StageCache) -> Room:
    """Return what a rank that holds this has for KV; its pool must also hold one sequence of ``max_model_len``."""
    free, longest = held.pool * (1.0 - case.engine.fragmentation), case.engine.max_model_len
    never = ""
    if not held.counts_activations and held.outside > held.visible:
        never = f"needs {show_bytes(held.outside)} of {show_bytes(held.visible)}: {_terms(held, 0.0, '')}"
    elif (request := cache.request_bytes(longest)) > free:
        best = cache.longest(free)
        remedy = f"the largest max_model_len that fits is {best}" if best else "no sequence fits"
        never = f"{_shortage(held, request, f'KV of one sequence of {longest} tokens')}; {remedy}"
    return Room(held, cache, free, longest, case.layout.attn_dp, never)


def _shortage(held: Holdings, kv: float, label: str) -> str:
    needs = held.capacity - held.pool + kv
    return f"needs {show_bytes(needs)} of {show_bytes(held.capacity)}: {_terms(held, kv, label)}"


def _terms(held: Holdings, kv: float, label: str) -> str:
    terms = [("weights", held.weights), (label, kv), ("activations", held.activations), ("overhead", held.overhead)]
    return " + ".join(f"{name} {show_bytes(size)}" for name, size in terms if size)
