"""Constants that only a running engine shows: fitted to the rows of h200_vllm.csv, every model left out in turn.

Soft-L1 of log(predicted / measured) over the rows, and a weak pull towards the kernel tables' values. What is fitted:
how much of the tables' rates survives in a running engine, the gap between kernels, and the host.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from optimizer.cost.case import Case
from optimizer.errors import InputError
from optimizer.inputs import presets
from optimizer.inputs.calibration import Calibration
from optimizer.validation import predict, row_case

Row = Mapping[str, str]
Tree = dict[str, object]
PULL = 0.1
"""Weight of one spread off the prior against the error of one row."""
KINK = 0.03
"""Errors beyond this count linearly, so that single odd rows do not steer the fit."""
NOT_FITTED = ("kv_tokens",)


@dataclass(frozen=True)
class Parameter:
    """One constant: where it stands in the calibration, where it is pulled to, and how far it may stray (log)."""

    path: tuple[str, ...]
    prior: float
    spread: float
    most: float = float("inf")


def parameters(tree: Tree) -> list[Parameter]:
    """Return what is fitted; table values are the priors where a table has the family."""

    def at(*path: str) -> float:
        node: object = tree
        for key in path:
            assert isinstance(node, dict)
            node = node[key]
        assert isinstance(node, float)
        return node

    shares = [
        (("gemm", "bf16", "memory"), 0.03), (("gemm", "bf16", "compute"), 0.2),
        (("gemm", "fp8", "memory"), 0.1), (("gemm", "fp8", "compute"), 0.1),
        (("attention_prefill", "compute"), 0.1), (("attention_decode", "bf16", "memory"), 0.03),
        (("attention_decode", "fp8", "memory"), 0.05), (("moe", "bf16", "memory"), 0.05),
        (("moe", "bf16", "compute"), 0.2), (("moe", "bf16", "activations"), 0.2),
        (("mla_decode", "memory"), 0.1), (("mla_prefill", "compute"), 0.5),
        (("elementwise",), 0.5),
    ]  # fmt: skip
    others = [
        (("moe", "bf16", "power"), 0.3), (("kernel",), 0.3), (("host", "launch"), 0.5),
        (("host", "piece"), 0.5), (("host", "step_floor"), 0.3),
        (("host", "step_base"), 0.5), (("host", "per_sequence"), 0.5), (("host", "request"), 0.5),
    ]  # fmt: skip
    return [Parameter(path, at(*path), spread, 1.0) for path, spread in shares] + [
        Parameter(path, at(*path), spread) for path, spread in others
    ]


def with_values(tree: Tree, chosen: Sequence[Parameter], x: Sequence[float]) -> Tree:
    """Return a copy of ``tree`` with the parameters at prior * exp(x)."""
    copy: Tree = {k: with_values(v, (), ()) if isinstance(v, dict) else v for k, v in tree.items()}
    for parameter, shift in zip(chosen, x, strict=True):
        node: Tree = copy
        for key in parameter.path[:-1]:
            inner = node[key]
            assert isinstance(inner, dict)
            node = inner
        node[parameter.path[-1]] = min(parameter.most, parameter.prior * float(np.exp(shift)))
    return copy


def calibration(tree: Tree) -> Calibration:
    """Return the record of a tree whose times are bare seconds."""
    return Calibration.model_validate(_with_units(Calibration, tree))


def _with_units(record: type, tree: Tree) -> Tree:
    """Return the tree with times as text with their unit, as the files write them."""
    return {
        key: _with_units(record, value) if isinstance(value, dict)
        else f"{value!r} s" if key in SECONDS and isinstance(value, float) else value
        for key, value in tree.items()
    }  # fmt: skip


SECONDS = frozenset({
    "fixed", "per_sequence", "base", "hop", "ramp", "launch", "piece", "step_floor", "step_base", "request",
    "prompt_token", "kernel",
})  # fmt: skip


def cases(rows: Iterable[Row], record: Calibration) -> list[tuple[Case, int, Row]]:
    """Return the rows that the engine fit uses, with their replicas."""
    found = []
    for row in rows:
        if row["metric"] in NOT_FITTED:
            continue
        gpu = presets.load_gpu(row["gpu"])
        try:
            case, replicas = row_case(
                row, presets.load_model(row["model"]), gpu, presets.load_engine(row["engine"]), record
            )
        except InputError as error:
            raise SystemExit(f"{row['run']}: {error}") from error
        found.append((case, replicas, row))
    return found


def _errors(record: Calibration, priced: Sequence[tuple[Case, int, Row]]) -> NDArray[np.float64]:
    ratios = [
        predict(_under(case, record), row, replicas) / float(row["value"]) for case, replicas, row in priced
    ]  # fmt: skip
    return np.array(ratios)


def _under(case: Case, record: Calibration) -> Case:
    return Case(case.model, case.layout, case.gpu, case.wiring, case.engine, case.facts, record)


def fit(tree: Tree, chosen: Sequence[Parameter], priced: Sequence[tuple[Case, int, Row]]) -> list[float]:
    """Return the log shifts off the priors that fit best."""

    def residuals(x: NDArray[np.float64]) -> NDArray[np.float64]:
        record = calibration(with_values(tree, chosen, list(x)))
        z = np.log(_errors(record, priced))
        softened = np.sign(z) * KINK * np.sqrt(2 * (np.sqrt(1 + (z / KINK) ** 2) - 1))
        pull = [PULL * shift / parameter.spread for shift, parameter in zip(x, chosen, strict=True)]
        return np.concatenate([softened, pull])

    return [float(v) for v in least_squares(residuals, np.zeros(len(chosen)), diff_step=1e-3, max_nfev=40).x]


def left_out(
    tree: Tree, chosen: Sequence[Parameter], priced: Sequence[tuple[Case, int, Row]]
) -> dict[str, list[float]]:
    """Return absolute errors by metric, each row predicted by a fit that saw no row of its model."""
    errors: dict[str, list[float]] = {}
    for model in sorted({row["model"] for _, _, row in priced}):
        others = [entry for entry in priced if entry[2]["model"] != model]
        ours = [entry for entry in priced if entry[2]["model"] == model]
        record = calibration(with_values(tree, chosen, fit(tree, chosen, others)))
        for ratio, (_, _, row) in zip(_errors(record, ours), ours, strict=True):
            errors.setdefault(row["metric"], []).append(abs(float(ratio) - 1))
    return errors


def in_sample(record: Calibration, priced: Sequence[tuple[Case, int, Row]]) -> dict[str, list[float]]:
    """Return absolute errors by metric."""
    errors: dict[str, list[float]] = {}
    for ratio, (_, _, row) in zip(_errors(record, priced), priced, strict=True):
        errors.setdefault(row["metric"], []).append(abs(float(ratio) - 1))
    return errors


def engine_errors(
    tree: Tree, chosen: Sequence[Parameter], x: Sequence[float], priced: Sequence[tuple[Case, int, Row]]
) -> Tree:
    """Return the errors per metric as a calibration file holds them."""
    inside = in_sample(calibration(with_values(tree, chosen, x)), priced)
    outside = left_out(tree, chosen, priced)
    return {
        metric: {"n": len(found), "in_sample": round(fmean(found), 4), "held_out": round(fmean(outside[metric]), 4)}
        for metric, found in inside.items()
    }
