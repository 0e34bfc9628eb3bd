"""Is it allowed: the rules again in plain Python, from the plan's own inputs; no solver, no rounding."""

from collections.abc import Callable, Iterator

from optimizer.errors import InputError
from optimizer.plan import Plan
from optimizer.verify import failures, links, origin, outcome, pairs, prices, seats, torus, totals
from optimizer.verify.evidence import Evidence, gather

Rule = Callable[[Evidence], Iterator[str]]

RULES: tuple[Rule, ...] = (
    seats.seats_exist,
    seats.seats_may_be_used,
    seats.seats_hold_one_rank,
    seats.ranks_are_complete,
    seats.layers_are_all_there,
    seats.gpus_are_of_the_stages_type,
    seats.engine_runs_on_the_gpus,
    seats.engine_takes_several_types,
    seats.engine_admits_layout,
    seats.precisions_are_allowed,
    seats.nodes_hold_equal_shares,
    seats.attention_replicas_are_whole,
    seats.replicas_are_wired,
    prices.engine_is_set_as_asked,
    prices.engine_takes_the_load,
    prices.memory_fits,
    prices.memory_is_as_recomputed,
    prices.estimate_is_as_recomputed,
    prices.slos_are_met,
    links.reservations_are_as_recomputed,
    links.links_carry_what_is_promised,
    links.mean_traffic_is_reserved,
    links.nics_and_uplinks_are_not_promised_twice,
    torus.replicas_have_boxes_of_the_torus,
    pairs.roles_are_allowed,
    pairs.pairs_agree,
    pairs.pairs_meet_ttft,
    outcome.every_service_is_served,
    outcome.demand_is_met,
    failures.enough_is_left,
    totals.objective_is_as_recomputed,
    outcome.proof_holds,
    outcome.no_candidate_is_better,
    origin.inputs_are_those_solved,
    origin.objectives_are_those_asked,
    origin.options_are_kept,
    totals.totals_add_up,
    totals.services_add_up,
)


SHAPE: tuple[Rule, ...] = (
    seats.seats_exist,
    seats.seats_hold_one_rank,
    seats.ranks_are_complete,
    seats.layers_are_all_there,
    outcome.every_service_is_served,
)
"""What holds of any plan that was ever written, whatever its prices are by now."""


def check(plan: Plan, rules: tuple[Rule, ...] = RULES) -> tuple[str, ...]:
    """Return every rule that the plan breaks, as "rule: what is wrong"; nothing when it is allowed.

    All is recomputed from ``plan.inputs``: the topology from the cluster, paths and reservations from the seats,
    memory and times from the paths. A plan whose inputs cannot be read breaks the rule "inputs".
    """
    try:
        evidence = gather(plan)
    except InputError as error:
        return (f"inputs: {error}",)
    return tuple(f"{rule.__name__}: {wrong}" for rule in rules for wrong in rule(evidence))
