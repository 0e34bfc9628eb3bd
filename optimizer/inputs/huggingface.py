"""A Hugging Face ``config.json`` -> ModelSpec: one small function per family, whatever is not modelled is refused."""

from collections.abc import Callable, Iterable, Mapping
from itertools import groupby

from pydantic import ValidationError

from optimizer.errors import InputError
from optimizer.inputs.bodies import Body
from optimizer.inputs.families import FAMILIES
from optimizer.inputs.fields import Fields
from optimizer.inputs.model import Layer, LayerRun, ModelSpec
from optimizer.inputs.quantization import read_quantization
from optimizer.inputs.vision import Tower, vision_tower

_MOST_STRETCH = 1e6  # larger factors are no rope scaling but a mistake

_TEXT_PARTS = ("text_config", "language_config", "llm_config")


def from_config(config: Mapping[str, object], *, name: str, where: str) -> ModelSpec:
    """Return the text model that a ``config.json`` describes; InputError names what is not modelled.

    ``name`` becomes the model's name, ``where`` is the file that messages point to. Multimodal configurations give
    their text part.
    """
    text = _text_part(config)
    fields = Fields(text, where)
    stored = config.get("quantization_config") or text.get("quantization_config")
    stored = stored if isinstance(stored, Mapping) else {}
    _refuse_hidden_quantization(name, stored, where)
    read = _family(fields)
    try:
        spec = _spec(read(fields), fields, name=name, stored=stored, vision=_vision(config, where))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or fields.text("model_type")
        raise InputError(f"{where}: {key}: {first['msg']}") from error
    if isinstance(config.get("vision_config"), Mapping) and not spec.vision_parameters:
        note = {"vision_parameters": "not counted: no rule for this kind of vision tower; its memory is missing"}
        return spec.model_copy(update={"sources": spec.sources | note})
    return spec


def _family(fields: Fields) -> Callable[[Fields], Body]:
    """Return the family's function, or raise InputError with what the architecture has that is not modelled."""
    kind = fields.text("model_type")
    if kind in _KNOWN_GAPS:
        raise InputError(f"{fields.where}: model_type: {kind!r} has {_KNOWN_GAPS[kind]}, which tpopt does not model")
    for key, (applies, what) in _UNMODELLED.items():
        if applies(fields.get(key)):
            raise InputError(f"{fields.where}: {key}: {what} are not modelled; this architecture cannot be priced")
    if kind not in FAMILIES:
        raise InputError(
            f"{fields.where}: model_type: {kind!r} is not known; known: {', '.join(sorted(FAMILIES))}. "
            "Write the architecture in model.yaml if its layers are plain attention and feed-forward blocks"
        )
    return FAMILIES[kind]


def _spec(body: Body, fields: Fields, *, name: str, stored: Mapping[str, object], vision: Tower) -> ModelSpec:
    runs = _runs(body.layers)
    context = fields.count("max_position_embeddings", "seq_length", "n_positions", default=2048)
    return ModelSpec(
        name=name,
        hidden=body.hidden,
        vocab=fields.count("vocab_size"),
        context=context,
        runs=runs,
        tied_embeddings=fields.flag("tie_word_embeddings", default=body.tied_by_default),
        position_embeddings=body.position_embeddings,
        extra_norm_parameters=body.extra_norm_parameters,
        head_bias=body.head_bias,
        ends_on_all_stages=body.ends_on_all_stages,
        rotary_numbers=sum(_rotary_rows(fields, context, scaled) * width for width, scaled in body.rotary_tables),
        vision_parameters=vision[0],
        vision_whole=vision[1],
        quantization=read_quantization(stored, runs, fields.where, body.modules),
        sources={"*": f"config.json of {name}"},
    )


def _text_part(config: Mapping[str, object]) -> Mapping[str, object]:
    for key in _TEXT_PARTS:
        part = config.get(key)
        if isinstance(part, Mapping):
            return {"tie_word_embeddings": config.get("tie_word_embeddings"), **part}
    return config


