"""Quantities as people write them ("80 GiB", "400 Gb/s") to SI base units, and back.

Every quantity needs its unit; a bare number is refused. GB is 10**9 bytes, GiB is 2**30, Gb/s is bits per second and
case counts. This is the only module that knows powers of 1000 and 1024.
"""

import re
from collections.abc import Callable, Mapping

_QUANTITY = re.compile(r"\s*(?P<number>[+-]?(?:\d[\d_]*)(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*(?P<unit>[A-Za-zµ%/$€]+.*?)\s*")

_PREFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_BINARY = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}

KIB, MIB, GIB = 2**10, 2**20, 2**30
MB, GB = 10**6, 10**9

_BYTES: dict[str, float] = {f"{p}B": float(f) for p, f in (_PREFIXES | _BINARY).items()} | {"KB": 1e3}
_BYTES_PER_S: dict[str, float] = (
    {f"{unit}/s": f for unit, f in _BYTES.items()}
    | {f"{p}b/s": f / 8 for p, f in _PREFIXES.items()}
    | {f"{p}bit/s": f / 8 for p, f in _PREFIXES.items()}
    | {f"{p}bps": f / 8 for p, f in _PREFIXES.items() if p}
)
_SECONDS: dict[str, float] = {
    "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0,
}  # fmt: skip
_PER_SECOND: dict[str, float] = {"/s": 1.0, "req/s": 1.0, "requests/s": 1.0, "/min": 1 / 60, "/h": 1 / 3600, "Hz": 1.0}
_FLOP_PER_S: dict[str, float] = (
    {f"{p}FLOP/s": float(f) for p, f in _PREFIXES.items()}
    | {f"{p}FLOPS": float(f) for p, f in _PREFIXES.items() if p}
    | {f"{p}OP/s": float(f) for p, f in _PREFIXES.items()}
)
_WATTS: dict[str, float] = {"W": 1.0, "kW": 1e3}
_PER_HOUR: dict[str, float] = {f"{c}/h": 1.0 for c in ("USD", "EUR", "GBP", "CNY", "JPY", "$", "€")}


def _read(text: object, units: Mapping[str, float], what: str, example: str) -> float:
    """Return the value of ``text`` in base units, or raise ValueError that says how to write it."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        raise ValueError(f"{text!r} has no unit: write {what} with its unit, such as {example}")  # noqa: TRY004
    match = _QUANTITY.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is no {what}: write a number and a unit, such as {example}")
    unit = re.sub(r"\s*/\s*", "/", match["unit"])
    if unit not in units:
        raise ValueError(f"{text!r}: {unit!r} is no unit of {what}; known: {', '.join(units)} (such as {example})")
    return float(match["number"].replace("_", "")) * units[unit]


def _positive(value: float, text: object, what: str) -> float:
    """Return ``value``, or raise ValueError when it is negative or not finite."""
    if not 0 <= value < float("inf"):
        raise ValueError(f"{text!r}: a {what} is 0 or more, and finite")
    return value


def _reader(units: Mapping[str, float], what: str, example: str) -> Callable[[object], float]:
    def read(text: object) -> float:
        return _positive(_read(text, units, what, example), text, what)

    read.__doc__ = f"Return a {what} in base units from text such as {example}; ValueError names the remedy."
    return read


_size = _reader(_BYTES, "size", '"80 GiB" or "80 GB"')
parse_bytes_per_s = _reader(_BYTES_PER_S, "bandwidth (per direction)", '"400 Gb/s" or "450 GB/s"')
parse_seconds = _reader(_SECONDS, "time", '"40 ms" or "3 us"')
parse_per_second = _reader(_PER_SECOND, "rate", '"20 /s"')
parse_flop_per_s = _reader(_FLOP_PER_S, "compute rate", '"989 TFLOP/s"')
parse_watts = _reader(_WATTS, "power", '"700 W"')


def parse_bytes(text: object) -> int:
    """Return bytes: "80 GiB" is 80 * 2**30, "80 GB" is 80 * 10**9, a bare 80 is refused."""
    return round(_size(text))


def parse_price(text: object) -> tuple[float, str]:
    """Return (amount per GPU-hour, currency) of text such as "3.50 USD/h"."""
    amount = _positive(_read(text, _PER_HOUR, "price", '"3.50 USD/h"'), text, "price")
    currency = str(text).split("/")[0].lstrip("0123456789.+ _eE")
    return amount, {"$": "USD", "€": "EUR"}.get(currency.strip(), currency.strip())


def parse_fraction(value: object) -> float:
    """Return a share between 0 and 1 of a bare 0.92 or of text such as "92 %"."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        share = float(value)
    else:
        share = _read(value, {"%": 0.01}, "share", '0.92 or "92 %"')
    if not 0 <= share <= 1:
        raise ValueError(f"{value!r}: a share lies between 0 and 1 (or 0 % and 100 %)")
    return share


def show_bytes(n_bytes: float) -> str:
    """Return bytes for people, in binary units: "79.6 GiB"."""
    for unit, factor in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if abs(n_bytes) >= factor:
            return f"{n_bytes / factor:,.1f} {unit}"
    return f"{n_bytes:.0f} B"


def show_bytes_per_s(rate: float) -> str:
    """Return bytes per second for people, in decimal units: "450 GB/s"."""
    for unit, factor in (("TB/s", 10**12), ("GB/s", 10**9), ("MB/s", 10**6)):
        if abs(rate) >= factor:
            return f"{rate / factor:,.4g} {unit}"
    return f"{rate:.4g} B/s"


def show_seconds(seconds: float) -> str:
    """Return seconds for people with three digits: "12.3 ms"."""
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(seconds) >= factor:
            return f"{seconds / factor:.3g} {unit}" if seconds / factor < 1000 else f"{seconds / factor:,.0f} {unit}"
    return f"{seconds / 1e-9:.3g} ns" if seconds else "0 s"


def show_number(value: float) -> str:
    """Return a plain number for people with four digits and no exponent: "0.1234", "19.8", "1,000"."""
    digits = max(0, 3 - int(f"{value:e}".split("e")[1]))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
