"""How combinations of a sweep travel to the processes that solve them."""

import io
import pickle
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from optimizer.grid import Cell, Numbered, together
from optimizer.inputs.schema import Record


class _Packer(pickle.Pickler):
    """Names each record by its own bytes, made once however many parcels it is in."""

    def __init__(self, file: io.BytesIO, known: dict[int, bytes]) -> None:
        super().__init__(file)
        self._known = known

    def persistent_id(self, obj: Any) -> bytes | None:
        """Return the bytes of a record; None for all else."""
        if not isinstance(obj, Record):
            return None
        if id(obj) not in self._known:
            self._known[id(obj)] = pickle.dumps(obj)
        return self._known[id(obj)]


class _Unpacker(pickle.Unpickler):
    """Gives equal bytes the same record, so that what is remembered of it in this process is found again."""

    def persistent_load(self, pid: bytes) -> object:
        """Return the record of these bytes."""
        return _record(pid)


@lru_cache(maxsize=1024)
def _record(data: bytes) -> object:
    return pickle.loads(data)


def packed(cells: Sequence[Cell]) -> Iterator[bytes]:
    """Yield the groups of combinations that are solved in a row, each as bytes."""
    known: dict[int, bytes] = {}
    for group in together(cells):
        file = io.BytesIO()
        _Packer(file, known).dump(group)
        yield file.getvalue()


def unpacked(parcel: bytes) -> Sequence[Numbered]:
    """Return the group of a parcel; a cluster, model or workload that came before is the object that it was then."""
    group: Sequence[Numbered] = _Unpacker(io.BytesIO(parcel)).load()
    return group
