"""One replica to be priced: everything its cost depends on, and nothing else."""

from dataclasses import dataclass

from optimizer.cost.quantities import EngineSettings
from optimizer.inputs.calibration import Calibration
from optimizer.inputs.engine import EngineVersion
from optimizer.inputs.gpu import GpuSpec
from optimizer.inputs.model import ModelSpec
from optimizer.layout import Layout
from optimizer.topology.wiring import Wiring


@dataclass(frozen=True)
class Case:
    """A model in one layout on GPUs of one type, wired and served in one way."""

    model: ModelSpec
    layout: Layout
    gpu: GpuSpec
    wiring: Wiring
    engine: EngineSettings
    facts: EngineVersion
    calibration: Calibration
