"""A goal: something to minimise, and how its integers read as a value of the user's unit."""

from collections.abc import Callable
from dataclasses import dataclass

from ortools.sat.python import cp_model


@dataclass(frozen=True)
class Goal:
    """Something to minimise, and how its integers read as a value of the user's unit."""

    expression: cp_model.LinearExprT
    read: Callable[[float], float]
    hidden: float = 0.0
    """By how much rounding to those integers may hide that a plan is better, in that unit and with its sign."""
