"""YAML, JSON and CSV text to plain values, strictly: one meaning per key, no surprise types, no bombs.

YAML is read by the rules of YAML 1.2: only ``true`` and ``false`` are booleans, so ``no``, ``on``, ``1:30``,
``012`` and ``2024-01-01`` stay the text they look like. Every error is one InputError that names file and line.
"""

import csv
import io
import json
import re
from pathlib import Path

import yaml

from optimizer.errors import InputError
from optimizer.units import MIB

MAX_FILE_BYTES = 16 * MIB
"""A cluster of 16,384 GPUs with every UUID written out takes about 1 MiB."""
MAX_VALUES = 2_000_000
"""Values after all aliases are expanded."""
MAX_DEPTH = 64

_CORE = "tag:yaml.org,2002:"
_MERGE = _CORE + "merge"
_SCALARS: tuple[tuple[str, str, str], ...] = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("merge", r"<<", "<"),
)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Composes nodes with the scalar types of YAML 1.2; values are built by ``_value``, never by PyYAML."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own attribute)


for _name, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(
        _CORE + _name, re.compile(rf"(?:{_pattern})\Z"), ["" if c == "\0" else c for c in _first]
    )


def read_text(path: Path, *, limit: int = MAX_FILE_BYTES) -> str:
    """Return the text of a UTF-8 file of at most ``limit`` bytes; InputError names the file and the remedy."""
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) > limit:
        raise InputError(f"{path}: larger than {limit // MIB} MiB; describe equal nodes by count and template instead")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: byte {error.start} is not UTF-8; save the file as UTF-8") from error


