"""Families with LayerNorm and biases throughout: BLOOM, OPT, Phi-2."""

from optimizer.errors import InputError
from optimizer.inputs.bodies import Body, grouped_query, layer_count, rotary
from optimizer.inputs.fields import Fields
from optimizer.inputs.model import Dense, GroupedQuery, Layer


def bloom(fields: Fields) -> Body:
    """BLOOM: ALiBi, biases everywhere, LayerNorm (weight and bias) also on the embedding; plain 4x feed-forward."""
    hidden, heads = fields.count("hidden_size", "n_embed"), fields.count("n_head", "num_attention_heads")
    attention = GroupedQuery(heads=heads, kv_heads=heads, head_dim=hidden // heads, qkv_bias=True, o_bias=True)
    layer = Layer(
        attention=attention,
        feed_forward=Dense(intermediate=4 * hidden, gated=False, bias=True),
        norm_parameters=4,
    )
    count = layer_count(fields)
    return Body(hidden, (layer,) * count, tied_by_default=True, extra_norm_parameters=4, ends_on_all_stages=True)


def opt(fields: Fields) -> Body:
    """OPT: learned positions (two rows more than the context), biases everywhere, LayerNorm before each block."""
    hidden = fields.count("hidden_size")
    if fields.count("word_embed_proj_dim", default=hidden) != hidden or not fields.flag(
        "do_layer_norm_before", default=True
    ):
        raise InputError(f"{fields.where}: word_embed_proj_dim: OPT with projected embeddings is not modelled")
    mlp = Dense(intermediate=fields.count("ffn_dim"), gated=False, bias=True)
    layer = Layer(attention=grouped_query(fields, qkv_bias=True, o_bias=True), feed_forward=mlp, norm_parameters=4)
    return Body(
        hidden,
        (layer,) * layer_count(fields),
        tied_by_default=True,
        ends_on_all_stages=True,
        position_embeddings=fields.count("max_position_embeddings") + 2,
        extra_norm_parameters=2,
    )


def phi(fields: Fields) -> Body:
    """Phi-2: one LayerNorm for both blocks in parallel, biases everywhere, also on the logits."""
    mlp = Dense(intermediate=fields.count("intermediate_size"), gated=False, bias=True)
    layer = Layer(attention=grouped_query(fields, qkv_bias=True, o_bias=True), feed_forward=mlp, norm_parameters=2)
    layers = (layer,) * layer_count(fields)
    return Body(
        fields.count("hidden_size"), layers, extra_norm_parameters=2, head_bias=True, rotary_tables=rotary(fields)
    )
