"""What one node becomes: a template, what differs from it, what to say."""

from dataclasses import dataclass, field

from optimizer.inputs.cluster import NodeTemplate, Override
from optimizer.inputs.importers.facts import Finding


@dataclass
class Shaped:
    """A template, what differs from it, and what to say."""

    overrides: list[Override] = field(default_factory=list)
    """Their match names no node yet."""
    findings: list[Finding] = field(default_factory=list)
    template: NodeTemplate | None = None


def rate_text(rate: float | None) -> str | None:
    """Return a rate as inputs are written, exactly."""
    return None if rate is None else f"{rate!r} B/s"
