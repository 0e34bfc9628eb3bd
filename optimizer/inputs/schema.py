"""What all input records share: frozen, no unknown key, quantities written with their unit.

A quantity is read from text ("80 GiB") into SI base units and written back as text that reads to the same value, so
that a resolved input inside plan.json is itself a valid input.
"""

from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from optimizer import units


class Record(BaseModel):
    """A frozen input record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _text(pattern_example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "examples": [pattern_example]})


Bytes = Annotated[int, BeforeValidator(units.parse_bytes), PlainSerializer(lambda v: f"{v} B"), _text("80 GiB")]
BytesPerS = Annotated[
    float, BeforeValidator(units.parse_bytes_per_s), PlainSerializer(lambda v: f"{v!r} B/s"), _text("400 Gb/s")
]
Seconds = Annotated[float, BeforeValidator(units.parse_seconds), PlainSerializer(lambda v: f"{v!r} s"), _text("40 ms")]
PerSecond = Annotated[
    float, BeforeValidator(units.parse_per_second), PlainSerializer(lambda v: f"{v!r} /s"), _text("20 /s")
]
FlopPerS = Annotated[
    float, BeforeValidator(units.parse_flop_per_s), PlainSerializer(lambda v: f"{v!r} FLOP/s"), _text("989 TFLOP/s")
]
Watts = Annotated[float, BeforeValidator(units.parse_watts), PlainSerializer(lambda v: f"{v!r} W"), _text("700 W")]
Fraction = Annotated[float, BeforeValidator(units.parse_fraction)]
Count = Annotated[int, Field(strict=True, ge=1)]
Natural = Annotated[int, Field(strict=True, ge=0)]

R = TypeVar("R", bound=Record)
