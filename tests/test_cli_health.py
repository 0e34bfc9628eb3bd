"""What is broken, end to end: `tpopt solve --json` keeps off it and says what it costs."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from optimizer.cli import run

HGX: dict[str, Any] = {"gpu": "h200-sxm", "gpus": 8, "nvswitch": {}, "nics": {"count": 8, "bandwidth": "400 Gb/s"}}
PCIE: dict[str, Any] = {"gpu": "l40s", "gpus": 4, "pcie": {"gpus_per_switch": 2}}


def solve(
    folder: Path, capsys: pytest.CaptureFixture[str], template: dict[str, Any], nodes: int, *options: str, **more: Any
) -> dict[str, Any]:
    cluster = {"name": "c", "nodes": [{"name": f"n[1-{nodes}]", "template": "t"}], "templates": {"t": template}} | more
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(cluster))
    assert run(["solve", str(path), "llama-3.1-70b", "--json", *options]) == 0
    plan: dict[str, Any] = json.loads(capsys.readouterr().out)
    return plan


def seats(plan: dict[str, Any]) -> set[str]:
    return {f"{seat['node']}/{seat['local_index']}" for replica in plan["replicas"] for seat in replica["seats"]}


def over(match: dict[str, Any], **effect: Any) -> dict[str, Any]:
    return {"match": match, **effect}


NVLINK = {"node": "n1", "gpu": 3, "link": "nvlink"}
SPLIT = {"kind": "rail-clos", "nodes_per_leaf": 1}
SLOWER: dict[str, tuple[dict[str, Any], int, str, dict[str, Any], dict[str, Any]]] = {
    "a slow GPU": (HGX, 1, "tp=8,pp=1", {}, over({"node": "n1", "gpu": 3}, speed_factor=0.5)),
    "12 of 18 NVLinks": (HGX, 1, "tp=8,pp=1", {}, over(NVLINK, links_active="12/18")),
    "NVLink down": (HGX, 1, "tp=4,pp=1", {}, over(NVLINK, state="down")),
    "a NIC down": (HGX, 2, "tp=16,pp=1", {"fabric": SPLIT}, over({"node": "n2", "nic": 4}, state="down")),
    "a NIC at 200G": (HGX, 2, "tp=16,pp=1", {"fabric": SPLIT}, over({"node": "n2", "nic": 4}, bandwidth="200 Gb/s")),
    "14 of 18 uplinks": (HGX, 2, "tp=16,pp=1", {"fabric": SPLIT}, over({"leaf": "su1"}, uplinks="14/18")),
    "PCIe downtrained": (PCIE, 1, "tp=4,pp=1", {}, over({"node": "n1", "gpu": 1, "link": "pcie"}, bandwidth="4 GB/s")),
}  # fmt: skip


@pytest.mark.parametrize("name", SLOWER)
def test_a_fault_that_slows_the_plan_is_told_with_its_cost(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template, nodes, fix, more, override = SLOWER[name]
    broken = solve(tmp_path, capsys, template, nodes, "--fix", fix, overrides=[override], **more)
    sound = solve(tmp_path, capsys, template, nodes, "--fix", fix, **more)
    (cost,) = broken["faults"]
    assert cost["overrides"] == [0]
    assert cost["value_without"] == sound["objective"]["value"] > broken["objective"]["value"]
    assert cost["loss_fraction"] == pytest.approx(1 - broken["objective"]["value"] / cost["value_without"])
    assert sound["faults"] == []


@pytest.mark.parametrize("state", ["lost", "down", "cordoned", "drained", "reserved"])
def test_no_rank_sits_on_a_gpu_that_may_not_be_used(
    state: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marked = over({"node": "n1", "gpu": 5}, state=state, reason="Xid 79")
    plan = solve(tmp_path, capsys, HGX, 1, "--fix", "pp=1", overrides=[marked])
    assert seats(plan)
    assert "n1/5" not in seats(plan)
    told = [cost["fault"] for cost in plan["faults"]]
    assert told == ([f"GPU 5 of n1 is {state} (Xid 79)"] if state in ("lost", "down") else [])


@pytest.mark.parametrize("state", ["down", "cordoned", "drained", "reserved"])
def test_no_rank_sits_on_a_node_that_may_not_be_used(
    state: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marked = over({"node": "n2"}, state=state)
    plan = solve(tmp_path, capsys, HGX, 2, "--fix", "tp=8,pp=1", overrides=[marked], fabric={"kind": "rail-clos"})
    assert {seat.split("/")[0] for seat in seats(plan)} == {"n1"}


def test_a_gpu_off_nvlink_is_left_out_of_groups_and_its_cost_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    off = over({"node": "n1", "gpu": 2, "link": "nvlink"}, state="down", reason="inactive")
    plan = solve(tmp_path, capsys, HGX, 1, "--fix", "tp=4,pp=1", overrides=[off])
    assert "n1/2" not in seats(plan)
    assert plan["faults"][0]["fault"] == "NVLink of GPU 2 of n1 is down (inactive)"
    assert plan["faults"][0]["loss_fraction"] > 0.3


def test_faults_that_are_alike_are_asked_about_once_and_all_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = [over({"node": node, "gpu": 5}, state="lost") for node in ("n1", "n2")]
    plan = solve(tmp_path, capsys, HGX, 2, "--fix", "tp=4,pp=1", overrides=lost)
    assert [(cost["fault"], cost["overrides"]) for cost in plan["faults"]] == [
        ("all 2 faults together", [0, 1]),
        ("GPU 5 of n1 is lost (one of 2 alike)", [0, 1]),
    ]
    together, one = (cost["loss_fraction"] for cost in plan["faults"])
    assert together == pytest.approx(0.5)
    assert one == pytest.approx(1 / 3)


def test_faults_that_change_nothing_are_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    idle = [over({"node": "n1", "nic": nic}, state="down") for nic in (0, 1, 2)]
    plan = solve(tmp_path, capsys, HGX, 1, "--fix", "tp=8,pp=1", overrides=idle)
    assert [(cost["fault"], cost["loss_fraction"]) for cost in plan["faults"]] == [("all 3 faults together", 0.0)]


def test_faults_are_not_asked_about_when_the_user_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lost = [over({"node": "n1", "gpu": 5}, state="lost")]
    assert solve(tmp_path, capsys, HGX, 1, "--fix", "tp=4,pp=1", "--no-faults", overrides=lost)["faults"] == []


def test_what_repair_would_allow_is_a_remedy_when_nothing_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = [over({"node": "n1", "gpu": gpu}, state="lost") for gpu in range(1, 8)]
    cluster = {"name": "c", "nodes": [{"name": "n1", "template": "t"}], "templates": {"t": HGX}, "overrides": lost}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(cluster))
    assert run(["solve", str(tmp_path / "c.yaml"), "llama-3.1-405b", "--json"]) == 1
    remedies = json.loads(capsys.readouterr().out)["remedies"]
    assert any("repair what is broken (GPU 1 of n1 is lost; " in remedy for remedy in remedies)


def test_a_missing_bandwidth_leaves_out_only_the_seats_that_need_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = {"gpu": "l40s", "gpus": 8, "pcie": {"sockets": 2}}
    plan = solve(tmp_path, capsys, box, 1, "--fix", "tp=4,pp=1")
    assert plan["totals"]["replicas"] == 2
    assert any("socket_bandwidth: missing" in note for note in plan["provenance"]["notes"])
    assert run(["solve", str(tmp_path / "cluster.yaml"), "llama-3.1-70b", "--fix", "tp=8"]) == 2
    assert "templates.t.pcie.socket_bandwidth: missing" in capsys.readouterr().err
