"""The measuring script's clockwork, driven by an engine that answers on a schedule."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from measure import checkpoint, engine, tokenizing

from optimizer.inputs import presets
from optimizer.inputs.huggingface import from_config


class Scheduled:
    """One prompt a step while any waits, else one token for everybody; a step takes a second."""

    def __init__(self, clock: list[float]) -> None:
        self._clock = clock
        self._waiting: list[tuple[str, int]] = []
        self._running: dict[str, int] = {}
        self.most = 0

    def add_request(self, request: str, prompt: dict[str, list[int]], osl: int) -> None:
        self._waiting.append((request, osl))
        self.most = max(self.most, len(self._waiting) + len(self._running))

    def has_unfinished_requests(self) -> bool:
        return bool(self._waiting or self._running)

    def step(self) -> list[Any]:
        self._clock[0] += 1
        if self._waiting:
            request, osl = self._waiting.pop(0)
            self._running[request] = osl
            return [self._token(request)]
        return [self._token(request) for request in list(self._running)]

    def _token(self, request: str) -> Any:
        self._running[request] -= 1
        finished = not self._running[request]
        if finished:
            del self._running[request]
        return SimpleNamespace(request_id=request, outputs=[SimpleNamespace(token_ids=[7])], finished=finished)


@pytest.fixture
def driven(monkeypatch: pytest.MonkeyPatch) -> tuple[engine.Driver, Scheduled]:
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    scheduled = Scheduled(clock)
    sampling: Callable[[int], int] = int
    return engine.Driver(scheduled, sampling), scheduled


@pytest.mark.parametrize(
    ("load", "value"),
    [
        (engine.Load("ttft", 1, 16, 1, 1), 1.0),
        (engine.Load("tpot", 4, 16, 9, 4), 1.0),
        (engine.Load("batch_prefill_time", 5, 16, 1, 5), 5.0),
        # two at a time, three pairs: from 2 s to 30 s, all tokens but the first two
        (engine.Load("closed_loop_output_tokens_per_s", 2, 16, 9, 6), 52 / 28),
    ],
)
def test_metrics_are_read_off_the_arrivals(
    driven: tuple[engine.Driver, Scheduled], load: engine.Load, value: float
) -> None:
    driver, scheduled = driven
    assert engine.value_of(load, driver.run(load)) == pytest.approx(value)
    assert scheduled.most == load.concurrency


def test_a_load_that_does_not_fit_the_pool_is_left_out(driven: tuple[engine.Driver, Scheduled]) -> None:
    driver, _ = driven
    written = list(engine.rows(driver, kv_tokens=9000))
    assert written[0] == {"metric": "kv_tokens", "value": 9000, "unit": "tokens", "repeats": 1}
    assert len(written) == 1 + sum(load.concurrency * (load.isl + load.osl) <= 9000 for load in engine.LOADS)
    assert all(float(str(row["value"])) > 0 for row in written)


@pytest.mark.parametrize("name", ["llama-3.1-8b", "llama-3.2-3b", "qwen3-8b", "qwen3-30b-a3b"])
def test_a_checkpoint_written_from_a_preset_reads_back_as_its_layers(name: str) -> None:
    preset = presets.load_model(name)
    read = from_config(checkpoint.config_of(preset), name=name, where="config.json")
    assert read.runs == preset.runs
    assert (read.hidden, read.vocab, read.tied_embeddings) == (preset.hidden, preset.vocab, preset.tied_embeddings)


def test_tokenizing_takes_the_clock_of_the_processor_over_the_tokens_that_come_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr("time.process_time", lambda: float(next(ticks)))

    def encode(text: str) -> SimpleNamespace:
        return SimpleNamespace(ids=list(text), offsets=[(at, at + 1) for at in range(len(text))])

    taken = tokenizing.seconds_per_token(SimpleNamespace(encode=encode), "x" * 100, 10)
    assert taken == [pytest.approx(0.1)] * tokenizing.REPEATS


def test_texts_are_those_of_all_folders_below_in_an_order_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("one.txt", "below/two.md", "below/three.py"):
        (tmp_path / name).write_text(name)
    assert sorted(tokenizing.texts(tmp_path)) == ["below/two.md", "one.txt"]
    assert tokenizing.texts(tmp_path, seed=1) == tokenizing.texts(tmp_path, seed=1)
