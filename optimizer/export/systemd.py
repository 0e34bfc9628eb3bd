"""systemd: one unit and one environment file for each launch."""

from optimizer import __version__
from optimizer.export.artifact import MARK, Artifact
from optimizer.export.launch import engines, router
from optimizer.export.launch.command import Command
from optimizer.export.launch.containers import resolved
from optimizer.export.launch.readme import readme
from optimizer.export.launch.seating import Launch, heads, launches
from optimizer.export.launch.words import comment, environment_line, systemd
from optimizer.plan import Plan

FOLDER = "/etc/tpopt"


def export(plan: Plan) -> tuple[Artifact, ...]:
    """Return units, environment files, a router script and a README."""
    started = launches(plan)
    files: list[Artifact] = []
    for launch in started:
        command = engines.command(launch)
        files += [
            Artifact(_unit_name(launch), _unit(launch, command)),
            Artifact(f"{launch.stem}.env", _variables(launch, command)),
        ]
    routers = router.scripts(heads(started))
    return (*files, *routers, readme(plan, started, _steps(routers), _unit_name))


def _unit_name(launch: Launch) -> str:
    return f"tpopt-{launch.stem}.service"


def _unit(launch: Launch, command: Command) -> str:
    replica = launch.replica
    what = f"{replica.engine.name} replica {launch.number}, node {launch.node_rank + 1} of {len(launch.nodes)}"
    lines = [
        f"# {MARK} {__version__} for {replica.engine.name} {replica.engine.version}.",
        "[Unit]",
        f"Description={what} (tpopt)",
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        "Type=exec",
        f"EnvironmentFile={FOLDER}/{launch.stem}.env",
        f"EnvironmentFile=-{FOLDER}/secrets.env",
        *(f"ExecStartPre=/usr/bin/test -n {systemd(ref)}" for ref in command.references if not ref.default),
        f"ExecStart=/usr/bin/env {' '.join(map(systemd, command.words))}",
        "Restart=on-failure",
        "RestartSec=15",
        "TimeoutStopSec=120",
        "LimitMEMLOCK=infinity",
        "LimitNOFILE=1048576",
        "KillMode=mixed",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def _variables(launch: Launch, command: Command) -> str:
    exported = {name for name, _ in command.environment}
    own = [(reference.name, reference.default) for reference in command.references if reference.name not in exported]
    lines = [f"# {MARK} {__version__}: environment of {_unit_name(launch)} on {comment(launch.node)}"]
    for name, value in own + [(name, resolved(word)) for name, word in command.environment]:
        if not value:
            lines.append(f"# {name} must be a checkpoint stored as {launch.replica.weights}: write its place here")
        lines.append(environment_line(name, value))
    return "\n".join(lines) + "\n"


def _steps(routers: tuple[Artifact, ...]) -> list[str]:
    return [
        f"On each node: copy its units to /etc/systemd/system and its .env files to {FOLDER}, then",
        "systemctl daemon-reload and systemctl enable --now UNIT for each unit named below.",
        f"Gated checkpoints need HF_TOKEN: put it in {FOLDER}/secrets.env, readable by root only.",
        *(f"Then run {artifact.path} on any host that reaches the nodes: it spreads requests." for artifact in routers),
    ]
