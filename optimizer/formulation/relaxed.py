"""The linear relaxation of a model: what no plan can beat, and what a replica costs beyond that at least.

Whatever worths y the rows are given, c·x = Σ_i y_i (a_i·x) + Σ_k (c_k - Σ_i y_i a_ik) x_k, and each term has a least
value within its bounds. GLOP finds the worths for which their sum is largest; here they are rounded to whole multiples
of 1/SCALE and all that follows is whole numbers, so the bound is proven whatever floats did.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ortools.linear_solver.python import model_builder
from ortools.sat.python import cp_model

SCALE = 2**40

_UNBOUNDED = 2**62
"""CP-SAT writes the largest integers where a row has no bound on one side."""


@dataclass(frozen=True)
class Relaxation:
    """A proven bound, in parts of 1/SCALE."""

    scaled_least: int
    scaled_cost: tuple[int, ...]
    """Of each variable: by how much one more than its least adds to the bound; 0 where more of it is no loss."""

    @property
    def least(self) -> int:
        """What is minimised is no less than this."""
        return -(-self.scaled_least // SCALE)

    def least_with(self, variable: int) -> int:
        """Return the same of solutions in which a variable is more than its least."""
        return -(-(self.scaled_least + self.scaled_cost[variable]) // SCALE)


@dataclass(frozen=True)
class _Row:
    terms: tuple[tuple[int, int], ...]
    """Variable and factor."""
    low: int
    high: int


def relaxation(model: cp_model.CpModel) -> Relaxation | None:
    """Return a bound of what the model minimises, from its linear rows without conditions; None where there is none."""
    rows = tuple(_rows(model))
    objective = model.proto.objective
    costs = [0] * len(model.proto.variables)
    for variable, factor in zip(objective.vars, objective.coeffs, strict=True):
        costs[variable] += factor
    bounds = [_ends(variable.domain) for variable in model.proto.variables]
    worths = _worths(rows, costs, bounds)
    return None if worths is None else _proven(rows, costs, bounds, worths, round(objective.offset))


def _rows(model: cp_model.CpModel) -> Iterator[_Row]:
    for constraint in model.proto.constraints:
        if constraint.has_linear() and not len(constraint.enforcement_literal):
            linear = constraint.linear
            yield _Row(tuple(zip(linear.vars, linear.coeffs, strict=True)), *_ends(linear.domain))


def _ends(domain: Iterable[int]) -> tuple[int, int]:
    """Return the least and the largest value of a domain, which the solver gives as a list of intervals."""
    low, *_, high = domain
    return low, high


Bounds = Sequence[tuple[int, int]]


def _worths(rows: Sequence[_Row], costs: Sequence[int], bounds: Bounds) -> list[int] | None:
    """Return the best worths of the rows as GLOP has them, in parts of 1/SCALE; None when it has none."""
    model = model_builder.Model()  # type: ignore[no-untyped-call]
    variables = [model.new_num_var(float(low), float(high), "") for low, high in bounds]
    made = []
    for row in rows:
        taken = model_builder.LinearExpr.weighted_sum([variables[v] for v, _ in row.terms], [a for _, a in row.terms])
        low = float(row.low) if row.low > -_UNBOUNDED else -float("inf")
        high = float(row.high) if row.high < _UNBOUNDED else float("inf")
        made.append(model.add_linear_constraint(taken, low, high))
    model.minimize(model_builder.LinearExpr.weighted_sum(variables, list(costs)))
    solver = model_builder.Solver("GLOP")
    if solver.solve(model) != model_builder.SolveStatus.OPTIMAL:
        return None
    return [round(solver.dual_value(row) * SCALE) for row in made]


def _proven(
    rows: Sequence[_Row], costs: Sequence[int], bounds: Bounds, worths: Sequence[int], offset: int
) -> Relaxation:
    """Return what the worths prove: the sum of the least values of all terms."""
    left, least = [cost * SCALE for cost in costs], offset * SCALE
    for row, worth in zip(rows, worths, strict=True):
        side = row.low if worth > 0 else row.high
        if worth and abs(side) < _UNBOUNDED:
            least += worth * side
            for variable, factor in row.terms:
                left[variable] -= worth * factor
    least += sum(min(cost * low, cost * high) for cost, (low, high) in zip(left, bounds, strict=True))
    return Relaxation(least, tuple(max(0, cost) for cost in left))
