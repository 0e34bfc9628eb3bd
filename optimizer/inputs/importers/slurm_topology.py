"""`scontrol show topology`: leaves or blocks as the running controller has them.

Unlike topology.conf it lists at every switch above the leaves all nodes below it; only those of level 0 are places.
"""

import re

from optimizer.inputs.importers.facts import Facts, Finding, Pasted
from optimizer.inputs.importers.slurm_conf import Unit, facts, hostlist

KIND = "scontrol show topology"
SHOWN = re.compile(
    r"^[ \t]*(?:SwitchName=\S+[ \t]+Level=|BlockName=\S+[ \t]+BlockIndex=)", re.IGNORECASE | re.MULTILINE
)
"""What the tool prints and a configuration file does not have."""
_SETTING = re.compile(r"(\w+)=(\S+)")


def recognises(pasted: Pasted) -> bool:
    """Whether the text has a line of the tool."""
    return SHOWN.search(pasted.text) is not None


def read(pasted: Pasted) -> Facts:
    """Return the nodes with their leaf and pod, or with their block."""
    switches: list[Unit] = []
    blocks: list[Unit] = []
    findings: list[Finding] = []
    for number, line in enumerate(pasted.text.split("\n"), start=1):
        if not SHOWN.match(line):
            continue
        settings = {key.lower(): value for key, value in _SETTING.findall(line)}
        where = f"{pasted.where}:{number}"
        if "switchname" in settings:
            nodes = settings.get("nodes", "") if settings.get("level") == "0" else ""
            below = hostlist(settings.get("switches", ""), where, findings)
            switches.append(Unit(settings["switchname"], hostlist(nodes, where, findings), below))
        else:
            blocks.append(Unit(settings["blockname"], hostlist(settings.get("nodes", ""), where, findings)))
    return facts(switches, blocks, pasted.where, KIND, findings)
