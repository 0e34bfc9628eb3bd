"""The vLLM command of a launch.

Rules: vLLM 0.33.0, vllm/engine/arg_utils.py, vllm/config/parallel.py, vllm/v1/executor/vllm_net_devices.py. Without
Ray: equal GPUs per node, ranks node by node, TP fastest; attention replicas are vLLM's data parallelism.
"""

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
    """Return the command in the words of ``version`` (None: the plan's); InputError when vLLM cannot start it."""
    _check(launch)
    names = Names(presets.load_flags("vllm", version or launch.replica.engine.version))
    model = checkpoint(launch)
    return Command(
        program=("vllm", "serve", model),
        model=model,
        serving=tuple(_serving(launch, names)),
        layout=tuple(_layout(launch, names)),
        nodes=tuple(_nodes(launch, names)),
        engine=(*_precision(launch, names), *_limits(launch, names), *_transfer(launch, names)),
        environment=tuple(_environment(launch, names)),
    )


def _check(launch: Launch) -> None:
    replica, where = launch.replica, f"replica {launch.number}"
    group = replica.tp * replica.pcp * replica.attn_dp
    if replica.ep not in (1, group):
        raise refuse(where, f"EP {replica.ep}: vLLM spreads experts over all {group} ranks of a stage or none")
    if len({gpu.memory for gpu in launch.gpus}) > 1 and replica.engine.reserve_bytes:
        raise refuse(
            where, "a reserve of memory on GPUs of several sizes: vLLM takes one share of all",
            remedy="solve again without engine.reserve, with a lower gpu_memory_utilization",
        )  # fmt: skip
    if launch.gpu.vendor == "intel":
        raise refuse(where, f"{replica.gpu_type}: vLLM selects these devices by a plugin's rules; start it by hand")
    if replica.role != "both":
        check_pair(launch)


def _serving(launch: Launch, names: Names) -> Iterator[Option]:
    yield names.option("served_name", launch.model.name)
    if launch.is_head:
        yield names.option("host", "0.0.0.0")
        yield names.option("port", Ref("PORT", str(launch.api_port)))


def _layout(launch: Launch, names: Names) -> Iterator[Option]:
    replica = launch.replica
    yield names.option("tensor_parallel", replica.tp)
    yield names.option("pipeline_parallel", replica.pp)
    if replica.attn_dp > 1:
        yield names.option("data_parallel", replica.attn_dp)
    if replica.ep > 1:
        yield names.option("expert_parallel")
    if replica.dcp > 1:
        yield names.option("decode_context", replica.dcp)
    if replica.pcp > 1:
        yield names.option("prefill_context", replica.pcp)


def _nodes(launch: Launch, names: Names) -> Iterator[Option]:
    """Yield how nodes meet: whole data-parallel ranks per node by DP flags, else one group over all nodes."""
    if len(launch.nodes) == 1:
        return
    address = Ref("MASTER_ADDR", launch.head)
    replica = launch.replica
    one_rank = replica.tp * replica.pcp * replica.pp
    if replica.attn_dp > 1 and len(launch.seats) % one_rank == 0:
        local = len(launch.seats) // one_rank
        yield names.option("data_parallel_local", local)
        if not launch.is_head:
            yield names.option("data_parallel_start", local * launch.node_rank)
        yield names.option("data_parallel_address", address)
        yield names.option("data_parallel_port", Ref("MASTER_PORT", str(launch.head_port)))
    elif replica.attn_dp > 1 and one_rank % len(launch.seats):
        raise refuse(
            f"replica {launch.number}", f"{one_rank} GPUs of an attention replica do not fill whole nodes of "
            f"{len(launch.seats)}",
        )  # fmt: skip
    else:
        yield names.option("executor", "mp")
        yield names.option("nodes", len(launch.nodes))
        yield names.option("node_rank", launch.node_rank)
        yield names.option("head_address", address)
        yield names.option("head_port", Ref("MASTER_PORT", str(launch.head_port)))
    if not launch.is_head:
        yield names.option("headless")


def _precision(launch: Launch, names: Names) -> Iterator[Option]:
    half, replica = half_precision(launch), launch.replica
    if launch.model.checkpoint_scheme == "bf16":
        yield names.option("dtype", "half" if half else "bfloat16")
    if is_converted(launch):
        yield names.option("quantization", LOADED_AS[replica.weights])
    yield names.option("kv_cache_dtype", "fp8" if replica.kv_cache == "fp8" else "auto" if half else "bfloat16")


def _limits(launch: Launch, names: Names) -> Iterator[Option]:
    engine = launch.replica.engine
    share = engine.gpu_memory_utilization - engine.reserve_bytes / launch.gpu.memory
    yield names.option("memory_share", share_text(share))
    yield names.option("max_model_len", engine.max_model_len)
    yield names.option("max_num_seqs", engine.max_num_seqs)
    yield names.option("max_num_batched_tokens", engine.max_num_batched_tokens)
    yield names.option("block_tokens", engine.block_tokens)
    if not engine.cuda_graphs:
        yield names.option("eager")
    elif engine.cuda_graph_sizes:
        yield names.option("graph_sizes", engine.cuda_graph_sizes)


def _transfer(launch: Launch, names: Names) -> Iterator[Option]:
    roles = {"prefill": "kv_producer", "decode": "kv_consumer"}
    if launch.replica.role in roles:
        transfer = {"kv_connector": "NixlConnector", "kv_role": roles[launch.replica.role]}
        yield names.option("kv_transfer", transfer)


def _environment(launch: Launch, names: Names) -> Iterator[tuple[str, Word]]:
    replica, split = launch.replica, launch.replica.role != "both"
    yield from device_environment(launch)
    if replica.pp > 1:
        yield names.variable("layer_partition"), ",".join(map(str, replica.layers_per_stage))
    if replica.pcp > 1:
        yield names.variable("second_runner"), "1"  # the first has no prefill context parallelism
    if split:
        yield names.variable("side_channel_host"), Ref(names.variable("side_channel_host"), launch.node)
        yield names.variable("side_channel_port"), str(launch.transfer_port)
    pairs = nics.bus_pairs(launch) if split or len(launch.nodes) > 1 else ()
    if pairs:
        yield names.variable("gpu_nics"), ",".join(f"{gpu}={nic}" for gpu, nic in pairs)
        yield names.variable("gpu_nic_variables"), "UCX_NET_DEVICES:1,NCCL_IB_HCA:1"
    else:
        yield from network_environment(launch, transfers=split)
