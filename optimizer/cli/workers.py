"""Where the solves of a sweep run: one after another, local processes, a Ray or a Dask cluster."""

import importlib
import importlib.util
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from optimizer.cli import output
from optimizer.cli.edge import collect_garbage_rarely
from optimizer.cli.parcels import packed, unpacked
from optimizer.errors import InputError
from optimizer.grid import Cell, Result, together
from optimizer.inputs.complaints import did_you_mean

Backend = Callable[[Sequence[Cell]], Iterator[tuple[int, Result]]]
"""Cells to (number of the cell, its result), in the order in which they are finished."""

NAMES = ("local", "ray", "dask")


def backend(name: str, jobs: int) -> Backend:
    """Return where to solve; InputError when the name is unknown or its library is missing, naming the extra."""
    if name not in NAMES:
        raise InputError(f"--backend: {name!r} is not known; {did_you_mean(name, NAMES, what='one of')}")
    if name == "local" and jobs == 1:
        return one_by_one
    if name == "local" and _missing("joblib"):
        output.progress("joblib is not installed, so solves run one by one: pip install 'tpopt[sweep]'")
        return one_by_one
    for module in ("joblib", *({"ray": ("ray",), "dask": ("distributed",)}.get(name, ()))):
        if _missing(module):
            extra = "sweep" if name == "local" else name
            raise InputError(f"--backend {name}: {module} is not installed: pip install 'tpopt[{extra}]'")
    return {"local": _local, "ray": _ray, "dask": _dask}[name](jobs)


def _missing(module: str) -> bool:
    return importlib.util.find_spec(module) is None


def one_by_one(cells: Sequence[Cell]) -> Iterator[tuple[int, Result]]:
    """Yield results in order, solved in this process."""
    from optimizer.pipeline.sweep import solve_group

    return chain.from_iterable(map(solve_group, together(cells)))


def solved(parcel: bytes) -> tuple[tuple[int, Result], ...]:
    """Return the results of a group together; this is what workers run, and only they load the solver."""
    from optimizer.pipeline.sweep import solve_group

    collect_garbage_rarely()
    return tuple(solve_group(unpacked(parcel)))


def _local(jobs: int) -> Backend:
    """Return local processes; asked to solve, they are started at once, before the first result is asked for."""
    joblib: Any = importlib.import_module("joblib")
    loky: Any = importlib.import_module("joblib.externals.loky")

    def run(cells: Sequence[Cell]) -> Iterator[tuple[int, Result]]:
        parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
        return results(parallel(joblib.delayed(solved)(parcel) for parcel in packed(cells)))

    def results(groups: Iterable[Iterable[tuple[int, Result]]]) -> Iterator[tuple[int, Result]]:
        yield from chain.from_iterable(groups)
        loky.get_reusable_executor(reuse=True).shutdown(kill_workers=True)  # idle: nothing to tidy up

    return run


def _ray(jobs: int) -> Backend:
    """Return a Ray cluster: that of RAY_ADDRESS, else a local one."""
    joblib: Any = importlib.import_module("joblib")
    importlib.import_module("ray.util.joblib").register_ray()

    def run(cells: Sequence[Cell]) -> Iterator[tuple[int, Result]]:
        parcels = list(packed(cells))
        for start in range(0, len(parcels), 4 * jobs):
            with joblib.parallel_config(backend="ray", n_jobs=jobs):
                part = parcels[start : start + 4 * jobs]
                yield from chain.from_iterable(joblib.Parallel()(joblib.delayed(solved)(parcel) for parcel in part))

    return run


def _dask(jobs: int) -> Backend:
    """Return a Dask cluster: that of DASK_SCHEDULER_ADDRESS, else a local one."""
    import os

    distributed: Any = importlib.import_module("distributed")

    def run(cells: Sequence[Cell]) -> Iterator[tuple[int, Result]]:
        address = os.environ.get("DASK_SCHEDULER_ADDRESS")
        here = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": None}
        with distributed.Client(address, **({} if address else here)) as client:
            futures = client.map(solved, list(packed(cells)), pure=False)
            for _, results in distributed.as_completed(futures, with_results=True):
                yield from results

    return run


def check_libraries(out: Path, report: str | None) -> None:
    """Raise InputError, before any work is done, naming the extra of what would be missing to write the results."""
    if out.suffix == ".parquet" and _missing("pyarrow"):
        raise InputError(
            "-o: Parquet needs pyarrow, which is not installed: pip install 'tpopt[parquet]', or name a .csv"
        )
    if report is not None and _missing("plotly"):
        raise InputError("--report: plotly draws the charts and is not installed: pip install 'tpopt[report]'")


def parquet(names: Sequence[str], results: Sequence[Result]) -> bytes:
    """Return results as a Parquet file."""
    arrow: Any = importlib.import_module("pyarrow")
    text, whole = arrow.string(), arrow.int64()
    kinds = {"replicas": whole, "gpus": whole, "max_gpus": whole}
    kinds |= {name: arrow.float64() for name in names if name.endswith("_s") or name in _FLOATS}
    schema = arrow.schema([(name, kinds.get(name, text)) for name in names])
    file = io.BytesIO()
    table = arrow.Table.from_pylist([dict(result) for result in results], schema=schema)
    importlib.import_module("pyarrow.parquet").write_table(table, file)
    return file.getvalue()


_FLOATS = ("value", "bound", "gap", "cost_per_h")
