"""Vision towers: how many parameters engines load beside the text model, and how many of them TP does not cut.

Shapes follow the public modelling code (transformers, vLLM) of each tower; sums are exact.
"""

from collections.abc import Callable

from optimizer.inputs.fields import Fields

Tower = tuple[int, int]
"""(parameters of the tower and its projector, those of them that every rank of a TP group holds whole)."""


def vision_tower(vision: Fields, text: Fields) -> Tower:
    """Return the parameters of a tower of a known kind, (0, 0) where none is known."""
    counter = _TOWERS.get(vision.text("model_type", default=""))
    return counter(vision, text) if counter else (0, 0)


def _block(hidden: int, mlp: int) -> Tower:
    """Attention and a plain MLP, with biases, after a layer norm each: norms and the biases of sums are whole."""
    whole = 4 * hidden + 2 * hidden
    return 4 * hidden * hidden + 3 * hidden + 2 * hidden * mlp + mlp + whole, whole


def _siglip(vision: Fields, text: Fields) -> Tower:
    """SigLIP as in Gemma 3: patches and learned positions before the layers, a norm and a projection after them."""
    hidden, patch, image = vision.count("hidden_size"), vision.count("patch_size"), vision.count("image_size")
    layers = vision.count("num_hidden_layers")
    each, each_whole = _block(hidden, vision.count("intermediate_size"))
    embeddings = 3 * patch * patch * hidden + hidden + (image // patch) ** 2 * hidden
    outside = embeddings + 2 * hidden + hidden * text.count("hidden_size") + hidden
    return outside + layers * each, outside + layers * each_whole


def _qwen3_vl(vision: Fields, _text: Fields) -> Tower:
    """Qwen3-VL: patches of two frames, learned positions, and mergers of 2x2 patches after some layers and the last."""
    hidden, out = vision.count("hidden_size"), vision.count("out_hidden_size")
    pixels = (
        vision.count("in_channels", default=3) * vision.count("temporal_patch_size") * vision.count("patch_size") ** 2
    )
    merged = hidden * vision.count("spatial_merge_size") ** 2
    deep = vision.get("deepstack_visual_indexes")
    taps = len(deep) if isinstance(deep, list | tuple) else 0
    layers = vision.count("depth")
    each, each_whole = _block(hidden, vision.count("intermediate_size"))
    merger = merged * merged + merged + merged * out
    norms = 2 * hidden + taps * 2 * merged
    whole = pixels * hidden + hidden + vision.count("num_position_embeddings") * hidden
    whole += layers * each_whole + norms + (1 + taps) * out
    return whole + layers * (each - each_whole) + (1 + taps) * merger, whole


def _gemma4(vision: Fields, text: Fields) -> Tower:
    """Gemma 4: gated MLPs without biases, positions of two axes, four norms a layer; vLLM does not cut it."""
    hidden, layers = vision.count("hidden_size"), vision.count("num_hidden_layers")
    width = vision.count("num_attention_heads") * vision.count("head_dim")
    each = 4 * hidden * width + 3 * hidden * vision.count("intermediate_size")
    each += 4 * hidden + 2 * vision.count("head_dim")
    patches = 3 * vision.count("patch_size") ** 2 * hidden
    positions = 2 * vision.count("position_embedding_size") * hidden
    total = patches + positions + layers * each + hidden * text.count("hidden_size")
    return total, total


_TOWERS: dict[str, Callable[[Fields, Fields], Tower]] = {
    "siglip_vision_model": _siglip, "qwen3_vl": _qwen3_vl, "qwen3_vl_moe": _qwen3_vl, "gemma4_vision": _gemma4,
}  # fmt: skip
"""The tower's model_type -> its count."""
