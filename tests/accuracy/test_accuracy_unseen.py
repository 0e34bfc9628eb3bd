"""Engine runs that nothing was fitted to: every row is priced, and where GPUs are busy the prices hold."""

from functools import cache
from statistics import fmean

import fit_tables
from report import UNSEEN, check

from optimizer.validation import Validation


@cache
def found() -> Validation:
    return check(fit_tables.table(UNSEEN))


def test_every_row_of_the_h100_runs_is_priced() -> None:
    assert found().unpriced == ()
    assert {name: errors.n for name, errors in found().metrics.items()} == {
        "kv_tokens": 5, "ttft": 35, "tpot": 33, "batch_prefill_time": 8, "closed_loop_output_tokens_per_s": 8,
    }  # fmt: skip


def test_pool_decode_and_batch_prefill_hold_on_hardware_no_run_was_fitted_to() -> None:
    assert found().metrics["kv_tokens"].mape < 0.01
    assert found().metrics["tpot"].mape < 0.05
    assert found().metrics["batch_prefill_time"].mape < 0.05


def test_first_tokens_of_long_prompts_hold() -> None:
    rows = fit_tables.table(UNSEEN)
    long = [p.error for p in found().predictions if p.metric == "ttft" and int(rows[p.row]["isl"]) >= 4096]
    assert len(long) == 10
    assert fmean(abs(error) for error in long if error is not None) < 0.05
