"""The KV cache of one rank: bytes per token and per sequence, in blocks, sliding windows as the engine pages them."""

from dataclasses import dataclass
from math import ceil
from typing import Literal

from optimizer.cost.parameters import CACHE_BYTES, keeps_every_token, kv_bytes_per_token
from optimizer.inputs.model import Attention, GroupedQuery, ModelSpec
from optimizer.layout import Layout

_SPARSE_SCALE_WIDTH = 128  # fp8 cache of sparse MLA: one fp32 scale per 128 latent numbers, rotary key in 16 bits


def rank_kv_bytes_per_token(attention: Attention, layout: Layout) -> float:
    """Return the bytes one token leaves in one layer on one rank.

    KV heads are split by TP and replicated when there are fewer of them; a latent is whole on every rank; decode
    context parallelism deals tokens out. Sparse MLA in fp8 is 656 B instead of 576 (FlashMLA's layout: 512 + 16 + 128).
    """
    whole = kv_bytes_per_token(attention, layout.kv_cache)
    if isinstance(attention, GroupedQuery):
        return whole / attention.kv_heads * max(1, ceil(attention.kv_heads / layout.tp)) / layout.dcp
    if attention.indexer and layout.kv_cache == "fp8":
        scales = 4 * ceil(attention.kv_lora_rank / _SPARSE_SCALE_WIDTH)
        whole += scales + attention.qk_rope_head_dim * (CACHE_BYTES["bf16"] - CACHE_BYTES["fp8"])
    return whole / layout.dcp


def rank_sequence_bytes(model: ModelSpec, layout: Layout, stage: int, tokens: float) -> float:
    """Return the KV bytes that a sequence of so many tokens has on one rank of a stage, no padding: what is moved."""
    first = sum(layout.layers_per_stage[:stage])
    runs = model.layers(first, first + layout.layers_per_stage[stage])
    return sum(
        count * rank_kv_bytes_per_token(run.attention, layout) * min(tokens, _resident(run.attention, tokens))
        for run, count in runs
    )


def _resident(attention: Attention, tokens: float) -> float:
    return tokens if keeps_every_token(attention) else attention.reach or tokens


@dataclass(frozen=True)
class StageCache:
    """The caches of one stage's layers on one rank.

    Layers that keep every token and layers with a sliding window share one pool of equal blocks: both are dealt into
    groups of equal size, and a group that is not full is padded (vLLM's hybrid KV cache manager).
    """

    bytes_per_token: float
    """Of layers that keep every token, padding included."""
    window_bytes_per_token: float
    """Of layers with a window, padding included."""
    window: int | None
    """Tokens the longest window looks back on."""
    block_tokens: int
    batched_tokens: int
    """Tokens of the longest step: they lie in the window beside those it looks back on."""

    def window_bytes(self, tokens: float) -> int:
        """Return the bytes all windows of a running sequence hold: the window in blocks, one more while it moves."""
        if self.window is None:
            return 0
        resident = min(tokens, (ceil((self.window - 1) / self.block_tokens) + 1) * self.block_tokens)
        return round(resident * self.window_bytes_per_token)

    def sequence_bytes(self, tokens: float) -> float:
        """Return the bytes of a running sequence, the half-filled last block included."""
        return (tokens + (self.block_tokens - 1) / 2) * self.bytes_per_token + self.window_bytes(tokens)

    def request_bytes(self, tokens: int) -> float:
        """Return the bytes the engine wants for one request: whole blocks, windows with a step in flight."""
        return self._blocks(tokens) * self.bytes_per_token + self._window_tokens(tokens) * self.window_bytes_per_token

    def _blocks(self, tokens: int) -> int:
        return ceil(tokens / self.block_tokens) * self.block_tokens

    def _window_tokens(self, tokens: int) -> int:
        if self.window is None:
            return 0
        in_flight = min(tokens, self.window - 1 + self.batched_tokens)
        return min(self._blocks(tokens), self._blocks(in_flight) + self.block_tokens)

    def longest(self, pool: float) -> int:
        """Return the longest sequence the pool holds, in whole blocks (0: none)."""
        everything = self.bytes_per_token + self.window_bytes_per_token
        short = int(pool // (everything * self.block_tokens)) * self.block_tokens
        if self.window is None or short <= self.window + self.batched_tokens or not self.bytes_per_token:
            return max(0, short)
        windows = self._window_tokens(short) * self.window_bytes_per_token
        return int((pool - windows) // (self.bytes_per_token * self.block_tokens)) * self.block_tokens

    def tokens(self, pool: float, max_model_len: int, counted: Literal["all-layers", "requests"]) -> int:
        """Return the tokens the engine reports for a pool of so many bytes, 0 when there is none."""
        if self.window is not None and counted == "requests":
            return max(0, int(pool / self.request_bytes(max_model_len) * max_model_len))
        everything = self.bytes_per_token + self.window_bytes_per_token
        return max(0, int(pool // (everything * self.block_tokens)) * self.block_tokens)


def stage_cache(model: ModelSpec, layout: Layout, stage: int, *, block_tokens: int, batched_tokens: int) -> StageCache:
    """Return the cache of one stage on one of its ranks."""
    first = sum(layout.layers_per_stage[:stage])
    full, sliding, full_bytes, sliding_bytes = 0, 0, 0.0, 0.0
    window: int | None = None
    for run, count in model.layers(first, first + layout.layers_per_stage[stage]):
        each = rank_kv_bytes_per_token(run.attention, layout)
        if keeps_every_token(run.attention):
            full, full_bytes = full + count, full_bytes + count * each
        else:
            sliding, sliding_bytes = sliding + count, sliding_bytes + count * each
            window = max(window or 0, run.attention.reach or 0)
    group = _group_size(full, sliding)
    return StageCache(
        bytes_per_token=full_bytes * _padding(full, group),
        window_bytes_per_token=sliding_bytes * _padding(sliding, group),
        window=window,
        block_tokens=block_tokens * layout.dcp,
        batched_tokens=batched_tokens,
    )


def _group_size(full: int, sliding: int) -> int:
    """Return layers per group: the rarer kind's, or the commoner's when they differ by less than half (vLLM)."""
    few, many = sorted((full, sliding))
    return many if few == 0 or many < 1.5 * few else few


def _padding(layers: int, group: int) -> float:
    return ceil(layers / group) * group / layers if layers else 1.0
