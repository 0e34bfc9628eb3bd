"""Slurm jobs submitted for real to a cluster on loopback: every rank must find itself on its planned seat."""

import json
import shutil
from pathlib import Path

import fake_slurm
import handmade

from optimizer.export import EXPORTERS
from optimizer.export.launch.seating import launches
from optimizer.plan import Plan

_SLEEP_S = 3
_STAND_IN = """#!/usr/bin/env python3
import json, os, sys, time
told = {name: os.environ.get(name) for name in ("SLURMD_NODENAME", "SLURM_PROCID", "CUDA_VISIBLE_DEVICES")}
with open(SEATS, "a") as file:
    file.write(json.dumps({**told, "argv": sys.argv[1:], "began": time.time()}) + "\\n")
time.sleep(SLEEP)
"""
missing = fake_slurm.missing


def answers(plans: dict[str, Plan], scratch: Path) -> dict[str, str | None]:
    """Return for every job what is wrong with it, None when its ranks sat where planned, all at the same time."""
    if scratch.exists():
        shutil.rmtree(scratch)
    seats = scratch / "seats.jsonl"
    program = scratch / "bin" / "vllm"
    program.parent.mkdir(parents=True)
    program.write_text(_STAND_IN.replace("SEATS", repr(str(seats))).replace("SLEEP", str(_SLEEP_S)))
    program.chmod(0o755)
    found: dict[str, str | None] = {}
    backwards = handmade.replica([("node03", list(range(8))), ("node02", list(range(8)))], tp=8, pp=2)
    every = {**plans, "backwards": handmade.plan(backwards)}
    with fake_slurm.cluster(scratch / "cluster") as environment:
        environment = environment | {"PATH": f"{program.parent}:{environment['PATH']}"}
        for name, plan in every.items():
            found[name] = _run(plan, scratch / name, seats, environment)
        found |= _broken(scratch / "tp8", environment)
    return found


def _run(plan: Plan, folder: Path, seats: Path, environment: dict[str, str]) -> str | None:
    folder.mkdir()
    for artifact in EXPORTERS["slurm"](plan):
        (folder / artifact.path).write_text(artifact.text)
    for job in sorted(folder.glob("*.sbatch")):
        for words in (["sbatch", "--test-only", job.name], ["sbatch", "--wait", job.name]):
            done = fake_slurm.run(words, environment, folder)
            if done.returncode:
                return f"{' '.join(words)}: {done.stderr.strip()}"
    told = [json.loads(line) for line in seats.read_text().splitlines()] if seats.exists() else []
    seats.unlink(missing_ok=True)
    return _compare(plan, told)


def _compare(plan: Plan, told: list[dict[str, object]]) -> str | None:
    planned = sorted((x.node, str(x.node_rank), ",".join(x.devices)) for x in launches(plan))
    sat = sorted((str(t["SLURMD_NODENAME"]), str(t["SLURM_PROCID"]), str(t["CUDA_VISIBLE_DEVICES"])) for t in told)
    if planned != sat:
        return f"planned {planned}, sat {sat}"
    by_node: dict[str, list[float]] = {}
    for one in told:
        by_node.setdefault(str(one["SLURMD_NODENAME"]), []).append(float(str(one["began"])))
    late = {node: max(times) - min(times) for node, times in by_node.items()}
    return next((f"steps on {node} wait {s:.1f} s for one another" for node, s in late.items() if s > _SLEEP_S), None)


def _broken(folder: Path, environment: dict[str, str]) -> dict[str, str | None]:
    job = next(folder.glob("*.sbatch"))
    text = job.read_text()
    found: dict[str, str | None] = {}
    for old, new in (("--gpus-per-node=8", "--gpus-per-node=9"), ("--nodelist=node01", "--nodelist=node09")):
        job.write_text(text.replace(old, new))
        done = fake_slurm.run(["sbatch", "--test-only", job.name], environment, folder)
        found[f"broken {new}"] = done.stderr.strip() if done.returncode else None
    return found
