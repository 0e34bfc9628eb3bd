"""What the user asks: every file read, every option understood and put in its place."""

from typing import TYPE_CHECKING

from optimizer.cli import options, output
from optimizer.cli.grouped import Allowed, Load, Search

if TYPE_CHECKING:
    from optimizer.inputs.model import ModelSpec
    from optimizer.inputs.service import Service
    from optimizer.inputs.workload import WorkloadSpec
    from optimizer.pipeline import Request


def ask(
    cluster: str,
    model: str,
    workload: str | None,
    allowed: Allowed,
    *,
    objective: str,
    search: Search | None = None,
    faults: bool = True,
) -> "Request":
    """Return what the user asks; engine, roles and margin hold for every model of a models.yaml."""
    search = search or Search()
    goal, fixed = options.parse_objectives(objective), options.parse_fix(allowed.fix)
    limit_s, enough = options.parse_time_limit(search.time_limit), options.parse_gap(search.gap)
    from optimizer.inputs import read

    hardware = read.read_cluster(cluster, output.progress)
    first, *more = _services(model, workload, allowed)
    from optimizer.pipeline import Request

    return Request(
        cluster=hardware, model=first.model, workload=first.workload, weight=first.weight, more=tuple(more),
        objective=goal[0], then=goal[1:], survive=options.parse_survive(search.survive), fix=fixed,
        max_gpus=allowed.max_gpus, exclude=options.check_exclude(allowed.exclude, hardware), time_limit_s=limit_s,
        gap=enough, workers=search.workers, seed=search.seed, faults=faults,
    )  # fmt: skip


def _services(source: str, workload_source: str | None, allowed: Allowed) -> "tuple[Service, ...]":
    """Return the models asked for, each with its traffic and the options' changes to it."""
    from optimizer.inputs.read import check_lengths
    from optimizer.inputs.services import read_services

    chosen: dict[str, object] = {}
    if allowed.roles is not None:
        chosen["roles"] = options.parse_roles(allowed.roles)
    if allowed.margin is not None:
        chosen["margin"] = options.parse_margin(allowed.margin)
    found, engine = [], allowed.engine
    for service in read_services(source, workload_source):
        load = service.workload
        named = {} if engine is None else {"engine": options.parse_engine(engine, load.engine)}
        found.append(service.model_copy(update={"workload": load.model_copy(update=chosen | named)}))
    if len(found) == 1:
        check_lengths(found[0].model, found[0].workload, where=workload_source or f"{source}, no workload")
    return tuple(found)


def load_of(model: "ModelSpec", model_source: str, asked: Load) -> "WorkloadSpec":
    """Return the workload of a file with the options' changes; InputError when the model's context is too short."""
    from optimizer.inputs import read
    from optimizer.inputs.complaints import validated

    load, changes = read.read_workload(asked.workload), asked.changes
    if changes:
        where = " ".join(f"--{key.replace('_', '-')}" for key in changes)
        load = validated(type(load), load.model_dump(mode="json") | changes, where)
    if asked.engine is not None:
        load = load.model_copy(update={"engine": options.parse_engine(asked.engine, load.engine)})
    assumed = "--isl, --osl" if changes else f"{model_source}, no workload"
    read.check_lengths(model, load, where=asked.workload or assumed)
    return load
