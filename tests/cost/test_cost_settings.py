"""Engine settings: what the user says wins, the version's defaults fill the rest, unknown versions are refused."""

import pytest

from optimizer.cost.quantities import EngineSettings
from optimizer.cost.settings import most_sequences, refuses_gpu, resolve, version_facts
from optimizer.errors import InputError
from optimizer.inputs.presets import load_engine, load_gpu, load_model, names
from optimizer.inputs.workload import EngineChoice, EngineName, Lengths, WorkloadSpec

VLLM = load_engine("vllm")


def resolved(
    choice: EngineChoice | None = None, gpu: str = "h200-sxm", seqs: int | None = None, isl: int = 1024
) -> EngineSettings:
    workload = WorkloadSpec(isl=Lengths(mean=isl), osl=Lengths(mean=256))
    return resolve(choice or EngineChoice(), VLLM, load_gpu(gpu), load_model("qwen3-32b"), workload, seqs)


@pytest.mark.parametrize(
    ("version", "since"),
    [("0.8.5", "0.8"), ("0.10.1.1", "0.8"), ("0.15.2rc1", "0.11"), ("v0.19.0", "0.17"), ("0.24.0", "0.21"),
     ("0.33.0", "0.25"), ("0.33.7", "0.25")],
)  # fmt: skip
def test_facts_hold_until_the_next_entry(version: str, since: str) -> None:
    assert version_facts(VLLM, version).since == since


@pytest.mark.parametrize(("version", "nearest"), [("0.7.3", "0.8"), ("0.34.0", "0.33.0"), ("2023-12", "0.33.0")])
def test_unknown_versions_are_refused_with_the_nearest_known(version: str, nearest: str) -> None:
    with pytest.raises(InputError, match=f"nearest known: {nearest}"):
        version_facts(VLLM, version)


def test_text_that_is_no_version_is_refused() -> None:
    with pytest.raises(InputError, match="is no version"):
        version_facts(VLLM, "nightly")


@pytest.mark.parametrize(
    ("gpu", "seqs", "tokens"),
    [("b200-sxm", 1024, 16384), ("h200-sxm", 1024, 8192), ("a100-80-sxm", 256, 2048), ("l4", 256, 2048)],
)
def test_batch_limits_follow_the_memory_but_not_on_a100(gpu: str, seqs: int, tokens: int) -> None:
    settings = resolved(gpu=gpu)
    assert (settings.max_num_seqs, settings.max_num_batched_tokens) == (seqs, tokens)
    assert most_sequences(version_facts(VLLM, VLLM.latest), load_gpu(gpu)) == seqs


def test_explicit_choices_win() -> None:
    choice = EngineChoice(
        version="0.24.0", gpu_memory_utilization=0.8, max_num_seqs=100, max_num_batched_tokens=4096,
        cuda_graph_sizes=(8, 1, 2),
    )  # fmt: skip
    settings = resolved(choice, seqs=64)
    assert (settings.version, settings.gpu_memory_utilization) == ("0.24.0", 0.8)
    assert (settings.max_num_seqs, settings.max_num_batched_tokens) == (100, 4096)
    assert settings.cuda_graph_sizes == (1, 2, 8)


def test_defaults_are_the_latest_releases() -> None:
    settings = resolved(seqs=64)
    assert (settings.version, settings.gpu_memory_utilization, settings.max_num_seqs) == ("0.33.0", 0.92, 64)


@pytest.mark.parametrize(
    ("isl", "length"),
    [(256, 512), (768, 1024), (769, 2048), (1024, 2048), (40000, 40960), (100000, 40960)],
)
def test_the_context_is_the_power_of_two_that_holds_the_longest_request_within_the_model(isl: int, length: int) -> None:
    assert resolved(isl=isl).max_model_len == length


def test_captured_batches_go_to_twice_the_sequences() -> None:
    assert resolved(seqs=4).cuda_graph_sizes == (1, 2, 4, 8)
    assert resolved(seqs=1).cuda_graph_sizes == (1, 2)
    sizes = resolved(seqs=1024).cuda_graph_sizes
    assert (len(sizes), sizes[:4], sizes[-2:]) == (51, (1, 2, 4, 8), (496, 512))


def test_without_graphs_nothing_is_captured() -> None:
    assert resolved(EngineChoice(cuda_graphs=False)).cuda_graph_sizes == ()


def test_more_sequences_than_batched_tokens_raise_the_tokens() -> None:
    assert resolved(gpu="l4", seqs=4096).max_num_batched_tokens == 4096


@pytest.mark.parametrize("name", names("engines"))
def test_every_engine_knows_its_latest_release_and_orders_its_versions(name: str) -> None:
    spec = load_engine(name)
    assert version_facts(spec, spec.latest) is spec.versions[-1]
    assert [version_facts(spec, facts.since) for facts in spec.versions] == list(spec.versions)


@pytest.mark.parametrize(
    ("engine", "version", "gpu", "runs"),
    [
        ("vllm", "0.17", "v100-sxm2-32", True), ("vllm", "0.21", "v100-sxm2-32", False),
        ("vllm", "0.33.0", "mi300x", True),
        ("vllm", "0.8", "mi355x", False), ("vllm", "0.11", "mi355x", True), ("sglang", "0.5", "mi250x", False),
        ("sglang", "0.5", "t4", True), ("trtllm", "1.2.0", "mi300x", False), ("trtllm", "1.2.0", "l40s", True),
        ("trtllm", "1.2.0", "gaudi3", False),
    ],
)  # fmt: skip
def test_engines_run_on_the_architectures_that_their_versions_name(
    engine: EngineName, version: str, gpu: str, runs: bool
) -> None:
    assert (refuses_gpu(engine, version_facts(load_engine(engine), version), load_gpu(gpu)) is None) == runs


def test_a_gpu_of_an_architecture_that_nobody_named_is_not_refused() -> None:
    unknown = load_gpu("h100-sxm").model_copy(update={"architecture": "other"})
    assert refuses_gpu("vllm", version_facts(VLLM, VLLM.latest), unknown) is None
