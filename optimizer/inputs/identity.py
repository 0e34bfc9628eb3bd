"""Cache keys by identity: inputs are frozen, and hashing a whole model costs more than what is looked up."""

from typing import Generic, TypeVar

T = TypeVar("T")


class Same(Generic[T]):
    """A cache key that compares a value by identity, and keeps it alive."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value


class Keyed(Generic[T]):
    """A cache key that stands for a value: equal where what the answer depends on is, whatever else the value has."""

    __slots__ = ("key", "value")

    def __init__(self, value: T, *key: object) -> None:
        self.value, self.key = value, key

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keyed) and self.key == other.key
