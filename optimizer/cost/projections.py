"""The matrices of one layer as a rank multiplies with them, with the rates its GPU reaches on each.

Shapes follow the engines: query, key and value in one matrix, gate and up in one, KV heads replicated when TP exceeds
them, MLA's down-projections and routers replicated, MLA absorbed in decode and expanded in prefill.
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TypeVar, assert_never

from optimizer.cost.operators import Experts, Matrix, Rate, rate
from optimizer.cost.shards import BLOCKS, scheme_of, shared_is_whole, stored_bytes
from optimizer.inputs.calibration import Calibration, Roofline
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.identity import Same
from optimizer.inputs.model import Dense, GroupedQuery, Latent, MixtureOfExperts, ModelSpec, Scheme
from optimizer.layout import Layout

ACTIVATION_BYTES = 2.0
"""Activations stay in 16 bits between kernels."""

Matrices = tuple[Matrix, ...]


def compute_peak(gpu: GpuSpec, scheme: Scheme) -> float:
    """Return the dense matrix rate weights of a scheme compute at: 16 bits where the GPU must expand them."""
    match scheme:
        case "fp8" | "fp8-block":
            return gpu.peak.fp8 or gpu.peak.bf16
        case "int8":
            return gpu.peak.int8 or gpu.peak.bf16
        case "nvfp4" | "mxfp4":
            return gpu.peak.fp4 or gpu.peak.bf16
        case "bf16" | "int4":
            return gpu.peak.bf16
        case _:
            assert_never(scheme)


Fit = TypeVar("Fit", bound=Roofline)


def family(fits: dict[Scheme, Fit], scheme: Scheme) -> Fit:
    """Return the measured family of a scheme, or that of 16 bits, which every calibration has."""
    return fits.get(scheme) or fits["bf16"]


@dataclass(frozen=True)
class Rates:
    """Rates of one GPU by what is computed; ``speed`` is the share of nominal speed a slow GPU reaches."""

    gpu: GpuSpec
    calibration: Calibration
    speed: float
    _gemm: dict[Scheme, Rate] = field(default_factory=dict)

    def of(self, fit: Roofline, scheme: Scheme) -> Rate:
        """Return what ``fit`` means on this GPU for weights of ``scheme``."""
        return rate(fit, self.gpu.memory_bandwidth, compute_peak(self.gpu, scheme), speed=self.speed)

    def gemm(self, scheme: Scheme) -> Rate:
        """Return the rate of matrix products with weights of ``scheme``."""
        if scheme not in self._gemm:
            self._gemm[scheme] = self.of(family(self.calibration.gemm, scheme), scheme)
        return self._gemm[scheme]

    def moe(self, scheme: Scheme) -> tuple[Rate, float]:
        """Return the rate of routed experts, and how much longer a byte of activations takes than one of weights."""
        fit = family(self.calibration.moe, scheme)
        return self.of(fit, scheme), fit.memory / fit.activations


@lru_cache(maxsize=256)
def rates_on(gpu: Same[GpuSpec], calibration: Same[Calibration], speed: float) -> Rates:
    """Return the rates of a GPU, the same for all layouts."""
    return Rates(gpu.value, calibration.value, speed)


def kv_values(attention: GroupedQuery | Latent, tp: int) -> float:
    """Return numbers cached per token and layer on one rank."""
    if isinstance(attention, Latent):
        return attention.kv_lora_rank + attention.qk_rope_head_dim
    return max(1.0, attention.kv_heads / tp) * (attention.head_dim + attention.value_dim)


def matrix(k: float, n: float, scheme: Scheme, rates: Rates) -> Matrix:
    """Return a weight matrix of k inputs and n outputs."""
    return Matrix(
        weight_bytes=float(stored_bytes(scheme, BLOCKS.get(scheme, 0), round(k), round(n))),
        flop_per_row=2.0 * k * n,
        io_bytes_per_row=(k + n) * ACTIVATION_BYTES,
        rate=rates.gemm(scheme),
    )


def attention_matrices(
    model: ModelSpec, attention: GroupedQuery | Latent, layout: Layout, rates: Rates
) -> tuple[Matrices, Matrices, Matrices]:
    """Return the projections of both phases, those of prefill only, and those of decode only."""
    scheme = scheme_of(model, layout, "attention")
    if isinstance(attention, Latent):
        return _latent(model, attention, layout, scheme, rates)
    heads = attention.heads / layout.tp
    gate = 2 if attention.output_gate else 1
    qkv = gate * heads * attention.head_dim + kv_values(attention, layout.tp)
    output = matrix(heads * attention.value_dim, model.hidden, scheme, rates)
    return (matrix(model.hidden, qkv, scheme, rates), output), (), ()


def _latent(
    model: ModelSpec, attention: Latent, layout: Layout, scheme: Scheme, rates: Rates
) -> tuple[Matrices, Matrices, Matrices]:
    heads, hidden = attention.heads / layout.tp, model.hidden
    rank, latent = attention.q_lora_rank or 0, attention.kv_lora_rank
    both = [
        matrix(hidden, latent + attention.qk_rope_head_dim + rank, scheme, rates),
        matrix(rank or hidden, heads * attention.head_dim, scheme, rates),
        matrix(heads * attention.v_head_dim, hidden, scheme, rates),
    ]
    if attention.indexer is not None:
        index = attention.indexer
        both.append(matrix(rank or hidden, index.heads * index.head_dim, scheme, rates))
        both.append(matrix(hidden, index.head_dim + index.heads, scheme, rates))
    expand = matrix(latent, heads * (attention.qk_nope_head_dim + attention.v_head_dim), scheme, rates)
    widths = (attention.qk_nope_head_dim, attention.v_head_dim)
    return tuple(both), (expand,), tuple(matrix(width, heads * latent, "bf16", rates) for width in widths)


def feed_forward_matrices(
    model: ModelSpec, block: Dense | MixtureOfExperts, layout: Layout, rates: Rates
) -> tuple[Matrices, Experts | None]:
    """Return the matrices every token passes (router and shared experts included) and the routed experts."""
    hidden, up = model.hidden, 2 if block.gated else 1

    def mlp(width: float, scheme: Scheme) -> Matrices:
        return matrix(hidden, up * width, scheme, rates), matrix(width, hidden, scheme, rates)

    if isinstance(block, Dense):
        return mlp(block.intermediate / layout.tp, scheme_of(model, layout, "dense")), None
    dense: Matrices = (matrix(hidden, block.experts, "bf16", rates),)
    if block.shared_intermediate:
        scheme = scheme_of(model, layout, "shared")
        if shared_is_whole(layout):
            dense += tuple(_of_some_rows(one, layout.tp) for one in mlp(block.shared_intermediate, scheme))
        else:
            dense += mlp(block.shared_intermediate / layout.tp, scheme)
    return dense, _experts(model, block, layout, rates)


def _of_some_rows(whole: Matrix, ranks: int) -> Matrix:
    """Return a whole matrix that each of ``ranks`` multiplies with its part of the rows."""
    return replace(whole, flop_per_row=whole.flop_per_row / ranks, io_bytes_per_row=whole.io_bytes_per_row / ranks)


def _experts(model: ModelSpec, block: MixtureOfExperts, layout: Layout, rates: Rates) -> Experts:
    """Return a rank's experts: slices of all of them, or whole ones under expert parallelism.

    A chosen row enters, leaves and is summed (3 hidden), and passes between the kernels: gate and up are written and
    read, their product is written and read.
    """
    scheme, up = scheme_of(model, layout, "experts"), 2 if block.gated else 1
    width = block.intermediate * layout.ep / layout.ranks_per_stage
    chosen = block.top_k / layout.ep
    rate, slower = rates.moe(scheme)
    weights = stored_bytes(scheme, BLOCKS.get(scheme, 0), model.hidden, round((up + 1) * width))
    return Experts(
        local=block.experts / layout.ep,
        hit_share=block.top_k / block.experts,
        expert_bytes=float(weights),
        flop_per_token=2.0 * model.hidden * (up + 1) * width * chosen,
        io_bytes_per_token=chosen * (3 * model.hidden + (2 * up + 2) * width) * ACTIVATION_BYTES * slower,
        ranks=layout.ep,
        top_k=block.top_k,
        rate=rate,
    )
