"""Two models on one cluster, one of them with prefill and decode apart, in round figures that nobody priced."""

from dataclasses import replace
from typing import Any

from spoiled import with_inputs, with_replica
from typed_plans import MODEL, WORKLOAD, Put, cluster, plan

from optimizer.inputs.service import Service
from optimizer.inputs.workload import Role, WorkloadSpec
from optimizer.plan import UNITS, Objective, Plan, Served, Survival, Totals
from optimizer.verify import RULES
from optimizer.verify.evidence import gather

OTHER = MODEL.model_copy(update={"name": "other"})

CHAT = WORKLOAD.model_copy(update={"roles": ("both", "prefill", "decode")})
"""OSL 64, as much as can be served."""

MAIL = WorkloadSpec(isl=512, osl=32, request_rate="4 /s", engine=WORKLOAD.engine)

FIGURES: tuple[tuple[int, Role, dict[str, Any]], ...] = (
    (0, "prefill", {"concurrency": 3, "requests_per_s": 10, "ttft_s": 0.20, "tpot_s": 0.0, "transfer_s": 0.05}),
    (0, "decode", {"concurrency": 8, "requests_per_s": 6, "ttft_s": 0.01, "tpot_s": 0.01, "transfer_s": 0.10}),
    (0, "decode", {"concurrency": 4, "requests_per_s": 3, "ttft_s": 0.03, "tpot_s": 0.02, "transfer_s": 0.02}),
    (0, "both", {"concurrency": 4, "requests_per_s": 2, "ttft_s": 0.40, "tpot_s": 0.03, "transfer_s": 0.0}),
    (1, "both", {"concurrency": 2, "requests_per_s": 5, "ttft_s": 0.10, "tpot_s": 0.05, "transfer_s": 0.0}),
)
"""Service, role and estimate of each replica, on one GPU each."""

SLOWEST_PAIR_S = 0.20 + 0.10 + 0.01
"""The first decode replica takes KV slowly; with the second it is 0.20 + 0.05 + 0.03."""

FIRST = Served(
    service=0, model="tiny", replicas=4, gpus=4, requests_per_s=11, output_tokens_per_s=11 * 64,
    ttft_s=(2 * 0.40 + 6 * (0.20 + 0.10 + 0.01) + 3 * (0.20 + 0.05 + 0.03)) / 11,
    tpot_s=(2 * 0.03 + 6 * 0.01 + 3 * 0.02) / 11,
)  # fmt: skip
"""Prompts of 10 + 2 requests/s, answers of 6 + 3 + 2."""

SECOND = Served(
    service=1, model="other", replicas=1, gpus=1, requests_per_s=4, output_tokens_per_s=4 * 32, ttft_s=0.10, tpot_s=0.05
)
"""Could serve 5 requests/s of the 4 that arrive."""


def two_models(**options: str) -> Plan:
    """Return the plan of most tokens/s, a token of the second model worth two of the first."""
    seated = plan(cluster(), [Put(((f"n{i // 4}/{i % 4}",),)) for i in range(len(FIGURES))])
    for number, (service, role, figures) in enumerate(FIGURES):
        told = replace(
            seated.replicas[number].estimate, output_tokens_per_s=0.0, ttft_slo_s=figures["ttft_s"],
            tpot_slo_s=figures["tpot_s"], **figures,
        )  # fmt: skip
        name = (MODEL, OTHER)[service].name
        seated = with_replica(seated, number, service=service, role=role, model=name, estimate=told)
    value = FIRST.output_tokens_per_s + 2 * SECOND.output_tokens_per_s
    totals = Totals(
        gpus=5, replicas=5, output_tokens_per_s=11 * 64 + 4 * 32, requests_per_s=15,
        ttft_s=(11 * FIRST.ttft_s + 4 * 0.10) / 15, tpot_s=(11 * FIRST.tpot_s + 4 * 0.05) / 15,
        cost_per_h=10.0, currency="USD", power_w=2500.0, services=(FIRST, SECOND),
    )  # fmt: skip
    asked = seated.provenance.model_copy(update={"options": options})
    seated = seated.model_copy(update={"totals": totals, "provenance": asked})
    more = (Service(model=OTHER, workload=MAIL, weight=2.0),)
    return with_value(with_inputs(seated, workload=CHAT, more=more), "throughput", value)


def with_value(before: Plan, name: Any, value: float) -> Plan:
    """Return the plan with an objective, called optimal."""
    proven = Objective(name=name, value=value, bound=value, gap=0.0, unit=UNITS[name])
    return before.model_copy(update={"objective": proven})


def with_demand(before: Plan, service: int = 0, **load: Any) -> Plan:
    """Return the plan as if a service had asked for other traffic."""
    services = list(before.inputs.services)
    asked = services[service].workload.model_copy(update=load)
    services[service] = services[service].model_copy(update={"workload": asked})
    first, *more = services
    return with_inputs(before, workload=first.workload, more=tuple(more))


def with_served(before: Plan, service: int = 0, **figures: Any) -> Plan:
    """Return the plan with some totals of one service replaced."""
    stated = list(before.totals.services)
    stated[service] = stated[service].model_copy(update=figures)
    return before.model_copy(update={"totals": before.totals.model_copy(update={"services": tuple(stated)})})


def surviving(before: Plan, worst: str, lost: tuple[int, ...], **figures: Any) -> Plan:
    """Return the plan as one made for the loss of any GPU, ``worst`` said to be the worst."""
    left = Survival(failure="gpu", worst=worst, checked=5, replicas_lost=lost, **figures)
    return before.model_copy(update={"survival": left})


ON_FIGURES = ("pairs", "outcome", "failures", "totals", "origin")
"""Modules whose rules hold what is stated against what is asked; the others look at seats and prices."""


def outcome_rules_broken(stated: Plan) -> set[str]:
    """Return the names of the rules on stated figures that a plan breaks."""
    evidence = gather(stated)
    rules = (rule for rule in RULES if rule.__module__.split(".")[-1] in ON_FIGURES)
    return {rule.__name__ for rule in rules if any(True for _ in rule(evidence))}
