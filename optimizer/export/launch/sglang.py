"""The SGLang command of a launch.

Rules: SGLang 0.5.23, srt/arg_groups/fields/parallel.py and srt/managers. GPUs of a server = TP x PP; attention replicas
lie inside the TP group and add none; several replicas are separate servers behind a router.
"""

import json
from collections.abc import Iterator

from optimizer.export.launch import nics
from optimizer.export.launch.command import (
    LOADED_AS,
    Command,
    Names,
    check_pair,
    checkpoint,
    device_environment,
    half_precision,
    is_converted,
    network_environment,
    share_text,
)
from optimizer.export.launch.refusal import refuse
from optimizer.export.launch.seating import Launch
from optimizer.export.launch.words import Option, Ref, Word
from optimizer.inputs import presets


def command(launch: Launch, version: str | None = None) -> Command:
    """Return the command in the words of ``version`` (None: the plan's); InputError when SGLang cannot start it."""
    _check(launch)
    names = Names(presets.load_flags("sglang", version or launch.replica.engine.version))
    model = checkpoint(launch)
    return Command(
        program=("sglang", "serve"),
        model=model,
        serving=(names.option("model", model), *_serving(launch, names)),
        layout=tuple(_layout(launch, names)),
        nodes=tuple(_nodes(launch, names)),
        engine=(*_precision(launch, names), *_limits(launch, names), *_transfer(launch, names)),
        environment=tuple(_environment(launch, names)),
    )


def _check(launch: Launch) -> None:
    replica, where = launch.replica, f"replica {launch.number}"
    if replica.pcp > 1:
        raise refuse(where, f"prefill context parallelism {replica.pcp} is only known for vLLM")
    if launch.gpu.vendor == "intel":
        raise refuse(where, f"{replica.gpu_type}: SGLang selects these devices by a plugin's rules; start it by hand")
    if replica.role != "both":
        check_pair(launch)


def _serving(launch: Launch, names: Names) -> Iterator[Option]:
    yield names.option("served_name", launch.model.name)
    yield names.option("host", "0.0.0.0")
    yield names.option("port", Ref("PORT", str(launch.api_port)))


def _layout(launch: Launch, names: Names) -> Iterator[Option]:
    replica = launch.replica
    yield names.option("tensor_parallel", replica.tp * replica.attn_dp)
    yield names.option("pipeline_parallel", replica.pp)
    if replica.attn_dp > 1:
        yield names.option("attention_data_parallel", replica.attn_dp)
        if "attention_data_parallel_switch" in names.known.flags:
            yield names.option("attention_data_parallel_switch")
    if replica.ep > 1:
        yield names.option("expert_parallel", replica.ep)
    if replica.dcp > 1:
        yield names.option("decode_context", replica.dcp)


def _nodes(launch: Launch, names: Names) -> Iterator[Option]:
    if len(launch.nodes) > 1:
        yield names.option("nodes", len(launch.nodes))
        yield names.option("node_rank", launch.node_rank)
        yield names.option("head_address", Ref("DIST_INIT_ADDR", f"{launch.head}:{launch.head_port}"))


def _precision(launch: Launch, names: Names) -> Iterator[Option]:
    half, replica = half_precision(launch), launch.replica
    if launch.model.checkpoint_scheme == "bf16":
        yield names.option("dtype", "half" if half else "bfloat16")
    if is_converted(launch):
        yield names.option("quantization", LOADED_AS[replica.weights])
    yield names.option("kv_cache_dtype", "fp8_e4m3" if replica.kv_cache == "fp8" else "auto" if half else "bf16")


def _limits(launch: Launch, names: Names) -> Iterator[Option]:
    """Yield the limits; SGLang divides those of requests and prefill among its attention replicas."""
    engine, shared = launch.replica.engine, launch.replica.attn_dp
    share = engine.gpu_memory_utilization - engine.reserve_bytes / launch.gpu.memory
    yield names.option("memory_share", share_text(share))
    yield names.option("max_model_len", engine.max_model_len)
    yield names.option("max_num_seqs", engine.max_num_seqs * shared)
    yield names.option("max_num_batched_tokens", engine.max_num_batched_tokens * shared)
    yield names.option("block_tokens", engine.block_tokens)
    if not engine.cuda_graphs:
        yield names.option("eager")
    elif engine.cuda_graph_sizes:
        yield names.option("graph_sizes", engine.cuda_graph_sizes)


def _transfer(launch: Launch, names: Names) -> Iterator[Option]:
    if launch.replica.role == "both":
        return
    yield names.option("mode", launch.replica.role)
    yield names.option("transfer_backend", "nixl")
    if launch.replica.role == "prefill":
        yield names.option("bootstrap_port", launch.transfer_port)
    each = nics.nic_of_each_seat(launch)
    if each and set(each) <= set(nics.pinned(launch)):
        yield names.option("transfer_nics", json.dumps({str(gpu): nic for gpu, nic in enumerate(each)}))


def _environment(launch: Launch, names: Names) -> Iterator[tuple[str, Word]]:
    yield from device_environment(launch)
    if launch.replica.pp > 1:
        yield names.variable("layer_partition"), ",".join(map(str, launch.replica.layers_per_stage))
    yield from network_environment(launch, transfers=launch.replica.role != "both")
