"""The engine as it will be started: explicit choices win, the engine version's defaults fill the rest."""

import re
from functools import lru_cache

from optimizer.cost.quantities import EngineSettings
from optimizer.errors import InputError
from optimizer.inputs.engine import AutoReserve, EngineSpec, EngineVersion, SizeDefault
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.workload import EngineChoice, WorkloadSpec

_FIRST_SIZES = (1, 2, 4)
_FINE_STEP, _FINE_LIMIT, _COARSE_STEP = 8, 256, 16
"""vLLM captures 1, 2, 4, then every 8th batch up to 256, then every 16th (config/vllm.py, 0.33)."""


def version_facts(spec: EngineSpec, version: str) -> EngineVersion:
    """Return the facts that hold for ``version``; InputError before the first known version or after the latest."""
    wanted = _number(version, spec)
    known = [facts for facts in spec.versions if _number(facts.since, spec) <= wanted]
    if not known:
        raise InputError(
            f"engine.version: {spec.name} {version} is not known; the nearest known: {spec.versions[0].since}"
        )
    if wanted[:2] > _number(spec.latest, spec)[:2]:
        raise InputError(f"engine.version: {spec.name} {version} is not known; the nearest known: {spec.latest}")
    return known[-1]


def refuses_gpu(engine: str, facts: EngineVersion, gpu: GpuSpec) -> str | None:
    """Return why an engine does not run on a GPU, None where it does or where nobody named its architecture."""
    if gpu.architecture in (*facts.runs_on, "other"):
        return None
    return f"{engine} does not run on {gpu.id} ({gpu.architecture}), only on {', '.join(facts.runs_on)}"


def _number(version: str, spec: EngineSpec) -> tuple[int, ...]:
    """Return the leading numbers of a version: "0.15.2rc1" is (0, 15, 2)."""
    if (numbers := _numbers(version)) is None:
        raise InputError(f"engine.version: {version!r} is no version of {spec.name}; write it like {spec.latest}")
    return numbers


@lru_cache(maxsize=256)
def _numbers(version: str) -> tuple[int, ...] | None:
    found = re.match(r"v?(\d+(?:\.\d+)*)", version.strip())
    return None if found is None else tuple(int(part) for part in found[1].split("."))


def size_default(facts: EngineVersion, gpu: GpuSpec) -> SizeDefault:
    """Return the batch limits the engine chooses by itself on this GPU."""
    fitting = (
        size for size in facts.sizes if gpu.memory >= size.memory and not gpu.id.startswith(size.except_gpus or "\0")
    )
    return next(fitting, facts.sizes[-1])


def most_sequences(facts: EngineVersion, gpu: GpuSpec) -> int:
    """Return the most sequences the engine keeps in flight by default on this GPU."""
    return size_default(facts, gpu).max_num_seqs


def resolve(
    choice: EngineChoice,
    facts: EngineSpec,
    gpu: GpuSpec,
    model: ModelSpec,
    workload: WorkloadSpec,
    max_num_seqs: int | None,
    *,
    gpus: int = 1,
    prefill_ranks: int = 1,
    max_num_batched_tokens: int | None = None,
) -> EngineSettings:
    """Return the settings of one replica of ``gpus`` GPUs.

    ``max_num_seqs`` (of an attention replica) and ``max_num_batched_tokens`` are tpopt's own decisions where the
    workload's choice leaves them open, None: the default. With prefill context parallelism over ``prefill_ranks`` vLLM
    replays no whole graphs: it is started without any.

    max_model_len: the model's own wish, else the smallest power of two that holds the workload's longest request, at
    most the context.
    """
    version = choice.version or facts.latest
    known = version_facts(facts, version)
    default = size_default(known, gpu)
    sequences = choice.max_num_seqs or max_num_seqs or default.max_num_seqs
    batched = choice.max_num_batched_tokens or max(max_num_batched_tokens or default.max_num_batched_tokens, sequences)
    graphs = choice.cuda_graphs and prefill_ranks == 1
    rows = sequences * (1 + workload.speculative.draft_tokens if workload.speculative else 1)
    sizes = _graph_sizes(choice, known, rows) if graphs else ()
    share = choice.gpu_memory_utilization
    if share is None:
        share = _automatic_share(known, gpu, batched, sizes, gpus)
    return EngineSettings(
        name=facts.name,
        version=version,
        gpu_memory_utilization=share,
        max_num_seqs=sequences,
        max_num_batched_tokens=batched,
        max_model_len=model.max_model_len or min(model.context, _power_of_two(workload.longest_tokens)),
        block_tokens=known.block_tokens,
        cuda_graphs=graphs,
        cuda_graph_sizes=sizes,
        reserve_bytes=choice.reserve or 0,
        fragmentation=choice.fragmentation or 0.0,
    )


def _power_of_two(tokens: int) -> int:
    return 1 << max(0, tokens - 1).bit_length()


def _graph_sizes(choice: EngineChoice, facts: EngineVersion, rows: int) -> tuple[int, ...]:
    """Return the captured batches: the user's, else vLLM's list up to twice the rows of a full decode step.

    Never beyond the engine's limit. With drafts every sequence has several rows (vLLM, max_cudagraph_capture_size).
    """
    if choice.cuda_graph_sizes:
        return tuple(sorted(set(choice.cuda_graph_sizes)))
    most = min(2 * rows, facts.graph_batch_limit)
    fine = range(_FINE_STEP, min(most + 1, _FINE_LIMIT), _FINE_STEP)
    coarse = range(_FINE_LIMIT, most + 1, _COARSE_STEP)
    return (*(size for size in _FIRST_SIZES if size <= most), *fine, *coarse)


def _automatic_share(facts: EngineVersion, gpu: GpuSpec, batched: int, sizes: tuple[int, ...], gpus: int) -> float:
    """Return the share the engine chooses: its default, or what its reserve leaves, to three digits (SGLang)."""
    rule = facts.auto_reserve
    if rule is None:
        return facts.gpu_memory_utilization
    reserve = _reserve_bytes(rule, batched, sizes[-1] if sizes else 0, gpus)
    if gpu.memory > rule.least_from_memory:
        reserve = max(reserve, rule.least)
    return max(0.0, round((gpu.memory - reserve) / gpu.memory, 3))


def _reserve_bytes(rule: AutoReserve, batched: int, largest_graph: int, gpus: int) -> int:
    prefill = max(batched, rule.least_prefill_tokens) * rule.per_prefill_token
    return rule.base + prefill + gpus * rule.per_gpu + largest_graph * rule.per_graph_batch
