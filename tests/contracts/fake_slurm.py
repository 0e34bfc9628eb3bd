"""A Slurm cluster of four nodes with eight GPUs each that lives on the loopback interface while a check runs."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

NODES, GPUS = 4, 8
_CONF = """
ClusterName=tpopt
SlurmctldHost=localhost
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={place}/munge.sock
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool.%n
SlurmctldPidFile={place}/controller.pid
SlurmdPidFile={place}/node.%n.pid
SlurmctldLogFile={place}/controller.log
SlurmdLogFile={place}/node.%n.log
SlurmctldPort=26817
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
NodeName=node[01-04] NodeHostname=localhost Port=[27001-27004] CPUs=64 RealMemory=500000 Gres=gpu:h200:8 State=UNKNOWN
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Return what is not installed, None when the cluster can be started."""
    absent = [name for name in ("slurmctld", "slurmd", "sbatch", "munged") if shutil.which(name) is None]
    if absent:
        return f"no {', '.join(absent)} (Debian: slurmctld slurmd slurm-client munge)"
    return None if os.geteuid() == 0 else "needs root (it makes character devices in place of GPUs)"


@contextlib.contextmanager
def cluster(place: Path) -> Iterator[dict[str, str]]:
    """Start the cluster and yield the environment of its commands; everything started is ended."""
    environment = {**os.environ, "SLURM_CONF": str(place / "slurm.conf")}
    _lay(place)
    started: list[subprocess.Popen[bytes]] = []
    try:
        started.append(_daemon(["munged", "-F", "--force", *_munge(place)], environment, place))
        time.sleep(1)
        started.append(_daemon(["slurmctld", "-D", "-c"], environment, place))
        started += [_daemon(["slurmd", "-D", "-N", f"node{n:02d}"], environment, place) for n in range(1, NODES + 1)]
        _wait_until_idle(environment)
        yield environment
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
            if process.poll() is None:
                process.kill()


def _lay(place: Path) -> None:
    for name in ("state", "dev", *(f"spool.node{n:02d}" for n in range(1, NODES + 1))):
        (place / name).mkdir(parents=True, exist_ok=True)
    (place / "slurm.conf").write_text(_CONF.format(place=place))
    (place / "gres.conf").write_text(f"NodeName=node[01-04] Name=gpu Type=h200 File={place}/dev/nvidia[0-7]\n")
    for index in range(GPUS):
        device = place / "dev" / f"nvidia{index}"
        if not device.exists():
            os.mknod(device, 0o600 | 0o020000, os.makedev(1, 3))
    key = place / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)


def _munge(place: Path) -> list[str]:
    return [
        f"--key-file={place}/munge.key", f"--socket={place}/munge.sock", f"--pid-file={place}/munge.pid",
        f"--log-file={place}/munge.log", f"--seed-file={place}/munge.seed",
    ]  # fmt: skip


def _daemon(words: list[str], environment: dict[str, str], place: Path) -> "subprocess.Popen[bytes]":
    log = (place / f"{words[0]}.out").open("ab")
    return subprocess.Popen(words, env=environment, stdout=log, stderr=log, cwd=place)


def _wait_until_idle(environment: dict[str, str]) -> None:
    for _ in range(60):
        done = run(["sinfo", "-h", "-o", "%t %D"], environment)
        if done.stdout.split() == ["idle", str(NODES)]:
            return
        time.sleep(0.5)
    raise RuntimeError(f"Slurm's nodes do not come up: {done.stdout}{done.stderr}")


def run(
    words: list[str], environment: dict[str, str], folder: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run one of Slurm's commands."""
    return subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