def read_bytes(path: Path, where: str, *, limit: int = MAX_FILE_BYTES) -> bytes:
    """Return the content of a file, of at most ``limit`` bytes; InputError begins with ``where``."""
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{where}: {path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(raw) > limit:
        raise InputError(f"{where}: {path}: larger than {limit // MIB} MiB; import a part of it")
    return raw


def read_document(path: Path) -> object:
    """Return the plain value of a YAML or JSON file (by its suffix; anything but .json is YAML)."""
    text = read_text(path)
    return parse_json(text, str(path)) if path.suffix.lower() == ".json" else parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> object:
    """Return the value of one YAML document; ``where`` is the file's name for errors."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise InputError(f"{where}{_line(error)}: broken YAML: {_problem(error)}") from error
    except RecursionError as error:
        raise InputError(f"{where}: nested more than {MAX_DEPTH} deep; flatten it") from error
    if node is None:
        return None
    _size(node, where, {}, MAX_DEPTH)
    return _value(node, where)


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return f":{mark.line + 1}" if mark else ""


def _problem(error: yaml.YAMLError) -> str:
    parts = (getattr(error, "context", None), getattr(error, "problem", None))
    told = ", ".join(str(part) for part in parts if part) or str(error).splitlines()[0]
    if "could not find expected ':'" in told or "mapping values are not allowed" in told:
        return f"{told}; write 'key: value' with a space after the colon, and quote text that holds ': '"
    if "cannot start any token" in told:
        return f"{told}; indent with spaces, not tabs, and quote text that starts with a sign"
    return f"{told}; check indentation, brackets and quotes there"


def _size(node: yaml.Node, where: str, known: dict[int, int], depth: int) -> int:
    """Return how many values ``node`` stands for with aliases expanded; refuse what is too deep or too many."""
    if id(node) in known:
        return known[id(node)]
    if depth == 0:
        raise InputError(f"{_at(node, where)}: nested more than {MAX_DEPTH} deep (or an alias of itself); flatten it")
    total = 1 + sum(_size(child, where, known, depth - 1) for child in _children(node))
    if total > MAX_VALUES:
        raise InputError(f"{_at(node, where)}: aliases expand to more than {MAX_VALUES:,} values; write them out")
    known[id(node)] = total
    return total


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _at(node: yaml.Node, where: str) -> str:
    return f"{where}:{node.start_mark.line + 1}"


def _value(node: yaml.Node, where: str) -> object:
    if isinstance(node, yaml.MappingNode) and node.tag == _CORE + "map":
        return _mapping(node, where)
    if isinstance(node, yaml.SequenceNode) and node.tag == _CORE + "seq":
        return [_value(item, where) for item in node.value]
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, where)
    raise InputError(f"{_at(node, where)}: tag {node.tag} is not read; remove it")


def _scalar(node: yaml.ScalarNode, where: str) -> object:
    try:
        match node.tag.removeprefix(_CORE):
            case "str" | "merge":
                return str(node.value)
            case "null":
                return None
            case "bool":
                return node.value.lower() == "true"
            case "int":
                return int(node.value)
            case "float":
                return float(node.value)
    except ValueError as error:
        raise InputError(f"{_at(node, where)}: {node.value[:40]!r} is no such number; shorten or quote it") from error
    raise InputError(f"{_at(node, where)}: tag {node.tag} is not read; remove it")


def _mapping(node: yaml.MappingNode, where: str) -> dict[str, object]:
    """Return the mapping; keys of ``<<`` come first and give way, any other repeated key is refused."""
    merged: dict[str, object] = {}
    own: dict[str, object] = {}
    lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        if key_node.tag == _MERGE:
            merged = _merge(value_node, where) | merged
            continue
        key = _value(key_node, where)
        if not isinstance(key, str):
            raise InputError(f"{_at(key_node, where)}: key {key!r} is not text; put it in quotes")
        if key in own:
            raise InputError(f"{_at(key_node, where)}: key {key!r} is already on line {lines[key]}; keep one of them")
        own[key] = _value(value_node, where)
        lines[key] = key_node.start_mark.line + 1
    return merged | own


def _merge(node: yaml.Node, where: str) -> dict[str, object]:
    value = _value(node, where)
    merged: dict[str, object] = {}
    for part in value if isinstance(value, list) else [value]:
        if not isinstance(part, dict):
            raise InputError(f"{_at(node, where)}: '<<' merges mappings only")
        merged = part | merged
    return merged


def parse_json(text: str, where: str) -> object:
    """Return the value of JSON text; repeated keys and broken Unicode are refused.

    Infinity and NaN, which Python writes into model configurations, are read; no input record takes them.
    """

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            key = next(k for i, (k, _) in enumerate(pairs) if k in dict(pairs[:i]))
            raise InputError(f"{where}: key {key!r} appears twice in one object{_lines(text, key)}; keep one of them")
        return found

    try:
        value: object = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}:{error.lineno}: broken JSON: {error.msg}, column {error.colno}; check commas, quotes, brackets"
        ) from error
    except RecursionError as error:
        raise InputError(f"{where}: nested too deep; flatten it") from error
    except ValueError as error:
        raise InputError(f"{where}: broken JSON: {error}; shorten the number") from error
    if re.search(r"\\u[dD][89a-fA-F]", text):
        _refuse_surrogates(value, where)
    return value


def _lines(text: str, key: str) -> str:
    found = [text.count("\n", 0, m.start()) + 1 for m in re.finditer(rf"{re.escape(json.dumps(key))}\s*:", text)]
    return f" (lines {', '.join(map(str, found))})" if found else ""


def _refuse_surrogates(value: object, where: str) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: half of a Unicode pair (\\ud800 to \\udfff); write the character itself") from error


def parse_csv(text: str, where: str, needed: tuple[str, ...] = ()) -> tuple[tuple[str, ...], list[dict[str, str]]]:
    """Return the column names and the rows of CSV text, absent cells empty; InputError names line and column."""
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        lines = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise InputError(f"{where}: broken CSV: {error}; check the quotes") from error
    names = tuple(name.strip() for name in lines[0][1]) if lines else ()
    missing = [name for name in needed if name not in names]
    if missing:
        raise InputError(f"{where}:1: no column {', '.join(missing)}; the first line names the columns")
    if len(set(names)) < len(names):
        raise InputError(
            f"{where}:1: column {next(n for n in names if names.count(n) > 1)!r} twice; rename one of them"
        )
    for number, cells in lines[1:]:
        if len(cells) > len(names):
            raise InputError(f"{where}:{number}: {len(cells)} cells for {len(names)} columns; quote cells with commas")
    return names, [dict(zip(names, cells + [""] * len(names), strict=False)) for _, cells in lines[1:]]
