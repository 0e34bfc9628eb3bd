"""Tables for people: all that DESIGN promises is there, nothing is cut off, names are not read as markup."""

import handmade
import pytest
from rich.console import Console, RenderableType

from optimizer.errors import InfeasibleError
from optimizer.plan import Objective, Reservation
from optimizer.report.candidates import MOST_COMPARED, candidate_table, leading, seconds_table, side_by_side
from optimizer.report.estimated import estimated
from optimizer.report.models import workload_line
from optimizer.report.relaxed import infeasible
from optimizer.report.solved import boundaries, proof_line, solved
from optimizer.report.tables import Screen, amount, memory_bar, of_capacity, percent


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
        "30,720", "node[01-02]", "4 5 6 7", "129.0", "█", "tp4 *", "-15% tokens/s", "Where the time goes",
    ):  # fmt: skip
        assert part in text
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text


def test_an_unproven_plan_is_not_called_optimal() -> None:
    objective = Objective(name="throughput", value=90.0, bound=100.0, gap=10 / 90, unit="tokens/s")
    line = proof_line(handmade.plan(status="feasible", objective=objective), {})
    assert line == "feasible, bound 100 tokens/s, gap 11.11%"


def test_stages_of_a_node_are_parted_by_a_bar() -> None:
    plan = handmade.plan(handmade.replica([("node01", [0, 1, 4, 5])], tp=2, pp=2))
    assert "0        node01  0-1     0-3    0 1 | 4 5" in shown(solved(plan, {}, Screen()))


def test_full_leaves_no_layout_out() -> None:
    plan = handmade.plan()
    assert "3 of 3 layouts" in shown(solved(plan, {}, Screen(), full=True))
    assert "2 of 3 layouts" in shown(solved(plan, {}, Screen()))


def test_stages_that_hold_the_same_share_a_line_of_memory() -> None:
    plan = handmade.plan(handmade.replica([("node01", list(range(4)))], tp=1, pp=4))
    assert "0        0-3 " in shown(solved(plan, {}, Screen())).partition("Memory")[2]


def test_names_with_brackets_are_shown_as_they_are() -> None:
    plan = handmade.plan(handmade.replica([("rack[bold]:smile:", [0])], tp=1))
    assert "rack[bold]:smile:" in shown(solved(plan, {}, Screen()), 120)


def test_reserved_bandwidth_is_summed_by_boundary() -> None:
    share = (Reservation(domain="node01", bytes_per_s=25e9),)
    one = handmade.replica([("node01", [0])], tp=1, reservations=share)
    other = handmade.replica([("node01", [1])], tp=1, reservations=share)
    assert "50 GB/s" in shown(solved(handmade.plan(one, other), {}, Screen()))


@pytest.mark.parametrize(
    ("rates", "told"),
    [
        ({"n1": 25e9}, [("n1", "25 GB/s")]),
        ({"n2/nic0": 5e9, "n10/nic0": 5e9, "n2/nic1": 5e9, "n10/nic1": 5e9}, [("n[2,10]/nic[0-1]", "5 GB/s each")]),
        ({"su1/rail0": 5e9, "su1/rail1": 7e9}, [("su1/rail0", "5 GB/s"), ("su1/rail1", "7 GB/s")]),
        ({"su1": 5e9, "su2": 5e9}, [("su[1-2]", "5 GB/s each")]),
    ],
)
def test_boundaries_that_are_alike_share_a_line(rates: dict[str, float], told: list[tuple[str, str]]) -> None:
    assert list(boundaries(rates)) == told


def test_the_workload_is_told_in_one_line() -> None:
    told = workload_line(
        handmade.workload(isl={"mean": 9, "cv": 0.5}, slo={"ttft": "1 s", "percentile": 90}, concurrency=3)
    )
    assert told == "ISL 9 (cv 0.5), OSL 512, 3 requests in flight, TTFT <= 1 s at p90"
    assert workload_line(handmade.workload(request_rate="20 /s")) == "ISL 2048, OSL 512, 20 requests/s"


def test_a_demand_that_is_not_met_is_told_beside_what_is_served() -> None:
    plan = handmade.plan()
    asked = plan.inputs.model_copy(update={"workload": handmade.workload(request_rate="100 /s")})
    text = shown(solved(plan.model_copy(update={"inputs": asked}), {}, Screen(120)), 120)
    assert "60 of 100 requests/s asked for: the rest is not served" in text
    assert "asked for" not in shown(solved(plan, {}, Screen(120)), 120)


def test_a_bar_shows_each_part_and_never_overflows() -> None:
    assert memory_bar((50, 25), 100, width=8) == "████▓▓░░"
    assert memory_bar((50, 100), 100, width=8) == "████▓▓▓▓"
    assert memory_bar((50, 25), 100, width=8, unicode=False) == "####==.."
    assert of_capacity(2**30, 2**31) == "1.0 of 2.0 GiB"
    assert (percent(0.5), percent(0.004), percent(0)) == ("50 %", "0.4 %", "0 %")


def test_estimate_tells_the_ledger_of_equal_ranks_once() -> None:
    settings = {"version": "0.33.0", "cuda_graphs": True, "cuda_graph_sizes": (1, 2)}
    text = shown(estimated("Llama", handmade.estimate(4, 2), settings, Screen()))
    assert "0-1" in text
    assert "2-3" in text
    for part in ("TTFT", "TPOT", "gemm", "collectives", "version", "0.33.0", "fits", "yes", " 1, 2"):
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


def test_many_layouts_are_counted_not_listed() -> None:
    rows = [handmade.candidates()[1]] * (MOST_COMPARED + 3)
    assert "and 3 more: --full" in shown(side_by_side("t", rows, Screen(), full=False))
    assert "more: --full" not in shown(side_by_side("t", rows, Screen(), full=True))


def test_the_first_of_each_role_are_shown_wherever_they_are() -> None:
    one = handmade.candidates()[0]
    roles = ("prefill", "decode", "prefill", "decode", "prefill")
    rows = [one.model_copy(update={"role": role, "dp": n}) for n, role in enumerate(roles)]
    assert [row.dp for row in leading(rows, 1)] == [0, 1]
    assert [row.dp for row in leading(rows, 2)] == [0, 1, 2, 3]


def test_a_candidate_on_one_node_is_not_told_to_be() -> None:
    one, two = handmade.candidates()[:2]
    text = shown(candidate_table("t", (one, two.model_copy(update={"span": "2 nodes x 4 GPUs"})), Screen()))
    assert "tp8 2 nodes x 4 " in text
    assert "1 node" not in text


def test_an_objective_in_seconds_is_told_in_a_unit_that_suits_it() -> None:
    assert amount(0.00818652, "s per output token") == "8.19 ms per output token"
    assert amount(12.5, "USD/h") == "12.5 USD/h"
