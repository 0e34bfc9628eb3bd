"""Our own hosts: every first token has a price, and what is steady is met unseen."""

import fit_tables
import hosts
from report import check


def test_every_first_token_of_every_host_is_priced() -> None:
    found = hosts.hosts()
    assert {measured.host: len(measured.runs) for measured in found} == {
        "4 H200": 9, "2 H100 (a), engines side by side": 5, "1 H100 (b)": 3, "1 H100 (b), one process": 1,
        "2 H100 (c), one process": 2, "2 H100 (c)": 1,
    }  # fmt: skip
    assert all(hosts.price(measured.rows).unpriced == () for measured in found)


def test_an_engine_in_one_process_with_its_front_end_is_met_unseen() -> None:
    (steady,) = (measured for measured in hosts.hosts() if measured.host == "1 H100 (b), one process")
    assert hosts.price(steady.rows).metrics["ttft"].mape < 0.05


def test_two_figures_describe_a_slow_host_also_to_runs_they_were_not_taken_from() -> None:
    found = next(measured for measured in hosts.hosts() if "(a)" in measured.host).fitted()
    assert found.left_out is not None
    assert found.fitted.mape < found.left_out.mape < 0.6 * found.shipped.mape


def test_decode_holds_on_hosts_whose_first_tokens_do_not() -> None:
    found = check(fit_tables.table(hosts.DATA / "h100_hosts.csv"))
    assert found.unpriced == ()
    assert found.metrics["tpot"].mape < 0.03
    assert found.metrics["ttft"].mape > 0.1
