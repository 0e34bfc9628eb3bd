"""Which layouts are worth trying: every combination of degrees that the engine admits, but for what only renames one.

What is left out, and why no plan is lost by it:

* expert parallelism over one GPU is the same as none;
* vLLM spreads experts over all GPUs of a stage or over none, so no degree between is tried on it;
* experts of attention replicas and of prefill context ranks are spread over all of them on vLLM: slices of an expert
  over them would have every rank read all experts for the tokens of all;
* a dense model's attention replicas are separate replicas, which are counted as such.

What is left out because there would be too many: stages of more than ``MOST_ANY`` GPUs whose number has an odd factor
beyond 3, prefill context degrees that are no powers of two, and decode context parallelism of dense models, which is
tried when it is asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

from optimizer.inputs.model import Latent, ModelSpec, Scheme
from optimizer.inputs.workload import EngineName, KvScheme
from optimizer.layout.degrees import Layout, split_layers
from optimizer.layout.rules import kinds, refusals, refuses_tp

MOST_ANY = 16
"""GPUs of a stage with attention replicas: up to so many any number, beyond that 2^n and 3 x 2^n, or all there are."""


def layouts(
    model: ModelSpec,
    gpus: int,
    *,
    weights: tuple[Scheme, ...],
    kv: tuple[KvScheme, ...],
    engine: EngineName,
    fixed: Mapping[str, int] | None = None,
) -> tuple[Layout, ...]:
    """Return the admissible layouts of up to ``gpus`` GPUs: fewest GPUs first, then fewest stages, then as given.

    Degrees need not be powers of two: tp is any number the model's heads allow, pp any up to the layers. ``fixed``:
    degrees by their fields ("attn_dp"), each tried at that value alone.
    """
    wanted = fixed or {}
    found: list[Layout] = []
    for base in _stages_alone(model, gpus, weights, kv[0], engine, wanted):
        most = min(gpus // base.ranks_per_stage, model.num_layers)
        for pp in _only(wanted, "pp", range(1, most + 1), most):
            spread = replace(base, pp=pp, layers_per_stage=split_layers(model.num_layers, pp))
            if pp > 1 and (base.attn_dp > 1 or base.pcp > 1) and refusals(model, spread, engine):
                continue  # no rule on other degrees depends on the stages, none on the cache
            found += [replace(spread, kv_cache=cache) for cache in kv]
    order = {scheme: place for place, scheme in enumerate(weights)}
    caches = {scheme: place for place, scheme in enumerate(kv)}
    return tuple(sorted(found, key=lambda x: (
        x.world_size, x.pp, x.attn_dp, x.pcp, x.ep, x.dcp, x.tp, order[x.weights], caches[x.kv_cache],
    )))  # fmt: skip


def _stages_alone(
    model: ModelSpec,
    gpus: int,
    weights: tuple[Scheme, ...],
    cache: KvScheme,
    engine: EngineName,
    fixed: Mapping[str, int],
) -> Iterator[Layout]:
    """Yield the admissible layouts of one stage."""
    most = min(gpus, max(kind.heads for kind in kinds(model)))
    for tp in _only(fixed, "tp", range(1, most + 1), most):
        if refuses_tp(model, tp, engine):
            continue
        for shared, prefill in _groups(model, tp, gpus, engine, fixed):
            ranks = tp * shared * prefill
            eps = _only(fixed, "ep", _expert_degrees(model, ranks, tp, engine), ranks)
            dcps = _only(fixed, "dcp", _decode_degrees(model, tp, prefill), ranks)
            for scheme, ep, dcp in product(weights, eps, dcps):
                base = Layout(tp, 1, (model.num_layers,), scheme, cache, ep, dcp, prefill, shared)
                if not refusals(model, base, engine):
                    yield base


def _only(fixed: Mapping[str, int], field: str, offered: Sequence[int], most: int) -> Sequence[int]:
    """Return what is offered, or only what was fixed, offered or not, up to ``most``."""
    if field not in fixed:
        return offered
    return (fixed[field],) if fixed[field] <= most else ()


def _groups(
    model: ModelSpec, tp: int, gpus: int, engine: EngineName, fixed: Mapping[str, int]
) -> Iterator[tuple[int, int]]:
    """Yield (attention replicas, prefill context degree) of a stage of up to ``gpus`` GPUs."""
    most = gpus // tp
    shared = [n for n in range(1, most + 1) if n == 1 or (model.is_moe and _offered(tp * n, gpus))]
    split = [1]
    if engine == "vllm" and all(isinstance(kind, Latent) for kind in kinds(model)):
        split += [2**n for n in range(1, most.bit_length()) if 2**n <= most]
    for pair in product(_only(fixed, "attn_dp", shared, most), _only(fixed, "pcp", split, most)):
        if min(pair) == 1 and pair[0] * pair[1] <= most:
            yield pair


def _offered(ranks: int, gpus: int) -> bool:
    odd = ranks // (ranks & -ranks)
    return ranks <= MOST_ANY or odd in (1, 3) or ranks == gpus


def _expert_degrees(model: ModelSpec, ranks: int, tp: int, engine: EngineName) -> Sequence[int]:
    if not model.is_moe or ranks == 1:
        return (1,)
    if engine == "vllm":
        return (1, ranks) if ranks == tp else (ranks,)
    return [ep for ep in range(1, ranks + 1) if ranks % ep == 0]


def _decode_degrees(model: ModelSpec, tp: int, prefill: int) -> Sequence[int]:
    if prefill > 1:
        return (1, prefill)
    return [dcp for dcp in range(1, tp + 1) if dcp == 1 or (model.is_moe and tp % dcp == 0)]
