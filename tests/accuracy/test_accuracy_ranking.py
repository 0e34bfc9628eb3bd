import pytest
import ranking


def compared(metric: str, *measured: tuple[int, float]) -> ranking.Group:
    """Return a comparison of TP degrees by their measured values, tpopt preferring the last."""
    rows = [
        {"tp": str(tp), "num_gpus": str(tp), "metric": metric, "value": repr(value), "value_per_gpu": ""}
        for tp, value in measured
    ]
    return ranking.Group("by hand", "tp_latency", rows, range(len(rows)))


def test_regret_is_what_the_choice_loses_on_the_groups_own_numbers() -> None:
    slower = compared("tpot", (8, 10.0), (2, 20.0)).regrets()
    assert slower == {"tpopt": 0.5, "largest TP": 0.0, "smallest TP": 0.5, "by metric": 0.0, "random": 0.25}
    lower = compared("output_token_throughput", (2, 100.0), (8, 80.0)).regrets()
    assert lower["tpopt"] == pytest.approx(0.2)
    assert lower["by metric"] == 0.0


@pytest.mark.parametrize(
    ("workload", "numbers"),
    [
        ("ISL1024/OSL2048 max throughput", (1024, 2048, 1)), ("prompt 512 tokens 128 batch 4", (512, 128, 4)),
        ("ISL8192/OSL1024 concurrency 16", (8192, 1024, 16)), ("prefill saturation ISL 32768", (32768, 1, 1)),
        ("ISL1024/OSL1024; best measured tok/s/GPU with TPOT<=20 ms", (1024, 1024, 20)),
    ],
)  # fmt: skip
def test_a_workload_in_words_is_lengths_and_load(workload: str, numbers: tuple[int, ...]) -> None:
    assert ranking._numbers(workload) == numbers
