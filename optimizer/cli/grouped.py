"""Options that belong together travel as one value: typer sees each of them, the command gets the whole."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, get_type_hints

import typer

from optimizer.cli.options import (
    EngineOption,
    ExcludeOption,
    FixOption,
    GapOption,
    MarginOption,
    MaxGpusOption,
    RolesOption,
    SeedOption,
    SurviveOption,
    TimeLimitOption,
    WorkersOption,
    WorkloadOption,
)

MOST_REQUESTS = 1_000_000
"""More in flight than any deployment has: a slip of the keyboard."""


@dataclass(frozen=True)
class Allowed:
    """What may be chosen: options that every question has."""

    engine: EngineOption = None
    fix: FixOption = None
    max_gpus: MaxGpusOption = None
    exclude: ExcludeOption = None
    roles: RolesOption = None
    margin: MarginOption = None


@dataclass(frozen=True)
class Search:
    """What the plan has to withstand and how long it is sought."""

    survive: SurviveOption = None
    time_limit: TimeLimitOption = None
    gap: GapOption = None
    workers: WorkersOption = 1
    seed: SeedOption = 0


@dataclass(frozen=True)
class Degrees:
    """How one replica is spread."""

    tp: Annotated[int, typer.Option(min=1, help="tensor parallel degree")]
    pp: Annotated[int, typer.Option(min=1, help="pipeline stages")] = 1
    attn_dp: Annotated[int, typer.Option(min=1, help="attention replicas that share the experts, each of TP ranks")] = 1
    ep: Annotated[int, typer.Option(min=1, help="GPUs over which whole experts are spread")] = 1
    dcp: Annotated[int, typer.Option(min=1, help="ranks over which cached tokens are spread in decode")] = 1
    pcp: Annotated[int, typer.Option(min=1, help="ranks over which a prompt is split, each group of TP ranks")] = 1


@dataclass(frozen=True)
class Load:
    """What one replica is priced at."""

    batch: Annotated[int, typer.Option(min=1, max=MOST_REQUESTS, metavar="N", help="concurrent requests")]
    isl: Annotated[int | None, typer.Option(min=1, metavar="TOKENS", help="input tokens")] = None
    osl: Annotated[int | None, typer.Option(min=1, metavar="TOKENS", help="output tokens")] = None
    weights: Annotated[str | None, typer.Option(metavar="SCHEME", help="bf16, fp8, ...: default the checkpoint's")] = (
        None
    )
    kv_cache: Annotated[str | None, typer.Option(metavar="SCHEME", help="bf16 or fp8")] = None
    role: Annotated[str, typer.Option(metavar="ROLE", help="both, prefill or decode: what it does of a request")] = (
        "both"
    )
    workload: WorkloadOption = None
    engine: EngineOption = None

    @property
    def changes(self) -> dict[str, object]:
        """What is given in place of the workload's."""
        given = {
            "isl": self.isl, "osl": self.osl,
            "weights": self.weights and [self.weights], "kv_cache": self.kv_cache and [self.kv_cache],
        }  # fmt: skip
        return {key: value for key, value in given.items() if value is not None}


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose parameters that are dataclasses are taken field by field, each an option of its own."""
    taken = signature(command, eval_str=True).parameters.values()
    groups: dict[str, Any] = {one.name: one.annotation for one in taken if is_dataclass(one.annotation)}

    @wraps(command)
    def flat(**given: Any) -> None:
        whole = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**given, **whole)

    shown = [one for whole in taken for one in (_options(groups[whole.name]) if whole.name in groups else (whole,))]
    flat.__annotations__ = {one.name: one.annotation for one in shown}
    vars(flat)["__signature__"] = Signature([one.replace(kind=Parameter.KEYWORD_ONLY) for one in shown])
    return flat


def _options(group: type) -> Iterator[Parameter]:
    """Yield each field of a dataclass as a parameter; one without a default has to be given."""
    types = get_type_hints(group, include_extras=True)
    for name, default in signature(group).parameters.items():
        yield Parameter(name, Parameter.KEYWORD_ONLY, default=default.default, annotation=types[name])
