"""A number and where it comes from: formula, inputs, source; each input is such a number again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from optimizer.compare import service_of
from optimizer.cost.case import Case, Hardware
from optimizer.cost.settings import version_facts
from optimizer.errors import InputError
from optimizer.inputs import presets
from optimizer.plan import Plan, Replica
from optimizer.report.loads import stages_of
from optimizer.topology.exits import role_wiring
from optimizer.topology.graph import Topology


@dataclass(frozen=True)
class Fact:
    """One number of a plan, or what it is made from."""

    name: str
    value: str
    """For people, with its unit."""
    number: float | None = None
    """In the SI base unit."""
    formula: str = ""
    """In terms of the names of ``inputs``."""
    source: str = ""
    inputs: tuple["Fact", ...] = field(default=())


def fact(name: str, number: float, shown: str, formula: str = "", *inputs: Fact, source: str = "") -> Fact:
    """Return a number with what it is made from."""
    return Fact(name, shown, number, formula, source, tuple(inputs))


def case_of(plan: Plan, replica: Replica, topology: Topology) -> Case:
    """Return a replica as it was priced, with the calibration and engine facts of this tpopt."""
    paths = role_wiring(topology, stages_of(replica), replica.share, replica.role)
    types = [section.gpu_type for section in paths.sections] or [replica.gpu_type]
    missing = [name for name in types if name not in plan.inputs.cluster.gpus]
    if missing:
        raise InputError(f"plan: inputs.cluster.gpus: no {missing[0]}; solve again to get a plan that names it")
    cluster = plan.inputs.cluster
    first, *further = [Hardware(cluster.gpus[name], presets.calibration_of(cluster, name)) for name in types]
    return Case(
        model=service_of(plan, replica).model,
        layout=replica.layout,
        gpu=first.gpu,
        wiring=paths,
        engine=replica.engine,
        facts=version_facts(presets.load_engine(replica.engine.name), replica.engine.version),
        calibration=first.calibration,
        further=tuple(further),
        speculative=service_of(plan, replica).workload.speculative,
    )


def source_of(sources: dict[str, str], *keys: str) -> str:
    """Return where a number comes from: the source of its key, else the one for all."""
    return next((sources[key] for key in (*keys, "*") if key in sources), "")


def pruned(facts: Sequence[Fact], level: int) -> tuple[Fact, ...]:
    """Return facts down to a level, 1 being the facts themselves."""
    if level <= 0:
        return ()
    return tuple(
        Fact(one.name, one.value, one.number, one.formula, one.source, pruned(one.inputs, level - 1)) for one in facts
    )


def named(facts: Sequence[Fact], part: str | None) -> tuple[Fact, ...]:
    """Return the facts whose name holds ``part``, wherever they are; all for None, InputError when there is none."""
    if part is None:
        return tuple(facts)
    found = tuple(_find(facts, part.lower()))
    if not found:
        known = ", ".join(dict.fromkeys(one.name for one in facts))
        raise InputError(f"--of: no number is called {part!r}; the topmost are {known}")
    return found


def _find(facts: Sequence[Fact], part: str) -> Iterator[Fact]:
    for one in facts:
        if part in one.name.lower():
            yield one
        else:
            yield from _find(one.inputs, part)


def record(one: Fact) -> dict[str, object]:
    """Return the JSON record of a fact; what is empty is left out."""
    told = {"name": one.name, "value": one.value, "number": one.number, "formula": one.formula, "source": one.source}
    kept: dict[str, object] = {key: value for key, value in told.items() if value not in (None, "")}
    return kept | ({"inputs": [record(inner) for inner in one.inputs]} if one.inputs else {})
