"""vLLM without Ray: one bash script and one --config file for each replica and node, which start exactly its seats."""

from optimizer import __version__
from optimizer.export.artifact import MARK, Artifact
from optimizer.export.launch import router, vllm
from optimizer.export.launch.command import Command
from optimizer.export.launch.readme import TOKEN, readme
from optimizer.export.launch.scripts import script
from optimizer.export.launch.seating import Launch, check_engine, heads, launches
from optimizer.export.launch.words import comment, settings, yaml_text
from optimizer.plan import Plan


def export(plan: Plan) -> tuple[Artifact, ...]:
    """Return scripts, configuration files, a router for several replicas and a README.

    InputError when vLLM cannot start the plan as it is.
    """
    started = launches(plan)
    files: list[Artifact] = []
    for launch in started:
        check_engine(launch, "vllm")
        command = vllm.command(launch)
        files += [script(launch, command), _config(launch, command)]
    routers = router.scripts(heads(started))
    return (*files, *routers, readme(plan, started, _steps(plan, routers), lambda launch: f"./{launch.stem}.sh"))


def _config(launch: Launch, command: Command) -> Artifact:
    """Return the same options as a file for ``vllm serve MODEL --config FILE``; the environment is the script's."""
    head = f"{MARK} {__version__}: options of {launch.stem}.sh for vllm serve MODEL --config {launch.stem}.yaml"
    return Artifact(f"{launch.stem}.yaml", yaml_text(settings(command.options), head=comment(head)))


def _steps(plan: Plan, routers: tuple[Artifact, ...]) -> list[str]:
    version = ", ".join(dict.fromkeys(replica.engine.version for replica in plan.replicas))
    return [
        f"Each script needs vLLM {version} on its node; the flags are those of that release.",
        "Run each script on the node it names. MODEL, PORT, MASTER_ADDR and MASTER_PORT can be set in the environment;",
        "flags given to a script are added to its own. MASTER_ADDR must be an address of the first node of a replica",
        "that the others reach over the fabric. The .yaml beside each script holds the same options for --config; the",
        "environment variables of the script are needed with it too.",
        *(f"Then run {artifact.path} on any host that reaches them: it spreads requests." for artifact in routers),
        TOKEN,
    ]
