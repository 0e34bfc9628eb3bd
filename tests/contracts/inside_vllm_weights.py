"""Runs inside an environment with vLLM's Python files and CPU torch: what one rank holds, by vLLM's model classes.

Usage: python inside_vllm_weights.py < requests.jsonl > answers.jsonl. A request is {"name", "argv", "rank"}; argv
starts after ``vllm serve``; ranks count TP fastest, then PP, then DP. An answer is {"name", "error": null or text,
"model": the class, "weights_bytes": {group: bytes}, "kv": [[kind, layers, bytes per token], ...]}.

The model is built on torch's meta device, so nothing is allocated, in a process group that only pretends to be one.
"""
# mypy: ignore-errors

import contextlib
import json
import os
import sys
from collections import Counter

import inside_vllm

_TOWERS = ("visual", "vision", "multi_modal_projector", "mm_projector", "embed_vision")


def _pretend_to_have_gpus():
    """Let code that asks for streams and devices go on without CUDA."""
    import torch
    import torch.distributed as dist
    import vllm.distributed.device_communicators.shm_broadcast as broadcast
    import vllm.utils.deep_gemm as deep_gemm
    from transformers import AutoConfig, Qwen2Config
    from vllm.v1.worker.workspace import init_workspace_manager

    AutoConfig.register("mimo", type("MiMoConfig", (Qwen2Config,), {"model_type": "mimo"}))
    init_workspace_manager(torch.device("meta"))
    make = dist.new_group
    dist.new_group = lambda ranks=None, *_, **__: make(ranks, backend="fake")
    nothing = type("Nothing", (), {"__init__": lambda *_, **__: None})
    torch.cuda.Stream = torch.cuda.Event = nothing
    torch.accelerator.set_device_index = lambda *_, **__: None
    torch.accelerator.current_device_index = lambda *_, **__: 0
    torch.cuda.current_device = lambda: 0
    torch.accelerator.empty_cache = lambda: None
    broadcast.MessageQueue.create_from_process_group = staticmethod(lambda *_, **__: None)
    deep_gemm.has_deep_gemm = lambda: True


def _meta(argument):
    """Return a CUDA device as the meta device, anything else as it is."""
    import torch

    return torch.device("meta") if isinstance(argument, torch.device) and argument.type == "cuda" else argument


def _on_meta():
    """Return a mode that sends what asks for a GPU to the meta device."""
    import torch

    class OnMeta(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            kwargs = dict(kwargs or {})
            device = kwargs.get("device")
            if isinstance(device, int) or "cuda" in str(device):
                kwargs["device"] = "meta"
            return function(*(_meta(argument) for argument in args), **kwargs)

    return OnMeta()


def _join(config, rank):
    """Become one rank of the world that the configuration asks for."""
    import torch.distributed as dist
    import vllm.distributed.parallel_state as state
    from torch.testing._internal.distributed.fake_pg import FakeStore

    with contextlib.suppress(Exception):
        state.destroy_model_parallel()
    if dist.is_initialized():
        dist.destroy_process_group()
    parallel = config.parallel_config
    parallel.disable_custom_all_reduce = True
    size = parallel.world_size_across_dp
    dist.init_process_group(backend="fake", store=FakeStore(), rank=rank, world_size=size)
    state._WORLD = state.init_world_group(list(range(size)), 0, "fake")
    state._NODE_COUNT = 1
    state.initialize_model_parallel(
        parallel.tensor_parallel_size, parallel.pipeline_parallel_size,
        decode_context_model_parallel_size=parallel.decode_context_parallel_size,
    )  # fmt: skip


def _build(config, rank):
    import torch
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.utils.torch_utils import set_default_torch_dtype

    with set_current_vllm_config(config):
        _join(config, rank)
        with set_default_torch_dtype(config.model_config.dtype), torch.device("meta"), _on_meta():
            return initialize_model(vllm_config=config)


def _group(name):
    if any(mark in name for mark in _TOWERS):
        return "vision"
    if "lm_head" in name or "embed" in name:
        return "vocabulary"
    if "experts" in name and "shared" not in name:
        return "experts"
    return "attention" if "attn" in name or "attention" in name else "other"


def _kv(config):
    from vllm.config import set_current_vllm_config

    layers, sizes = Counter(), Counter()
    with set_current_vllm_config(config):
        for layer in config.compilation_config.static_forward_context.values():
            spec = layer.get_kv_cache_spec(config) if hasattr(layer, "get_kv_cache_spec") else None
            if spec is not None:
                kind = type(spec).__name__
                layers[kind] += 1
                sizes[kind] += spec.page_size_bytes / spec.block_size
    return [[kind, count, sizes[kind]] for kind, count in sorted(layers.items())]


def _answer(configure, request):
    argv = [*request["argv"], "--skip-tokenizer-init", "--load-format", "dummy", "--enforce-eager"]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            config = configure(argv)
            model = _build(config, request["rank"])
    except SystemExit:
        return {"error": "the parser refused the command"}
    except Exception as error:  # whatever the engine raises is its answer
        if os.environ.get("CONTRACTS_TRACEBACK"):
            import traceback

            traceback.print_exc()
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    held = Counter()
    for name, tensor in model.named_parameters():
        held[_group(name)] += tensor.numel() * tensor.element_size()
    return {"error": None, "model": type(model).__name__, "weights_bytes": dict(held), "kv": _kv(config)}


def main():
    requests = [json.loads(line) for line in sys.stdin]
    out, sys.stdout = sys.stdout, sys.stderr
    inside_vllm.GPUS = 64  # the largest layout in one pretended host
    inside_vllm._prepare()
    inside_vllm._fake_hopper()
    configure = inside_vllm._configure()
    _pretend_to_have_gpus()
    for request in requests:
        out.write(json.dumps({"name": request["name"]} | _answer(configure, request)) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