def _runs(layers: Iterable[Layer]) -> tuple[LayerRun, ...]:
    return tuple(
        LayerRun(
            attention=layer.attention,
            feed_forward=layer.feed_forward,
            norm_parameters=layer.norm_parameters,
            count=sum(1 for _ in same),
        )
        for layer, same in groupby(layers)
    )


def _rotary_rows(fields: Fields, context: int, scaled: bool) -> int:
    """Return the rows of an engine's table of angles: linear and dynamic scaling stretch it, YaRN spells it out."""
    scaling = fields.part("rope_scaling", "rope_parameters")
    factor = scaling.get("factor")
    if not scaled or not isinstance(factor, int | float) or not 0 < factor < _MOST_STRETCH:
        return context
    original = scaling.get("original_max_position_embeddings")
    match scaling.get("rope_type") or scaling.get("type"):
        case "linear" | "dynamic":
            return round(context * factor)
        case "yarn" if isinstance(original, int):
            return round(original * factor)
        case _:
            return context


def _refuse_hidden_quantization(name: str, stored: Mapping[str, object], where: str) -> None:
    words = name.upper().replace("_", "-").replace("/", "-").split("-")
    marks = [word for word in words if word in ("NVFP4", "FP8", "FP4", "AWQ", "GPTQ", "INT4", "W4A16", "W8A8")]
    if marks and not stored:
        raise InputError(
            f"{where}: {name} is {marks[0]} by its name, but its config.json has no quantization_config; put the "
            "content of its hf_quant_config.json (or the like) there, with quant_method"
        )


def _vision(config: Mapping[str, object], where: str) -> Tower:
    """Return the vision tower, (0, 0) where there is none or its kind is not known (the text part is priced)."""
    part = config.get("vision_config")
    return vision_tower(Fields(part, where), Fields(_text_part(config), where)) if isinstance(part, Mapping) else (0, 0)


def _is_set(value: object) -> bool:
    return bool(value)


def _not_all_one(value: object) -> bool:
    return isinstance(value, list | tuple) and any(item != 1 for item in value)


_UNMODELLED: dict[str, tuple[Callable[[object], bool], str]] = {
    "num_kv_shared_layers": (_is_set, "layers that share another layer's KV cache"),
    "hidden_size_per_layer_input": (_is_set, "per-layer input embeddings"),
    "sparse_attention_config": (_is_set, "block-sparse attention"),
    "hybrid_override_pattern": (_is_set, "Mamba layers"),
    "mamba_num_heads": (_is_set, "Mamba layers"),
    "linear_num_value_heads": (_is_set, "linear attention layers"),
    "linear_attn_config": (_is_set, "linear attention layers"),
    "block_configs": (_is_set, "layers of irregular width (block_configs)"),
    "attn_type_list": (_not_all_one, "lightning attention layers"),
    "index_topk_pattern": (_is_set, "indexers shared by a pattern"),
    "compress_ratios": (_is_set, "compressed attention (DeepSeek-V4)"),
}
"""Fields that change the architecture beyond the model's vocabulary: when they do, and what is missing."""


_KNOWN_GAPS: dict[str, str] = {
    "nemotron_h": "Mamba-2 layers",
    "qwen3_next": "linear attention layers (gated DeltaNet)",
    "qwen3_5_text": "linear attention layers (gated DeltaNet)",
    "qwen3_5_moe_text": "linear attention layers (gated DeltaNet)",
    "kimi_linear": "linear attention layers (Kimi Delta Attention)",
    "deepseek_v4": "compressed sparse attention",
    "deepseek_ref": "compressed sparse attention (DeepSeek-V4)",
    "gemma3n_text": "per-layer input embeddings",
    "nemotron-nas": "layers of irregular width (block_configs)",
    "minimax_m3": "block-sparse attention",
    "minimax_m1": "lightning attention layers",
    "step3p7": "sliding layers whose numbers of heads its config.json does not give",
    "jamba": "Mamba layers",
    "mamba2": "Mamba layers",
}
"""Architectures people will try and that are refused: what each has that is not modelled."""
