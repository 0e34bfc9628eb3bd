"""The TensorRT-LLM command and configuration of a replica.

Rules: TensorRT-LLM 1.2, llmapi/llm_args.py and mapping.py: world = TP x PP, attention data parallelism replaces TP
inside the attention blocks, experts are cut moe_tp x moe_ep ways. Read, not run.
"""

from collections.abc import Iterator
from typing import Any

from optimizer.export.launch.command import (
    Command,
    Names,
    check_pair,
    checkpoint,
    device_environment,
    half_precision,
    network_environment,
    share_text,
)
from optimizer.export.launch.refusal import refuse
from optimizer.export.launch.seating import Launch
from optimizer.export.launch.words import Option, Ref, settings
from optimizer.inputs import presets


def command(launch: Launch) -> Command:
    """Return the command; its ``engine`` and ``layout`` options are keys of the configuration file."""
    _check(launch)
    names = Names(presets.load_flags("trtllm", launch.replica.engine.version))
    model = checkpoint(launch)
    return Command(
        program=("trtllm-serve", model),
        model=model,
        serving=(
            names.option("backend", "pytorch"),
            names.option("host", "0.0.0.0"),
            names.option("port", Ref("PORT", str(launch.api_port))),
            names.option("config", Ref("CONFIG", f"{launch.name}.yaml")),
        ),
        layout=tuple(_layout(launch, names)),
        nodes=(),
        engine=tuple(_engine(launch, names)),
        environment=(
            *device_environment(launch),
            *network_environment(launch, transfers=launch.replica.role != "both"),
        ),
    )


def configuration(made: Command) -> dict[str, Any]:
    """Return the configuration file's content."""
    return settings((*made.layout, *made.engine))


def _check(launch: Launch) -> None:
    replica, where = launch.replica, f"replica {launch.number}"
    if replica.pcp > 1 or replica.dcp > 1:
        raise refuse(where, "context parallelism is not known for TensorRT-LLM")
    if replica.attn_dp > 1 and replica.tp > 1:
        raise refuse(where, f"attention DP {replica.attn_dp} with TP {replica.tp}: TensorRT-LLM has one or the other")
    if launch.gpu.vendor != "nvidia":
        raise refuse(where, f"TensorRT-LLM does not run on {launch.gpu.vendor} GPUs")
    if replica.role != "both":
        check_pair(launch)


def _layout(launch: Launch, names: Names) -> Iterator[Option]:
    replica = launch.replica
    ranks = replica.tp * replica.attn_dp
    yield names.option("tensor_parallel", ranks)
    yield names.option("pipeline_parallel", replica.pp)
    if launch.model.is_moe:
        yield names.option("expert_parallel", replica.ep)
        yield names.option("expert_slices", ranks // replica.ep)
    yield names.option("attention_data_parallel", replica.attn_dp > 1)
    yield names.option("gpus_per_node", len(launch.seats))
    if replica.pp > 1:
        yield names.option("layer_partition", replica.layers_per_stage)


def _engine(launch: Launch, names: Names) -> Iterator[Option]:
    engine, replica = launch.replica.engine, launch.replica
    if launch.model.checkpoint_scheme == "bf16":
        yield names.option("dtype", "float16" if half_precision(launch) else "bfloat16")
    yield names.option("max_model_len", engine.max_model_len)
    yield names.option("max_num_seqs", engine.max_num_seqs)
    yield names.option("max_num_batched_tokens", engine.max_num_batched_tokens)
    share = engine.gpu_memory_utilization - engine.reserve_bytes / launch.gpu.memory
    pool = {
        "free_gpu_memory_fraction": share_text(share),
        "dtype": "fp8" if replica.kv_cache == "fp8" else "auto",
        "tokens_per_block": engine.block_tokens,
    }
    yield names.option("kv_cache", pool)
    graphs = {"enable_padding": True, "batch_sizes": list(engine.cuda_graph_sizes)} if engine.cuda_graphs else None
    yield names.option("graphs", graphs)
    if replica.role != "both":
        yield names.option("transfer", {"backend": "NIXL", "max_tokens_in_buffer": engine.max_num_batched_tokens})
