"""What in a price is not measured on its own GPUs."""

from functools import lru_cache

from optimizer.cost.case import Case
from optimizer.inputs.calibration import Calibration
from optimizer.inputs.identity import Same
from optimizer.inputs.model import Latent, MixtureOfExperts, ModelSpec, Scheme
from optimizer.topology.wiring import Wiring


def notes(case: Case) -> tuple[str, ...]:
    """Return what in this price is not measured on its GPUs."""
    said = [
        _notes(Same(case.model), one.gpu.id, Same(one.calibration), _media(Same(one.wiring)), case.layout.weights)
        for one, _ in case.parts
    ]
    return said[0] if len(said) == 1 else tuple(dict.fromkeys(note for notes in said for note in notes))


@lru_cache(maxsize=4096)
def _media(wiring: Same[Wiring]) -> tuple[str, ...]:
    """Return what links a replica uses."""
    paths = wiring.value
    ways = (*paths.hops, *((paths.exit,) if paths.exit else ()))
    return paths.group.inner, paths.group.outer, *sorted({way.medium for way in ways})


@lru_cache(maxsize=1024)
def _notes(
    model: Same[ModelSpec], gpu: str, calibration: Same[Calibration], media: tuple[str, ...], weights: Scheme
) -> tuple[str, ...]:
    fits, used = calibration.value, {"kernel", "host", "elementwise", "gemm", *(f"links {medium}" for medium in media)}
    for run in model.value.runs:
        used.add("mla" if isinstance(run.attention, Latent) else "attention")
        used.update({"moe"} if isinstance(run.feed_forward, MixtureOfExperts) else ())
    kin = f"{gpu} has no calibration: priced from its datasheet with the shares of it measured on {fits.gpu}"
    said = [kin] if fits.gpu != gpu else []
    if weights not in fits.gemm:
        said.append(f"{fits.gpu}: {weights} matrix products not measured, priced with the shares of 16 bits")
    if "moe" in used and weights not in fits.moe:
        said.append(f"{fits.gpu}: {weights} experts not measured, priced with the shares of 16 bits")
    return (
        *said,
        *(
            f"{fits.gpu}: {family} not measured, taken from {origin}"
            for family, origin in sorted(fits.borrowed.items())
            if used.intersection(family.split(", "))
        ),
    )
