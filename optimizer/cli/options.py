"""The options that commands share, and the meaning of their text."""

import re
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from optimizer.errors import InputError

if TYPE_CHECKING:
    from optimizer.inputs.cluster import ClusterSpec
    from optimizer.inputs.workload import EngineChoice, Role
    from optimizer.plan import Failure, ObjectiveName

DEGREES = ("tp", "pp", "attn_dp", "ep", "dcp", "pcp", "dp")

Form = Literal["tables", "json", "csv", "markdown"]


def _presets(kind: Literal["clusters", "models"], incomplete: str) -> list[str]:
    from optimizer.inputs import presets

    return [name for name in presets.names(kind) if name.startswith(incomplete)]


def complete_cluster(incomplete: str) -> list[str]:
    """Return the cluster presets that begin so; the shell adds files by itself."""
    return _presets("clusters", incomplete)


def complete_model(incomplete: str) -> list[str]:
    """Return the model presets that begin so."""
    return _presets("models", incomplete)


def complete_objective(incomplete: str) -> list[str]:
    """Return the objectives that begin so."""
    from optimizer.plan import ObjectiveName

    return [name for name in get_args(ObjectiveName) if name.startswith(incomplete)]


ClusterArg = Annotated[
    str,
    typer.Argument(metavar="CLUSTER", help="cluster.yaml, or the name of a preset", autocompletion=complete_cluster),
]
ModelArg = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="model.yaml, a Hugging Face config.json or its folder, or a preset",
        autocompletion=complete_model,
    ),
]
ModelsArg = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="model.yaml, a Hugging Face config.json or its folder, a preset, or a models.yaml that lists several",
        autocompletion=complete_model,
    ),
]
WorkloadOption = Annotated[str | None, typer.Option("-w", "--workload", metavar="FILE", help="workload.yaml")]
ObjectiveOption = Annotated[
    str,
    typer.Option(
        metavar="NAME[,NAME]",
        autocompletion=complete_objective,
        help="throughput, latency, ttft, gpus, cost or energy; gpus,latency: the fastest on fewest GPUs",
    ),
]
EngineOption = Annotated[str | None, typer.Option(metavar="NAME[==VERSION]", help="vllm, sglang or trtllm")]
JsonOption = Annotated[bool, typer.Option("--json", help="answer as JSON")]
FullOption = Annotated[bool, typer.Option("--full", help="leave nothing out of the tables")]
FixOption = Annotated[
    str | None,
    typer.Option(
        metavar="tp=8,pp=2", help="decide these degrees beforehand: tp, pp, attn_dp, ep, dcp, pcp, dp (replicas)"
    ),
]
MaxGpusOption = Annotated[int | None, typer.Option(min=1, metavar="N", help="use at most N GPUs")]
ExcludeOption = Annotated[
    list[str] | None, typer.Option(metavar="NODE[/GPU]", help="leave this node or GPU to others; repeatable")
]
MarginOption = Annotated[
    str | None, typer.Option(metavar="10%", help="be safe against so large an error in rates and latencies")
]
RolesOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,NAME",
        help="both; prefill,decode: the two apart; both,prefill,decode: whichever is better; default: the workload's",
    ),
]
SurviveOption = Annotated[
    str | None, typer.Option(metavar="gpu|node|nic", help="meet the workload after any single such failure")
]
TimeLimitOption = Annotated[
    str | None, typer.Option(metavar="SECONDS", help="stop after so long; the answer may then differ between runs")
]
GapOption = Annotated[
    str | None, typer.Option(metavar="0.1%", help="stop when the plan is proven to be so near to the best")
]
WorkersOption = Annotated[int, typer.Option(min=1, metavar="N", help="threads of the solver")]
SeedOption = Annotated[int, typer.Option(min=0, metavar="N", help="seed of the solver")]
DebugOption = Annotated[bool, typer.Option("--debug", help="show where an error comes from")]


def one_form(*, json: bool, csv: bool, markdown: bool) -> Form:
    """Return how to answer; InputError when more than one form is asked for."""
    forms: dict[Form, bool] = {"json": json, "csv": csv, "markdown": markdown}
    asked = [form for form, wanted in forms.items() if wanted]
    if len(asked) > 1:
        raise InputError(f"--{asked[0]} and --{asked[1]} exclude each other: choose one")
    return asked[0] if asked else "tables"


def parse_objectives(text: str) -> "tuple[ObjectiveName, ...]":
    """Return the objectives of a comma-separated list, first things first; InputError names the nearest."""
    from optimizer.inputs.complaints import did_you_mean
    from optimizer.plan import ObjectiveName

    known: dict[str, ObjectiveName] = {name: name for name in get_args(ObjectiveName)}
    names = [part.strip() for part in text.split(",")]
    for name in names:
        if name not in known:
            raise InputError(f"--objective: {name!r} is not known; {did_you_mean(name, tuple(known), what='one of')}")
        if names.count(name) > 1:
            raise InputError(f"--objective: {name} is given twice; keep one of them")
    return tuple(known[name] for name in names)


def parse_fix(text: str | None) -> dict[str, int]:
    """Return degrees of text such as "tp=8,pp=2"; InputError names the part that is wrong."""
    from optimizer.inputs.complaints import did_you_mean

    fixed: dict[str, int] = {}
    for part in (text or "").split(",") if text is not None else ():
        match = re.fullmatch(r"\s*(\w+)\s*=\s*([1-9]\d{0,6})\s*", part)
        if match is None:
            raise InputError(f"--fix: {part!r} is no degree; write tp=8,pp=2")
        name = match[1].lower()
        if name not in DEGREES:
            raise InputError(f"--fix: {name!r} is no degree; {did_you_mean(name, DEGREES, what='one of')}")
        if name in fixed:
            raise InputError(f"--fix: {name} is given twice; keep one of them")
        fixed[name] = int(match[2])
    return fixed


