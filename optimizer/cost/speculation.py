"""Speculative decoding: tokens drafted cheaply, several of which one step of the model checks.

What drafts sits on the last stage, with that stage's tensor parallelism. Every draft is taken to be kept with the same
chance once those before it were (Leviathan et al. 2023, Fast Inference from Transformers via Speculative Decoding).
"""

from dataclasses import dataclass, replace
from functools import lru_cache

from optimizer.cost.case import Case
from optimizer.cost.collectives import part
from optimizer.cost.kv import rank_kv_bytes_per_token
from optimizer.cost.operators import Matrix
from optimizer.cost.projections import ACTIVATION_BYTES, matrix, rates_on
from optimizer.cost.shards import weights_bytes
from optimizer.inputs.calibration import Calibration
from optimizer.inputs.identity import Same
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.workload import Speculative
from optimizer.layout import Layout


@dataclass(frozen=True)
class Drafter:
    """What guesses tokens: a model of its own, or one more layer of the model, its head used again."""

    first: Case
    """Its first pass of a step: the prompts, and every token that the model checks beside it."""
    further: Case
    """Its other passes: one token per sequence."""
    fusion: Matrix | None
    """Joins a token's embedding with the model's hidden state ahead of a single layer."""
    weights_bytes: int
    """Of one rank of the last stage."""
    kv_bytes_per_token: float
    """On one rank of the last stage."""


def tokens_per_step(case: Case) -> float:
    """Return the tokens a sequence gains per step in the mean: 1 + a + ... + a^k."""
    if case.speculative is None:
        return 1.0
    return sum([case.speculative.acceptance**kept for kept in range(case.checked)])


def decode_steps(case: Case, tokens: float) -> float:
    """Return the steps in which a sequence gains so many tokens, in the mean."""
    return tokens / tokens_per_step(case)


def drafter(case: Case) -> Drafter | None:
    """Return what drafts in a replica; None where nothing does, or a lookup in the prompt that costs no GPU time."""
    if case.speculative is None or case.speculative.method == "ngram":
        return None
    return _drafter(case)


@lru_cache(maxsize=256)
def _drafter(case: Case) -> Drafter:
    last = case.at(case.layout.pp - 1)
    speculative = case.speculative
    assert speculative is not None
    if speculative.draft_model is not None:
        model, group, fusion = speculative.draft_model, part(last.wiring.group, case.layout.tp), None
        layout = Layout(
            tp=case.layout.tp, pp=1, layers_per_stage=(model.num_layers,), weights=model.checkpoint_scheme,
            kv_cache=case.layout.kv_cache,
        )  # fmt: skip
        held = weights_bytes(model, layout, 0)
    else:
        model, group = _one_layer(Same(case.model)), last.wiring.group
        layout = replace(case.layout, pp=1, layers_per_stage=(1,))
        rates = rates_on(Same(last.gpu), Same(last.calibration), last.wiring.speed_factor)
        fusion = matrix(2 * model.hidden, model.hidden, "bf16", rates)
        held = _layer_bytes(model, layout) + round(2 * model.hidden**2 * ACTIVATION_BYTES)
    further = replace(
        last, model=model, layout=layout, wiring=replace(last.wiring, group=group, hops=(), exit=None, sections=()),
        calibration=_within_a_step(Same(last.calibration)), further=(), speculative=None,
    )  # fmt: skip
    beside = Speculative(method="ngram", draft_tokens=speculative.draft_tokens, acceptance=speculative.acceptance)
    each = sum(count * rank_kv_bytes_per_token(run.attention, layout) for run, count in model.layers(0, 1 << 30))
    return Drafter(replace(further, speculative=beside), further, fusion, held, each)


@lru_cache(maxsize=256)
def _one_layer(model: Same[ModelSpec]) -> ModelSpec:
    """Return a model of one layer like the last."""
    last = model.value.runs[-1].model_copy(update={"count": 1})
    return model.value.model_copy(update={"runs": (last,)})


def _layer_bytes(model: ModelSpec, layout: Layout) -> int:
    """Return the weights of a layer alone: embedding and head are the model's own, held anyway."""
    two = model.model_copy(update={"runs": (model.runs[0].model_copy(update={"count": 2}),)})
    return weights_bytes(two, replace(layout, layers_per_stage=(2,)), 0) - weights_bytes(model, layout, 0)


@lru_cache(maxsize=256)
def _within_a_step(calibration: Same[Calibration]) -> Calibration:
    """Return the constants without the floor of a step: the step that drafts has it once."""
    host = calibration.value.host.model_copy(update={"step_floor": 0.0})
    return calibration.value.model_copy(update={"host": host})
