"""What is wrong with an input, in one message: file, key, reason, remedy and the nearest known name."""

import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from optimizer.errors import InputError

MAX_COMPLAINTS = 8
"""More problems than this are counted, not listed."""

Spec = TypeVar("Spec", bound=BaseModel)


def nearest(word: str, known: Iterable[str], count: int = 3) -> tuple[str, ...]:
    """Return up to ``count`` known names that ``word`` may have meant, nearest first."""
    names = {name.lower(): name for name in sorted(known)}
    lowered = word.lower()
    holds = [name for name in names if len(lowered) > 2 and (lowered in name or name in lowered)]
    close = get_close_matches(lowered, names, n=count, cutoff=0.55)
    return tuple(names[name] for name in dict.fromkeys(close + sorted(holds, key=lambda n: (len(n), n))))[:count]


MOST_KNOWN = 16
"""More names than these are counted in a message."""


def did_you_mean(word: str, known: Collection[str], *, what: str = "known") -> str:
    """Return the end of a message: "did you mean 'a' or 'b'?", or all that is known when nothing is near."""
    near = nearest(word, known)
    if near:
        return f"did you mean {' or '.join(repr(name) for name in near)}?"
    listed = sorted(known)
    more = f" and {len(listed) - MOST_KNOWN} more" if len(listed) > MOST_KNOWN else ""
    return f"{what}: {', '.join(listed[:MOST_KNOWN])}{more}" if listed else f"{what}: none"


def validated(spec: type[Spec], value: object, where: str, at: str = "") -> Spec:
    """Return ``value``, found ``at`` a place in the file, as a ``spec``, or raise one InputError for all wrong keys."""
    if not isinstance(value, Mapping):
        raise InputError(
            f"{where}: {at + ': ' if at else ''}holds {_kind(value)}; expected keys such as "
            f"{', '.join(list(spec.model_fields)[:3])}"
        )
    try:
        return spec.model_validate(value)
    except ValidationError as error:
        raise InputError(complaint(error, spec, value, where, at)) from error


def complaint(error: ValidationError, spec: type[BaseModel], value: object, where: str, at: str = "") -> str:
    """Return the message of a validation error: one line per wrong key."""
    lines: dict[str, str] = {}
    for details in error.errors(include_url=False):
        place = _Place(spec, value, at)
        for step in details["loc"]:
            place.enter(step)
        if place.is_meant:
            path = place.path
            lines.setdefault(path, f"{where}: {path + ': ' if path else ''}{_reason(details, place)}")
    told = list(lines.values())
    more = [f"{where}: and {len(told) - MAX_COMPLAINTS} more"] if len(told) > MAX_COMPLAINTS else []
    return "\n".join(told[:MAX_COMPLAINTS] + more)


class _Place:
    """Where a validation error points: the key path, the type expected there and the value found."""

    def __init__(self, annotation: Any, value: object, path: str = "") -> None:
        self.annotation = annotation
        self.value = value
        self.path = path
        self.siblings: tuple[str, ...] = ()
        self.is_meant = True
        """False for a branch of a union that the user cannot have meant."""

    def enter(self, step: int | str) -> None:
        """Follow one step of pydantic's location: a key, an index, or the branch of a union."""
        branches = _branches(self.annotation)
        if len(branches) > 1 and not _is_key(step, self.value, branches):
            self._choose(str(step), branches)
            return
        annotation = branches[0] if branches else None
        self.path += f"[{step}]" if isinstance(step, int) else f".{step}" if self.path else step
        self.siblings = tuple(annotation.model_fields) if annotation and _is_record(annotation) else ()
        self.annotation = _child(annotation, step)
        self.value = _item(self.value, step)

    def _choose(self, label: str, branches: Sequence[Any]) -> None:
        tagged = [b for b in branches if _tag(b) == label]
        named = tagged or [b for b in branches if _label(b) in label]
        meant = [b for b in branches if _takes(b, self.value)]
        if meant and not tagged and not any(b in meant for b in named):
            self.is_meant = False
        self.annotation = named[0] if named else None


def _strip(annotation: Any) -> Any:
    return _strip(get_args(annotation)[0]) if get_origin(annotation) is Annotated else annotation


