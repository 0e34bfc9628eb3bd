"""A checkpoint's ``quantization_config`` -> Quantization: which scheme, which block, which parts stay in 16 bits."""

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import get_args

from optimizer.errors import InputError
from optimizer.inputs.model import Dense, LayerRun, MixtureOfExperts, Part, Quantization, Scheme

Fields = Mapping[str, object]

_ALWAYS_KEPT: tuple[Part, ...] = ("router", "embedding")  # lookups and routers are no quantised linears in any engine

Modules = Mapping[Part, tuple[str, ...]]
"""Part to the names, inside a layer, of modules that stand for it."""

_MODULES: Modules = {
    "attention": ("self_attn.o_proj", "self_attention.dense", "self_attn.out_proj"),
    "dense": ("mlp.down_proj",),
    "experts": ("mlp.experts.0.down_proj", "block_sparse_moe.experts.0.w2", "feed_forward.experts.0.down_proj"),
    "shared": ("mlp.shared_experts.down_proj", "mlp.shared_expert.down_proj", "feed_forward.shared_expert.down_proj"),
}
"""Modules that stand for a part inside a layer, by the names published checkpoints use."""


def read_quantization(config: Fields, runs: tuple[LayerRun, ...], where: str, modules: Modules) -> Quantization | None:
    """Return how the checkpoint is stored, None for 16 bits; InputError for schemes that are not modelled.

    ``modules`` are the family's own names of parts, beside the usual ones.
    """
    if not config:
        return None
    method = str(config.get("quant_method") or _method_of(config))
    reader = _METHODS.get(method)
    if reader is None:
        raise InputError(f"{where}: quantization_config: {method!r} is not modelled; known: {', '.join(_METHODS)}")
    scheme, block = reader(config, where)
    ignored = tuple(str(name).replace("language_model.", "") for name in _ignored(config))
    names = {**_MODULES, **modules}
    kept = tuple(part for part in get_args(Part) if _is_kept(part, ignored, runs, where, names))
    return Quantization(scheme=scheme, kept=kept, block=block, symmetric=scheme == "int4" and _is_symmetric(config))


def _is_symmetric(config: Fields) -> bool:
    """Whether all weights are stored without zero points: compressed-tensors and GPTQ say so, AWQ has them."""
    groups = config.get("config_groups")
    said = [part.get("weights") for part in groups.values()] if isinstance(groups, Mapping) else [config]
    return all(isinstance(one, Mapping) and bool(one.get("symmetric", one.get("sym"))) for one in said)


def _method_of(config: Fields) -> str:
    return "modelopt" if "quant_algo" in config else "unnamed"


def _ignored(config: Fields) -> Iterable[object]:
    for key in ("modules_to_not_convert", "ignore", "ignored_layers", "exclude_modules"):
        names = config.get(key)
        if isinstance(names, list | tuple):
            yield from names


def _fp8(config: Fields, where: str) -> tuple[Scheme, int | None]:
    block = config.get("weight_block_size")
    if not block:
        return "fp8", None
    if not isinstance(block, list | tuple) or len(block) != 2 or block[0] != block[1] or not isinstance(block[0], int):
        raise InputError(f"{where}: quantization_config.weight_block_size: {block!r}; only square blocks are modelled")
    return "fp8-block", block[0]


def _integers(config: Fields, where: str) -> tuple[Scheme, int | None]:
    return _by_bits("int", config.get("bits", 4), config.get("group_size"), where)


def _mxfp4(_config: Fields, _where: str) -> tuple[Scheme, int | None]:
    return "mxfp4", 32


def _modelopt(config: Fields, where: str) -> tuple[Scheme, int | None]:
    algorithms: dict[str, tuple[Scheme, int | None]] = {
        "NVFP4": ("nvfp4", 16), "FP8": ("fp8", None), "FP8_PER_CHANNEL_PER_TOKEN": ("fp8", None),
    }  # fmt: skip
    algorithm = str(config.get("quant_algo"))
    if algorithm not in algorithms:
        raise InputError(
            f"{where}: quantization_config.quant_algo: {algorithm} is not modelled; known: {', '.join(algorithms)}"
        )
    return algorithms[algorithm]


