"""Layouts: the degrees of one replica, which of them an engine admits for a model, and which are worth trying."""

from optimizer.layout.degrees import Layout, parse_label, split_layers
from optimizer.layout.offered import MOST_ANY, layouts
from optimizer.layout.rules import RULES, Rule, refusals, refuses_hand_over

__all__ = [
    "MOST_ANY",
    "RULES",
    "Layout",
    "Rule",
    "layouts",
    "parse_label",
    "refusals",
    "refuses_hand_over",
    "split_layers",
]