def _branches(annotation: Any) -> list[Any]:
    annotation = _strip(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        return [b for arg in get_args(annotation) for b in _branches(arg) if b is not type(None)]
    return [annotation]


def _is_record(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _is_key(step: int | str, value: object, branches: Sequence[Any]) -> bool:
    """Whether a step into a union is a key already (pydantic leaves the branch out when only one can be meant)."""
    return not any(_tag(b) == step or _label(b) in str(step) for b in branches) and _item(value, step) is not None


def _label(branch: Any) -> str:
    return "tuple" if get_origin(branch) is tuple else "dict" if get_origin(branch) is dict else branch.__name__


def _tag(branch: Any) -> str | None:
    kind = branch.model_fields.get("kind") if _is_record(branch) else None
    return str(kind.default) if kind else None


def _takes(branch: Any, value: object) -> bool:
    match value:
        case Mapping():
            return _is_record(branch) or get_origin(branch) is dict
        case list() | tuple():
            return get_origin(branch) is tuple
        case _:
            return isinstance(branch, type) and isinstance(value, branch)


def _child(annotation: Any, step: int | str) -> Any:
    if _is_record(annotation) and step in annotation.model_fields:
        return annotation.model_fields[str(step)].annotation
    args = get_args(annotation)
    if get_origin(annotation) is tuple and args:
        return args[0]
    return args[1] if get_origin(annotation) is dict and len(args) == 2 else None


def _item(value: object, step: int | str) -> object:
    if isinstance(value, Mapping):
        return value.get(step)
    if isinstance(value, list | tuple) and isinstance(step, int) and step < len(value):
        return value[step]
    return None


def _kind(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case Mapping():
            return "keys and values"
        case list() | tuple():
            return "a list"
        case _:
            return _show(value)


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _options(details: ErrorDetails, key: str) -> tuple[str, ...]:
    told = str(details.get("ctx", {}).get(key, ""))
    return tuple(option.strip(" '\"") for option in told.replace(" or ", ", ").split(",") if option.strip())


def _reason(details: ErrorDetails, place: _Place) -> str:
    """Return what is wrong and what to write instead."""
    found, context = details["input"], details.get("ctx", {})
    match details["type"]:
        case "missing":
            return "is missing; add it"
        case "extra_forbidden":
            key = str(details["loc"][-1])
            others = tuple(name for name in place.siblings if name != key)
            return f"unknown key; {did_you_mean(key, others, what='known here')}"
        case "value_error":
            return str(context["error"])
        case "literal_error":
            return (
                f"{_show(found)} is not known; {did_you_mean(str(found), _options(details, 'expected'), what='one of')}"
            )
        case "union_tag_invalid":
            options = _options(details, "expected_tags")
            return f"kind: {context['tag']!r} is not known; {did_you_mean(str(context['tag']), options, what='one of')}"
        case "union_tag_not_found":
            return "kind: is missing; add it"
        case "string_type":
            return f"{_kind(found)} is not text" + (f"; write '{found}'" if isinstance(found, int | float) else "")
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"holds {_kind(found)}; expected keys and values{_example(place)}"
        case kind if kind in _TEMPLATES:
            return _TEMPLATES[kind].format(kind=_kind(found), found=_show(found), **context)
    return f"{details['msg']}; found {_show(found)}"


_TEMPLATES = {
    "tuple_type": "holds {kind}; expected a list, such as [a, b]",
    "int_type": "{kind} is no whole number; write digits without unit or quotes",
    "int_parsing": "{kind} is no whole number; write digits without unit or quotes",
    "int_from_float": "{kind} is no whole number; round it",
    "float_type": "{kind} is no number; write digits without unit or quotes",
    "float_parsing": "{kind} is no number; write digits without unit or quotes",
    "bool_type": "{kind} is neither true nor false",
    "bool_parsing": "{kind} is neither true nor false",
    "greater_than_equal": "{found} is too small; at least {ge}",
    "greater_than": "{found} is too small; more than {gt}",
    "less_than": "{found} is too large; less than {lt}",
    "less_than_equal": "{found} is too large; at most {le}",
    "finite_number": "{found} is not finite; write a finite number",
    "too_short": "holds {actual_length}; at least {min_length} needed",
    "string_pattern_mismatch": "{found} is not of the form {pattern}",
}


def _example(place: _Place) -> str:
    branch = next((b for b in _branches(place.annotation) if _is_record(b)), None)
    return f" such as {', '.join(list(branch.model_fields)[:3])}" if branch else ""
