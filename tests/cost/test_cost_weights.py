"""What a rank holds beyond the usual: towers, ends on every stage, padded slices, groups without zeros."""

from hypothesis import given
from hypothesis import strategies as st
from ledgers import decoder, layout

from optimizer.cost.shards import MXFP4_ALIGNMENT, stored_bytes, vision_bytes, weights_bytes
from optimizer.cost.tensors import layer_tensors
from optimizer.inputs.model import Quantization
from optimizer.inputs.presets import load_model


def test_a_tower_lies_on_the_first_stage_and_tp_cuts_what_can_be_cut() -> None:
    """Gemma 3 27B: bytes of the tower in vLLM 0.33's class, whole and in four shares."""
    model = load_model("gemma-3-27b")
    assert vision_bytes(model, layout(model, tp=1), 0) == 846120672
    assert vision_bytes(model, layout(model, tp=4), 0) == 229200696
    assert vision_bytes(model, layout(model, tp=2, pp=2), 1) == 0


def test_a_class_that_builds_both_ends_everywhere_costs_a_middle_stage_embedding_and_head() -> None:
    model = load_model("qwen3-235b-a22b")
    placed = layout(model, tp=4, pp=3)
    lean = model.model_copy(update={"ends_on_all_stages": False})
    ends = weights_bytes(model, placed, 1) - weights_bytes(lean, placed, 1)
    assert ends == 2 * 2 * 4096 * (151936 // 4) + 2 * 4096


def test_without_stages_it_makes_no_difference() -> None:
    model = load_model("mixtral-8x7b")
    lean = model.model_copy(update={"ends_on_all_stages": False})
    assert weights_bytes(model, layout(model, tp=8), 0) == weights_bytes(lean, layout(model, tp=8), 0)


@given(st.sampled_from([1, 2, 4, 8, 16]))
def test_slices_of_mxfp4_experts_are_padded_and_whole_experts_are_not(tp: int) -> None:
    model = load_model("gpt-oss-20b")
    sliced, whole = layout(model, tp=tp), layout(model, tp=tp, ep=tp)
    width = -(-2880 // tp)
    padded = -(-width // MXFP4_ALIGNMENT) * MXFP4_ALIGNMENT
    apart = weights_bytes(model, sliced, 0) * tp / weights_bytes(model, whole, 0) / tp
    assert (apart > 1.0) == (padded * tp > 2880)


def test_symmetric_groups_have_no_zero_points() -> None:
    assert stored_bytes("int4", 32, 64, 10) - stored_bytes("int4", 32, 64, 10, symmetric=True) == 10
    model = decoder("llama", 4096, 2, 32, 8, 14336, 32000).model_copy(
        update={"quantization": Quantization(scheme="int4", block=32)}
    )
    plain = Quantization(scheme="int4", block=32, symmetric=True)
    lean = model.model_copy(update={"quantization": plain})
    assert weights_bytes(lean, layout(lean), 0) < weights_bytes(model, layout(model), 0)


def test_values_that_are_keys_are_held_but_counted_once() -> None:
    (run,) = decoder("llama", 4096, 2, 32, 8, 14336, 32000).runs
    twin = run.model_copy(update={"attention": run.attention.model_copy(update={"values_are_keys": True})})
    counted = [sum(t.parameters for t in layer_tensors(4096, one)) for one in (run, twin)]
    assert counted[0] - counted[1] == 4096 * 8 * 128
    assert len(layer_tensors(4096, twin)) == len(layer_tensors(4096, run))
