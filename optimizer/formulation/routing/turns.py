"""A bound on what flows while a token passes the model in one turn.

A machine that carries x tokens/s with k layers gives k·x layer-tokens/s and takes x·t token-seconds, t being its part
of a turn. A flow F needs L·F layer-tokens, and has F·turn token-seconds, as each token takes a turn at most. So for
every price m ≥ 0 of a token-second:

    sum over machines of max (k - m·t)·x  ≥  L·F - m·F·turn,   x ≤ F, x ≤ what the machine carries in steps of t

The largest F that no price refutes is found by halving. At m = 0 this is ``classes.ceiling``.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from math import inf

from optimizer.cost.machine import Kind
from optimizer.cost.routed import Priced

PRICES = 16
"""Prices tried between 0 and layers / turn, from where on they refute nothing."""

HALVINGS = 24

_NOISE = 1e-12
"""Relative: of sums of floats; the bound may be too high by it, never too low."""

Option = tuple[int, float, float]
"""Layers, tokens/s, and seconds of a turn."""


def bound(priced: Priced, least_s: float, most_s: float, known: float = inf) -> float:
    """Return the tokens/s above which nothing flows, whatever the turn between ``least_s`` and ``most_s``.

    KV is counted for the shortest of these turns, and machines may take their part of the longest. ``known``: a bound
    from elsewhere.
    """
    options = _options(priced, least_s, most_s)
    if sum(n * max((k for k, _, _ in own), default=0) for n, own in options) < priced.num_layers:
        return 0.0
    low, high = 0.0, min(known, sum(n * max((k * rate for k, rate, _ in own), default=0.0) for n, own in options))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _refuted(options, priced.num_layers, most_s, middle) else (middle, high)
    return high


def _options(priced: Priced, least_s: float, most_s: float) -> list[tuple[int, list[Option]]]:
    """Return how many machines of a kind there are, and what each may do; what another option does better left out."""
    counts = Counter(priced.kinds.values())
    return [(n, _undominated(list(_of_kind(priced, kind, least_s, most_s)))) for kind, n in counts.items()]


def _of_kind(priced: Priced, kind: Kind, least_s: float, most_s: float) -> Iterator[Option]:
    for known in priced.curves[kind].values():
        for count, held in enumerate(known, 1):
            most = priced.kept(held, least_s)
            for step in priced.steps(held, count, most_s):
                yield count, min(step.tokens_per_s, most), step.turn_s


def _undominated(options: Sequence[Option]) -> list[Option]:
    kept: list[Option] = []
    for one in sorted(options, key=lambda option: (-option[0], option[2], -option[1])):
        if not any(k >= one[0] and rate >= one[1] and t <= one[2] for k, rate, t in kept):
            kept.append(one)
    return kept


def _refuted(options: Sequence[tuple[int, list[Option]]], layers: int, turn_s: float, flow: float) -> bool:
    return any(
        _given(options, price, flow) < (layers - price * turn_s) * flow * (1 - _NOISE)
        for price in (layers / turn_s * step / PRICES for step in range(PRICES))
    )


def _given(options: Sequence[tuple[int, list[Option]]], price: float, flow: float) -> float:
    return sum(n * max((max(0.0, k - price * t) * min(rate, flow) for k, rate, t in own), default=0.0)
               for n, own in options)  # fmt: skip
