"""The command line of an engine as data: which flag sets what, by release."""

from pydantic import Field

from optimizer.inputs.schema import Record
from optimizer.inputs.workload import EngineName


class EngineFlags(Record):
    """Names of one release; a release that renames a flag is a new file, not new code."""

    engine: EngineName
    version: str
    """A release ("0.33" holds for 0.33.0 and 0.33.1)."""
    source: str
    flags: dict[str, str] = Field(min_length=1)
    """Flag or configuration key by what it sets."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Environment variable by what it sets."""
    image: str | None = None
    """The publisher's container image, {version} standing for the release a plan names."""
