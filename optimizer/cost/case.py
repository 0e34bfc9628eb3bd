"""One replica to be priced: everything its cost depends on, and nothing else."""

from dataclasses import dataclass, replace
from functools import cached_property

from optimizer.cost.quantities import EngineSettings
from optimizer.inputs.calibration import Calibration
from optimizer.inputs.engine import EngineVersion
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.model import ModelSpec
from optimizer.inputs.workload import Speculative
from optimizer.layout import Layout
from optimizer.topology.wiring import Wiring


@dataclass(frozen=True)
class Hardware:
    """A type of GPU and its measured constants."""

    gpu: GpuSpec
    calibration: Calibration


@dataclass(frozen=True, eq=False)
class Case:
    """A model in one layout on GPUs, wired and served in one way; compared by identity, to look up its constants."""

    model: ModelSpec
    layout: Layout
    gpu: GpuSpec
    """Of the first stage, beside which the engine's process runs; of all stages unless there is ``further``."""
    wiring: Wiring
    engine: EngineSettings
    facts: EngineVersion
    calibration: Calibration
    further: tuple[Hardware, ...] = ()
    """Of the second and later sections of the wiring, where the stages sit on several types of GPU."""
    speculative: Speculative | None = None
    """How tokens are drafted ahead of the steps that check them; None: not at all."""

    @property
    def checked(self) -> int:
        """Tokens of a sequence that one decode step computes: the last one known, and those drafted."""
        return 1 if self.speculative is None else 1 + self.speculative.draft_tokens

    @property
    def parts(self) -> "tuple[tuple[Case, range], ...]":
        """The replica as cases on GPUs of one type, each with the stages it holds."""
        return self._sections if self.further else ((self, range(self.layout.pp)),)

    def at(self, stage: int) -> "Case":
        """Return the case on the GPUs of one stage."""
        return self._by_stage[stage] if self.further else self

    @cached_property
    def _by_stage(self) -> "tuple[Case, ...]":
        return tuple(part for part, held in self._sections for _ in held)

    @cached_property
    def _sections(self) -> "tuple[tuple[Case, range], ...]":
        """One case for each section of the wiring; kept, because constants are looked up by the identity of a case."""
        found, first = [], 0
        types = (Hardware(self.gpu, self.calibration), *self.further)
        for section, hardware in zip(self.wiring.sections, types, strict=True):
            paths = replace(self.wiring, group=section.group, speed_factor=section.speed_factor, sections=())
            part = replace(self, gpu=hardware.gpu, calibration=hardware.calibration, wiring=paths, further=())
            found.append((part, range(first, first + section.stages)))
            first += section.stages
        return tuple(found)
