"""Memory of the fullest rank, traced to parameters, engine facts and the GPU."""

from optimizer.compare import fixed_bytes
from optimizer.cost.case import Case
from optimizer.cost.parameters import total_parameters
from optimizer.inputs.workload import WorkloadSpec
from optimizer.plan import Replica
from optimizer.report.facts import Fact, fact, source_of
from optimizer.units import show_bytes


def memory_facts(case: Case, workload: WorkloadSpec, replica: Replica) -> Fact:
    """Return what the fullest rank of a replica holds against what it may hold."""
    rank = max(replica.estimate.memory, key=lambda one: (fixed_bytes(one), -one.rank))
    sequences, tokens = replica.estimate.concurrency, workload.isl.mean
    held = "ISL"
    if replica.role != "prefill":
        tokens, held = tokens + workload.osl.mean, "ISL + OSL"
    engine, facts = case.engine, case.facts
    model, layout = case.model, case.layout
    pool = rank.capacity_bytes - fixed_bytes(rank)
    stage = (
        f"stage {rank.stage}: {layout.layers_per_stage[rank.stage]} of {model.num_layers} layers, 1/{layout.tp} each"
    )
    return fact(
        "memory of the fullest rank", fixed_bytes(rank),
        f"{show_bytes(fixed_bytes(rank))} of {show_bytes(rank.capacity_bytes)} before KV (rank {rank.rank})",
        "weights + activations + overhead",
        fact("weights", rank.weights_bytes, show_bytes(rank.weights_bytes), f"{stage}; as stored: {layout.weights}",
             fact("parameters", total_parameters(model), f"{total_parameters(model):,}", "exact count of all layers",
                  source=source_of(model.sources, "parameters"))),
        fact("activations", rank.activation_bytes, show_bytes(rank.activation_bytes),
             "larger of a step of max_num_batched_tokens and sampling max_num_seqs rows of logits",
             fact("max_num_batched_tokens", engine.max_num_batched_tokens, f"{engine.max_num_batched_tokens}"),
             fact("max_num_seqs", engine.max_num_seqs, f"{engine.max_num_seqs}")),
        fact("overhead", rank.overhead_bytes, show_bytes(rank.overhead_bytes),
             "outside the allocator: context, workspaces, graphs, communicators",
             source=source_of(facts.sources, "non_torch_bytes")),
        _capacity(case.at(rank.stage), rank.capacity_bytes),
        fact("KV pool", pool, f"{show_bytes(pool)}, {rank.kv_tokens:,} tokens in the replica",
             "capacity - weights - activations - overhead; the scarcest rank decides",
             fact("KV bytes per token", rank.kv_bytes_per_token, show_bytes(rank.kv_bytes_per_token),
                  f"layers of the stage x KV heads of the rank x (key + value width) x bytes ({layout.kv_cache})"),
             fact("needed", sequences * tokens, f"{sequences * tokens:,} tokens",
                  f"{sequences} requests of up to {held} = {tokens} tokens")),
    )  # fmt: skip


def _capacity(case: Case, capacity: int) -> Fact:
    gpu, engine = case.gpu, case.engine
    return fact(
        "capacity", capacity, show_bytes(capacity), "utilisation x visible memory - reserve",
        fact("utilisation", engine.gpu_memory_utilization, f"{engine.gpu_memory_utilization:g}",
             source=f"{engine.name} {engine.version}: default or workload"),
        fact("visible memory", gpu.memory, show_bytes(gpu.memory), source=source_of(gpu.sources, "memory")),
        fact("reserve", engine.reserve_bytes, show_bytes(engine.reserve_bytes), source="workload"),
    )  # fmt: skip