def parse_layouts(text: str | None) -> tuple[str, ...] | None:
    """Return short names of layouts ("tp4pp2", "tp1attndp8ep8") of a comma-separated list, None for all.

    Degrees may be in any order; those of 1 are left out.
    """
    from optimizer.layout.degrees import label_of, parse_label

    if text is None:
        return None
    labels = []
    for part in text.lower().split(","):
        degrees = parse_label(part.strip())
        if degrees is None:
            raise InputError(f"--layouts: {part!r} is no layout; write tp8,tp4pp2,tp1attndp8ep8")
        labels.append(label_of(degrees))
    return tuple(dict.fromkeys(labels))


def check_exclude(names: list[str] | None, cluster: "ClusterSpec") -> tuple[str, ...]:
    """Return the nodes and GPUs to leave out; InputError names the nearest node when one is unknown."""
    from optimizer.inputs.complaints import did_you_mean
    from optimizer.inputs.hostlist import all_hosts

    entries = zip(cluster.nodes, all_hosts(cluster.nodes), strict=True) if names else ()
    nodes = {name: entry for entry, hosts in entries for name in hosts}
    for name in names or ():
        node, _, gpu = name.partition("/")
        if node not in nodes:
            raise InputError(f"--exclude: {node!r} is no node of {cluster.name}; {did_you_mean(node, nodes)}")
        size = cluster.templates[nodes[node].template].size
        if gpu and gpu not in nodes[node].gpu_ids and not (gpu.isdecimal() and int(gpu) < size):
            raise InputError(f"--exclude: {name!r} is no GPU; {node} has {size}, counted from 0: write {node}/0")
    return tuple(names or ())


def parse_survive(text: str | None) -> "Failure | None":
    """Return what may break; InputError when it is nothing that does."""
    from optimizer.plan import Failure

    known: dict[str, Failure] = {name: name for name in get_args(Failure)}
    if text is not None and text not in known:
        raise InputError(f"--survive: {text!r} is not known; choose one of {', '.join(known)}")
    return None if text is None else known[text]


def parse_margin(text: str) -> float:
    """Return the share of "10%" or "0.1"; InputError when it is none, or leaves nothing of a rate."""
    share = _share(text, "--margin")
    if share >= 1:
        raise InputError(f"--margin: {text!r} leaves nothing of any rate; write less, such as 10%")
    return share


def parse_gap(text: str | None) -> float | None:
    """Return the share of "0.1%" or "0.001"; InputError when it is none, or 100 % and more."""
    if text is None:
        return None
    share = _share(text, "--gap")
    if share >= 1:
        raise InputError(f"--gap: {text!r} asks for no proof at all; write less, such as 0.1%")
    return share


def _share(text: str, option: str) -> float:
    from optimizer.units import parse_fraction

    try:
        return parse_fraction(float(text) if re.fullmatch(r"[\d.]+", text) else text)
    except ValueError as error:
        raise InputError(f"{option}: {error}") from error


def parse_role(text: str) -> "Role":
    """Return one role; InputError names the nearest."""
    from optimizer.inputs.complaints import did_you_mean
    from optimizer.inputs.workload import Role

    known: dict[str, Role] = {role: role for role in get_args(Role)}
    if text not in known:
        raise InputError(f"--role: {text!r} is not known; {did_you_mean(text, tuple(known), what='one of')}")
    return known[text]


def parse_roles(text: str) -> "tuple[Role, ...]":
    """Return the roles of a comma-separated list; InputError names the nearest, or what is missing."""
    from optimizer.inputs.complaints import did_you_mean, validated
    from optimizer.inputs.workload import Role, WorkloadSpec

    names = [part.strip() for part in text.split(",")]
    for name in names:
        if name not in get_args(Role):
            raise InputError(f"--roles: {name!r} is not known; {did_you_mean(name, get_args(Role), what='one of')}")
        if names.count(name) > 1:
            raise InputError(f"--roles: {name} is given twice; keep one of them")
    return validated(WorkloadSpec, {"roles": names}, f"--roles {text}").roles


def parse_time_limit(text: str | None) -> float | None:
    """Return seconds of "60" or "2 min"; InputError on anything else, or when nothing is left of it."""
    from optimizer.units import parse_seconds

    if text is None:
        return None
    try:
        seconds = float(text) if re.fullmatch(r"[\d.]+", text) else parse_seconds(text)
    except ValueError as error:
        raise InputError(f"--time-limit: {error}") from error
    if seconds <= 0:
        raise InputError(f"--time-limit: {text!r} leaves no time; write seconds, such as 60")
    return seconds


def parse_engine(text: str, current: "EngineChoice") -> "EngineChoice":
    """Return ``current`` with the engine and version of "name" or "name==version"; InputError names the nearest."""
    from optimizer.inputs.complaints import did_you_mean
    from optimizer.inputs.workload import EngineChoice, EngineName

    name, _, version = text.partition("==")
    if name not in get_args(EngineName):
        known = get_args(EngineName)
        raise InputError(f"--engine: {name!r} is no engine; {did_you_mean(name, known, what='one of')}")
    kept = current.model_dump(mode="json") if name == current.name else {}
    kept |= {"name": name, "version": version or (current.version if name == current.name else None)}
    return EngineChoice.model_validate(kept)
