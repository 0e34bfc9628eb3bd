"""What in a price is not measured on its own GPUs."""

from functools import lru_cache

from optimizer.cost.case import Case
from optimizer.inputs.calibration import Calibration
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.identity import Same
from optimizer.inputs.model import Latent, MixtureOfExperts, ModelSpec, Scheme
from optimizer.topology.wiring import Wiring


def notes(case: Case) -> tuple[str, ...]:
    """Return what in this price is not measured on its GPUs."""
    said = [
        _notes(Same(case.model), Same(one.gpu), Same(one.calibration), _media(Same(one.wiring)), case.layout.weights)
        for one, _ in case.parts
    ]
    return said[0] if len(said) == 1 else tuple(dict.fromkeys(note for notes in said for note in notes))


@lru_cache(maxsize=4096)
def _media(wiring: Same[Wiring]) -> tuple[str, ...]:
    """Return what links a replica uses."""
    paths = wiring.value
    ways = (*paths.hops, *((paths.exit,) if paths.exit else ()))
    return paths.group.inner, paths.group.outer, *sorted({way.medium for way in ways})


def _kin(gpu: GpuSpec, kin: str) -> str:
    """Return that a GPU is priced with what another reaches, and how far off such prices were.

    The figure is printed by tests/accuracy/kin.py: 150 published runs on A100, whose kernels are H100's shares.
    """
    known = "A100 priced so was 12 % off in the mean of published runs" if gpu.vendor == "nvidia" else _UNCHECKED
    return f"{gpu.id} has no calibration: priced from its datasheet with the shares of it measured on {kin}; {known}"


_UNCHECKED = "how far off that is was not checked on any GPU of its vendor"


@lru_cache(maxsize=1024)
def _notes(
    model: Same[ModelSpec], gpu: Same[GpuSpec], calibration: Same[Calibration], media: tuple[str, ...], weights: Scheme
) -> tuple[str, ...]:
    fits, used = calibration.value, {"kernel", "host", "elementwise", "gemm", *(f"links {medium}" for medium in media)}
    for run in model.value.runs:
        used.add("mla" if isinstance(run.attention, Latent) else "attention")
        used.update({"moe"} if isinstance(run.feed_forward, MixtureOfExperts) else ())
    said = [_kin(gpu.value, fits.gpu)] if fits.gpu != gpu.value.id else []
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
