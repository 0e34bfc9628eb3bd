"""Tables for people: all that DESIGN promises is there, nothing is cut off, names are not read as markup."""

import handmade
import pytest
from rich.console import Console, RenderableType

from optimizer.errors import InfeasibleError
from optimizer.plan import Objective, Reservation
from optimizer.report.candidates import candidate_table, seconds_table
from optimizer.report.estimated import estimated
from optimizer.report.models import workload_line
from optimizer.report.relaxed import infeasible
from optimizer.report.solved import amount, proof_line, solved
from optimizer.report.tables import Screen, memory_bar, of_capacity, percent


def shown(renderable: RenderableType, width: int = 80) -> str:
    console = Console(width=width, markup=False, highlight=False, emoji=False, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


@pytest.mark.parametrize("width", [80, 140])
def test_solve_tells_layout_seats_latency_memory_proof_and_reasons(width: int) -> None:
    text = shown(solved(handmade.plan(), {"solve": 0.8}, Screen(width)), width)
    for part in (
        "TP4 x PP1 x DP4", "16 GPUs", "optimal, bound 30,720 output", "gap 0.00%, 0.8 s", "TTFT 250 ms", "TPOT 30.1 ms",
        "30,720", "node02", "4 5 6 7", "129.0", "█", "tp4 *", "-15% tokens/s", "Where the time goes",
    ):  # fmt: skip
        assert part in text
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text


def test_an_unproven_plan_is_not_called_optimal() -> None:
    objective = Objective(name="throughput", value=90.0, bound=100.0, gap=10 / 90, unit="tokens/s")
    line = proof_line(handmade.plan(status="feasible", objective=objective), {})
    assert line == "feasible, bound 100 tokens/s, gap 11.11%"


def test_each_node_of_a_replica_has_a_line_with_its_stages() -> None:
    plan = handmade.plan(handmade.replica([("node01", list(range(8))), ("node02", list(range(8)))], tp=8, pp=2))
    lines = [line.split() for line in shown(solved(plan, {}, Screen())).splitlines()]
    assert ["0", "node01", "0", "0-7", *"01234567"] in lines
    assert ["0", "node02", "1", "8-15", *"01234567"] in lines
    one_node = handmade.plan(handmade.replica([("node01", [0, 1, 4, 5])], tp=2, pp=2))
    assert ["0", "node01", "0-1", "0-3", *"01|45"] in [
        line.split() for line in shown(solved(one_node, {}, Screen())).splitlines()
    ]


def test_many_nodes_are_counted_not_listed() -> None:
    plan = handmade.plan(*(handmade.replica([(f"n{i}", [0])], tp=1) for i in range(50)))
    assert "and 10 more lines" in shown(solved(plan, {}, Screen()))


def test_names_with_brackets_are_shown_as_they_are() -> None:
    plan = handmade.plan(handmade.replica([("rack[bold]:smile:", [0])], tp=1))
    assert "rack[bold]:smile:" in shown(solved(plan, {}, Screen()), 120)


def test_reserved_bandwidth_is_summed_by_boundary() -> None:
    share = (Reservation(domain="node01", bytes_per_s=25e9),)
    one = handmade.replica([("node01", [0])], tp=1, reservations=share)
    other = handmade.replica([("node01", [1])], tp=1, reservations=share)
    assert "50 GB/s" in shown(solved(handmade.plan(one, other), {}, Screen()))


def test_the_workload_is_told_in_one_line() -> None:
    told = workload_line(
        handmade.workload(isl={"mean": 9, "cv": 0.5}, slo={"ttft": "1 s", "percentile": 90}, concurrency=3)
    )
    assert told == "ISL 9 (cv 0.5), OSL 512, 3 requests in flight, TTFT <= 1 s at p90"
    assert workload_line(handmade.workload(request_rate="20 /s")) == "ISL 2048, OSL 512, 20 requests/s"


def test_a_bar_shows_each_part_and_never_overflows() -> None:
    assert memory_bar((50, 25), 100, width=8) == "████▓▓░░"
    assert memory_bar((50, 100), 100, width=8) == "████▓▓▓▓"
    assert memory_bar((50, 25), 100, width=8, unicode=False) == "####==.."
    assert of_capacity(2**30, 2**31) == "1.0 of 2.0 GiB"
    assert (percent(0.5), percent(0.004), percent(0)) == ("50 %", "0.4 %", "0 %")


def test_estimate_tells_the_ledger_of_equal_ranks_once() -> None:
    text = shown(estimated("Llama", handmade.estimate(4, 2), {"version": "0.33.0"}, Screen()))
    assert "0-1" in text
    assert "2-3" in text
    for part in ("TTFT", "TPOT", "gemm", "collectives", "version", "0.33.0", "fits"):
        assert part in text


def test_infeasible_tells_the_nearest_miss_and_what_helps() -> None:
    text = shown(infeasible(InfeasibleError("no", nearest_miss=("a misses 1 GiB",), remedies=("fp8",))))
    assert "a misses 1 GiB" in text
    assert "fp8" in text


def test_candidates_name_what_they_do_not_share() -> None:
    rows = handmade.candidates()
    mixed = (rows[0], rows[1].model_copy(update={"weights": "fp8"}))
    assert "tp8 fp8" in shown(candidate_table("t", mixed, Screen(140)), 140)
    assert "tp8 fp8" not in shown(candidate_table("t", rows, Screen(140)), 140)
    assert "No layout" in shown(candidate_table("t", (), Screen()))
    assert shown(seconds_table(())) == ""


def test_an_objective_in_seconds_is_told_in_a_unit_that_suits_it() -> None:
    assert amount(0.00818652, "s per output token") == "8.19 ms per output token"
    assert amount(12.5, "USD/h") == "12.5 USD/h"
