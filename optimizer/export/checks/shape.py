"""A record that refuses unknown keys, and how its complaints are told."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel


class Shape(BaseModel):
    """Part of a file: only the fields that exports use, each with its type; anything else is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class CamelShape(Shape):
    """The same for files whose keys are written likeThis."""

    model_config = ConfigDict(alias_generator=to_camel)


def complaints(shape: type[BaseModel], document: Any) -> Iterator[str]:
    """Yield what is wrong with a document, by the path of its keys."""
    try:
        shape.model_validate(document)
    except ValidationError as error:
        for one in error.errors():
            where = ".".join(str(part) for part in one["loc"])
            yield f"{where}: {one['msg'][0].lower()}{one['msg'][1:]}"
