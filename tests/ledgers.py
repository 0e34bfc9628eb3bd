"""Cases for memory: one replica of a model in a layout; it depends on neither wiring nor calibration."""

from typing import cast

from optimizer.cost.case import Case
from optimizer.cost.settings import resolve, version_facts
from optimizer.inputs import presets
from optimizer.inputs.calibration import Calibration
from optimizer.inputs.huggingface import from_config
from optimizer.inputs.model import ModelSpec, Scheme
from optimizer.inputs.workload import EngineChoice, EngineName, KvScheme, WorkloadSpec
from optimizer.layout import Layout, split_layers
from optimizer.topology.wiring import ALONE, Wiring

GIB = 2**30

UNUSED = cast("Calibration", None)
"""Memory asks for no measured constant of time."""


def layout(
    model: ModelSpec,
    *,
    tp: int = 1,
    pp: int = 1,
    weights: Scheme | None = None,
    kv_cache: KvScheme = "bf16",
    ep: int = 1,
    dcp: int = 1,
    pcp: int = 1,
    attn_dp: int = 1,
    layers: tuple[int, ...] | None = None,
) -> Layout:
    """Return a layout of the model, as its checkpoint is stored and in the engine's own stages unless given."""
    split = layers or split_layers(model.num_layers, pp)
    return Layout(tp, pp, split, weights or model.checkpoint_scheme, kv_cache, ep, dcp, pcp, attn_dp)


def case(
    model: ModelSpec,
    layout: Layout,
    *,
    gpu: str = "h200-sxm",
    memory_bytes: int | None = None,
    engine: EngineName = "vllm",
    choice: EngineChoice | None = None,
) -> Case:
    """Return the case of one replica on a catalogue GPU, its visible memory replaced when given."""
    spec, facts = presets.load_gpu(gpu), presets.load_engine(engine)
    if memory_bytes is not None:
        spec = spec.model_copy(update={"memory": memory_bytes})
    settings = resolve(
        choice or EngineChoice(name=engine), facts, spec, model, WorkloadSpec(), None, gpus=layout.world_size
    )
    known = version_facts(facts, settings.version)
    return Case(model, layout, spec, Wiring(ALONE, ()), settings, known, UNUSED)


def decoder(
    kind: str, hidden: int, layers: int, heads: int, kv_heads: int, intermediate: int, vocab: int, **more: object
) -> ModelSpec:
    """Return a model by the seven numbers every config.json has."""
    fields: dict[str, object] = {
        "model_type": kind, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "intermediate_size": intermediate, "vocab_size": vocab,
        "max_position_embeddings": 8192, "tie_word_embeddings": False,
    }  # fmt: skip
    return from_config(fields | more, name=f"typed/{kind}", where="config.json")
