"""What the user asks: every file read, every option understood and put in its place."""

from typing import TYPE_CHECKING

from optimizer.cli import options, output

if TYPE_CHECKING:
    from optimizer.inputs.model import ModelSpec
    from optimizer.inputs.service import Service
    from optimizer.inputs.workload import WorkloadSpec
    from optimizer.pipeline import Request


def ask(
    cluster: str,
    model: str,
    workload: str | None,
    engine: str | None,
    *,
    objective: str,
    fix: str | None,
    max_gpus: int | None,
    exclude: list[str] | None,
    roles: str | None = None,
    margin: str | None = None,
    survive: str | None = None,
    time_limit: str | None = None,
    gap: str | None = None,
    workers: int = 1,
    seed: int = 0,
    faults: bool = True,
) -> "Request":
    """Return what the user asks; ``engine``, ``roles`` and ``margin`` hold for every model of a models.yaml."""
    goal, fixed, seconds = (
        options.parse_objectives(objective),
        options.parse_fix(fix),
        options.parse_time_limit(time_limit),
    )
    enough = options.parse_gap(gap)
    from optimizer.inputs import read

    hardware = read.read_cluster(cluster, output.progress)
    first, *more = _services(model, workload, engine, roles, margin)
    from optimizer.pipeline import Request

    return Request(
        cluster=hardware, model=first.model, workload=first.workload, weight=first.weight, more=tuple(more),
        objective=goal[0], then=goal[1:], survive=options.parse_survive(survive), fix=fixed, max_gpus=max_gpus,
        exclude=options.check_exclude(exclude, hardware), time_limit_s=seconds, gap=enough, workers=workers, seed=seed,
        faults=faults,
    )  # fmt: skip


def _services(
    source: str, workload_source: str | None, engine: str | None, roles: str | None, margin: str | None
) -> "tuple[Service, ...]":
    """Return the models asked for, each with its traffic and the options' changes to it."""
    from optimizer.inputs.read import check_lengths
    from optimizer.inputs.services import read_services

    chosen: dict[str, object] = {}
    if roles is not None:
        chosen["roles"] = options.parse_roles(roles)
    if margin is not None:
        chosen["margin"] = options.parse_margin(margin)
    found = []
    for service in read_services(source, workload_source):
        load = service.workload
        named = {} if engine is None else {"engine": options.parse_engine(engine, load.engine)}
        found.append(service.model_copy(update={"workload": load.model_copy(update=chosen | named)}))
    if len(found) == 1:
        check_lengths(found[0].model, found[0].workload, where=workload_source or f"{source}, no workload")
    return tuple(found)


def load_of(
    model: "ModelSpec", model_source: str, source: str | None, engine: str | None, changes: dict[str, object]
) -> "WorkloadSpec":
    """Return the workload of a file with the options' changes; InputError when the model's context is too short."""
    from optimizer.inputs import read
    from optimizer.inputs.complaints import validated

    load = read.read_workload(source)
    if changes:
        where = " ".join(f"--{key.replace('_', '-')}" for key in changes)
        load = validated(type(load), load.model_dump(mode="json") | changes, where)
    if engine is not None:
        load = load.model_copy(update={"engine": options.parse_engine(engine, load.engine)})
    read.check_lengths(model, load, where=source or (f"{model_source}, no workload" if not changes else "--isl, --osl"))
    return load