def _compressed_tensors(config: Fields, where: str) -> tuple[Scheme, int | None]:
    groups = config.get("config_groups")
    weights = [group.get("weights") for group in groups.values()] if isinstance(groups, Mapping) else []
    found = {_weights_scheme(w, where) for w in weights if isinstance(w, Mapping)}
    if len(found) != 1:
        raise InputError(f"{where}: quantization_config.config_groups: {len(found)} schemes; exactly one is modelled")
    return found.pop()


def _weights_scheme(weights: Fields, where: str) -> tuple[Scheme, int | None]:
    if weights.get("strategy") == "block":
        return _fp8({"weight_block_size": weights.get("block_structure")}, where)
    return _by_bits(str(weights.get("type")), weights.get("num_bits"), weights.get("group_size"), where)


def _by_bits(kind: str, bits: object, group: object, where: str) -> tuple[Scheme, int | None]:
    match kind, bits, group:
        case "float", 8, None:
            return "fp8", None
        case "int", 8, _:
            return "int8", None
        case "int", 4, int(size) if size > 0:
            return "int4", size
        case "float", 4, 16:
            return "nvfp4", 16
        case "float", 4, 32:
            return "mxfp4", 32
    raise InputError(f"{where}: quantization_config: {kind} of {bits} bits in groups of {group} is not modelled")


def _is_kept(part: Part, ignored: tuple[str, ...], runs: tuple[LayerRun, ...], where: str, names: Modules) -> bool:
    """Whether the checkpoint leaves this part in 16 bits in every layer that has it."""
    if part in _ALWAYS_KEPT or (part == "head" and not ignored):
        return True
    if part == "head":
        return any(_matches(name, "lm_head") for name in ignored)
    layers = [index for index, has in enumerate(_layers_with(part, runs)) if has]
    kept = [index for index in layers if _layer_is_kept(index, names[part], ignored)]
    if kept and len(kept) != len(layers):
        raise InputError(
            f"{where}: quantization_config: {part} is kept in 16 bits in {len(kept)} of {len(layers)} layers; "
            "a part stored in two ways is not modelled"
        )
    return bool(kept)


def _layers_with(part: Part, runs: tuple[LayerRun, ...]) -> Iterable[bool]:
    has: dict[Part, Callable[[LayerRun], bool]] = {
        "attention": lambda _: True,
        "dense": lambda run: isinstance(run.feed_forward, Dense),
        "experts": lambda run: isinstance(run.feed_forward, MixtureOfExperts),
        "shared": lambda run: (
            isinstance(run.feed_forward, MixtureOfExperts) and run.feed_forward.shared_intermediate > 0
        ),
    }
    for run in runs:
        yield from [has[part](run)] * run.count


def _layer_is_kept(index: int, modules: tuple[str, ...], ignored: tuple[str, ...]) -> bool:
    return any(_matches(pattern, f"model.layers.{index}.{module}") for module in modules for pattern in ignored)


def _matches(pattern: str, module: str) -> bool:
    """Whether a checkpoint's pattern (regular expression, glob, or a name and what lies below it) covers a module."""
    if pattern.startswith("re:"):
        return re.match(pattern[3:], module) is not None
    if "*" in pattern:
        return fnmatchcase(module, pattern) or fnmatchcase(module, pattern + "*")
    return f".{pattern}." in f".{module}."


_METHODS: dict[str, Callable[[Fields, str], tuple[Scheme, int | None]]] = {
    "fp8": _fp8,
    "fbgemm_fp8": _fp8,
    "compressed-tensors": _compressed_tensors,
    "modelopt": _modelopt,
    "modelopt_fp4": _modelopt,
    "gptq": _integers,
    "awq": _integers,
    "mxfp4": _mxfp4,
}
