"""Reading a foreign mapping field by field: typed, by any of several names, every miss an InputError."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optimizer.errors import InputError


@dataclass(frozen=True)
class Fields:
    """A mapping from someone else's file and the place messages point to."""

    values: Mapping[str, object]
    where: str

    def get(self, *names: str) -> object:
        """Return the first value present and not null, None when there is none."""
        return next((self.values[name] for name in names if self.values.get(name) is not None), None)

    def count(self, *names: str, default: int | None = None) -> int:
        """Return a whole number of at least 1."""
        value = self.get(*names)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{self.where}: {' or '.join(names)}: {value!r} is no whole number of at least 1")
        return value

    def optional(self, *names: str) -> int | None:
        """Return a whole number, None when the field is absent, null or 0."""
        return self.count(*names) if self.get(*names) else None

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a truth value."""
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            raise InputError(f"{self.where}: {name}: {value!r} is neither true nor false")
        return default if value is None else value

    def text(self, name: str, *, default: str | None = None) -> str:
        """Return text."""
        value = self.get(name)
        value = default if value is None else value
        if not isinstance(value, str):
            raise InputError(f"{self.where}: {name}: {value!r} is no text; is this a Hugging Face config.json?")
        return value

    def part(self, *names: str) -> Mapping[str, object]:
        """Return a nested mapping, an empty one when absent."""
        value = self.get(*names)
        return value if isinstance(value, Mapping) else {}

    def sequence(self, name: str, length: int) -> Sequence[object] | None:
        """Return a list with one entry per layer, None when absent."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, list | tuple) or len(value) < length:
            raise InputError(f"{self.where}: {name}: needs one entry for each of the {length} layers")
        return value[:length]
