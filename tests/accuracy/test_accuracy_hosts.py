"""What a host is described by: two figures, found again from first tokens that they made."""

import fit_tables
import hosts
import pytest
from report import check

from optimizer.inputs.calibration import HostFigures

ALIKE = {
    "run": "one", "model": "llama-3.1-8b", "gpu": "h200-sxm", "engine_version": "0.24.0", "metric": "ttft",
    "concurrency": "1", "osl": "1", "value": "1",
}  # fmt: skip
ROWS = [ALIKE | {"isl": "128"}, ALIKE | {"isl": "1024", "tp": "2", "num_gpus": "2"}]


def made(figures: HostFigures) -> list[dict[str, str]]:
    taken = [2.718281828459045**error for error in hosts.errors(ROWS, figures)]
    return [row | {"value": repr(seconds)} for row, seconds in zip(ROWS, taken, strict=True)]


def test_figures_are_found_again_from_the_first_tokens_they_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "FACTORS", [0.5, 1.0, 2.0, 3.0])
    shipped = hosts.best(made(HostFigures()))
    assert shipped.launch is not None
    assert shipped.piece is not None
    told = HostFigures(launch=f"{2 * shipped.launch} s", piece=f"{3 * shipped.piece} s")
    found = hosts.best(made(told))
    assert (found.launch, found.piece) == pytest.approx((told.launch, told.piece))


def test_every_first_token_of_every_host_is_priced() -> None:
    found = hosts.hosts()
    assert {host.name: len(host.runs) for host in found} == {
        "4 H200": 9, "2 H100 (a), engines side by side": 5, "1 H100 (b)": 3, "1 H100 (b), one process": 1,
        "2 H100 (c), one process": 2, "2 H100 (c)": 1,
    }  # fmt: skip
    assert all(len(hosts.errors(host.rows)) == len(host.rows) for host in found)


def test_an_engine_in_one_process_with_its_front_end_is_met_unseen() -> None:
    (steady,) = (host for host in hosts.hosts() if host.name == "1 H100 (b), one process")
    assert hosts.off(hosts.errors(steady.rows)) < 0.05


def test_decode_holds_on_hosts_whose_first_tokens_do_not() -> None:
    found = check(fit_tables.table(hosts.DATA / "h100_hosts.csv"))
    assert found.unpriced == ()
    assert found.metrics["tpot"].mape < 0.03
    assert found.metrics["ttft"].mape > 0.1
