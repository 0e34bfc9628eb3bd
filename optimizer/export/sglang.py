"""SGLang: one bash script for each replica and node, and a router in front of several replicas."""

from optimizer.export.artifact import Artifact
from optimizer.export.launch import router, sglang
from optimizer.export.launch.readme import TOKEN, readme
from optimizer.export.launch.scripts import script
from optimizer.export.launch.seating import check_engine, heads, launches
from optimizer.plan import Plan


def export(plan: Plan) -> tuple[Artifact, ...]:
    """Return the scripts and a README; InputError when SGLang cannot start the plan as it is."""
    started = launches(plan)
    files: list[Artifact] = []
    for launch in started:
        check_engine(launch, "sglang")
        files.append(script(launch, sglang.command(launch)))
    routers = router.scripts(heads(started))
    return (*files, *routers, readme(plan, started, _steps(plan, routers), lambda launch: f"./{launch.stem}.sh"))


def _steps(plan: Plan, routers: tuple[Artifact, ...]) -> list[str]:
    version = ", ".join(dict.fromkeys(replica.engine.version for replica in plan.replicas))
    return [
        f"Each script needs SGLang {version} on its node; the flags are those of that release.",
        "Run each script on the node it names. MODEL, PORT and DIST_INIT_ADDR (host:port of a replica's first node, as",
        "the others reach it over the fabric) can be set in the environment; flags given to a script are added.",
        *(f"Then run {artifact.path} on any host that reaches them: it spreads requests." for artifact in routers),
        TOKEN,
    ]
