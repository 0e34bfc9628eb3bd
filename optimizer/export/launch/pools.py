"""Pools: replicas among which one router spreads the requests of a model, and what they are called."""

from optimizer.export.launch.seating import Launch


def pools(all_heads: tuple[Launch, ...]) -> tuple[tuple[Launch, ...], ...]:
    """Return the heads by who can share a router: those of one service that do both phases, and its pairs."""
    found: dict[tuple[int, bool], list[Launch]] = {}
    for head in all_heads:
        found.setdefault((head.service, head.is_apart), []).append(head)
    return tuple(tuple(own) for own in found.values())


def pool_name(own: tuple[Launch, ...]) -> str:
    """Return what a pool is called in names of objects and files; pairs say so where whole replicas are beside them."""
    head = own[0]
    roles = {r.role == "both" for r in head.plan.replicas if r.service == head.service}
    return head.short_name + ("-pairs" if head.is_apart and len(roles) > 1 else "")
