"""What a cluster says of its hosts takes the place of the host on which the constants were fitted."""

import json
from pathlib import Path

import pytest

from optimizer.cli import run
from optimizer.errors import InputError
from optimizer.inputs import presets
from optimizer.inputs.cluster import ClusterSpec
from optimizer.inputs.read import read_cluster

CLUSTER = """\
name: slow-hosts
nodes: [{name: n1, template: hgx-h100}]
templates: {hgx-h100: {gpu: h100-sxm, gpus: 8, nvswitch: {}}}
"""
HOST = 'host: {launch: "90 us", piece: "120 us", source: "timed here"}\n'


def read(tmp_path: Path, text: str) -> ClusterSpec:
    (tmp_path / "cluster.yaml").write_text(text)
    return read_cluster(str(tmp_path / "cluster.yaml"))


def test_a_cluster_that_says_nothing_of_its_hosts_is_priced_with_what_ships(tmp_path: Path) -> None:
    cluster = read(tmp_path, CLUSTER)
    assert presets.calibration_of(cluster, "h100-sxm") is presets.load_calibration(cluster.gpus["h100-sxm"])


def test_stated_figures_replace_those_of_the_fitted_host_and_no_other_constant(tmp_path: Path) -> None:
    cluster = read(tmp_path, CLUSTER + HOST)
    shipped, stated = presets.load_calibration(cluster.gpus["h100-sxm"]), presets.calibration_of(cluster, "h100-sxm")
    assert (stated.host.launch, stated.host.piece) == pytest.approx((90e-6, 120e-6))
    kept = {"launch": shipped.host.launch, "piece": shipped.host.piece}
    assert stated.host.model_copy(update=kept) == shipped.host
    assert "host" in shipped.borrowed
    assert "host" not in stated.borrowed
    assert stated.sources["host"] == "timed here"
    same = {"host": shipped.host, "borrowed": shipped.borrowed, "sources": shipped.sources}
    assert stated.model_copy(update=same) == shipped
    assert presets.calibration_of(cluster, "h100-sxm") is stated


def test_hosts_read_back_from_what_is_written(tmp_path: Path) -> None:
    cluster = read(tmp_path, CLUSTER + HOST)
    assert ClusterSpec.model_validate_json(cluster.model_dump_json()) == cluster


def test_a_figure_that_no_host_has_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="launch"):
        read(tmp_path, CLUSTER + 'host: {lanch: "90 us"}\n')


def priced(tmp_path: Path, host: str, isl: int, capsys: pytest.CaptureFixture[str]) -> tuple[float, float]:
    read(tmp_path, CLUSTER + host)
    degrees = ["--tp", "1", "--pp", "1", "--batch", "1", "--isl", str(isl), "--osl", "16", "--json"]
    assert run(["estimate", str(tmp_path / "cluster.yaml"), "llama-3.1-8b", *degrees]) == 0
    told = json.loads(capsys.readouterr().out)
    return told["ttft_s"], told["tpot_s"]


def test_slow_launches_delay_short_prompts_and_neither_long_ones_nor_decode(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short, long = (
        [priced(tmp_path, host, isl, capsys) for host in ("", 'host: {launch: "90 us", piece: "120 us"}')]
        for isl in (128, 8192)
    )
    assert short[1][0] > 1.3 * short[0][0]
    assert short[1][1] == short[0][1]
    assert long[1] == long[0]


def test_plans_for_hosts_that_were_timed_are_checked_with_the_same_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read(tmp_path, CLUSTER + HOST)
    question = [str(tmp_path / "cluster.yaml"), "llama-3.1-8b", "--max-gpus", "1", "--objective", "ttft"]
    assert run(["solve", *question, "--json"]) == 0
    told = capsys.readouterr().out
    assert "timed here" in told
    assert "host not measured" not in told
