"""Words of a command line, and how each kind of file writes them: quoted by rule, never pasted."""

import json
import re
import shlex
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml


@dataclass(frozen=True)
class Ref:
    """A value that the operator may set where the engine starts: an environment variable and its planned value."""

    name: str
    default: str


Word: TypeAlias = str | Ref
Value: TypeAlias = bool | int | float | str | Ref | tuple[int, ...] | dict[str, Any] | None


@dataclass(frozen=True)
class Option:
    """One flag and its value; True stands for a switch."""

    flag: str
    value: Value = True

    @property
    def words(self) -> tuple[Word, ...]:
        """The flag and its values as arguments."""
        match self.value:
            case True:
                return (self.flag,)
            case str() | Ref() as word:
                return self.flag, word
            case tuple() as numbers:
                return self.flag, *map(str, numbers)
            case dict() as mapping:
                return self.flag, json.dumps(mapping, separators=(",", ":"))
            case number:
                return self.flag, f"{number:.10g}" if isinstance(number, float) else str(number)

    @property
    def key(self) -> str:
        """The flag as a key of a configuration file."""
        return self.flag.removeprefix("--")


def settings(options: tuple[Option, ...]) -> dict[str, Any]:
    """Return the options as keys and values of a configuration file; references give their planned values."""
    return {option.key: plain(option.value) for option in options}


def plain(value: Value) -> Any:
    """Return a value as YAML and JSON know it."""
    match value:
        case Ref():
            return value.default
        case tuple():
            return list(value)
        case _:
            return value


def shell(word: Word) -> str:
    """Return a word for a POSIX shell: one argument whatever it holds."""
    return f'"${word.name}"' if isinstance(word, Ref) else shlex.quote(word)


def kubernetes(word: Word) -> str:
    """Return a word for the args of a container: $(NAME) is replaced by Kubernetes, a literal $ is doubled."""
    return f"$({word.name})" if isinstance(word, Ref) else word.replace("$", "$$")


def compose(text: str) -> str:
    """Return text for a compose file, which replaces ${NAME}: a literal $ is doubled."""
    return text.replace("$", "$$")


def systemd(word: Word) -> str:
    """Return a word of ExecStart= (systemd.service, COMMAND LINES): quoted, with %, $ and escapes doubled."""
    if isinstance(word, Ref):
        return f"${{{word.name}}}"
    return _quoted(word).replace("%", "%%").replace("$", "$$")


def environment_line(name: str, value: str) -> str:
    """Return a line of a systemd environment file (systemd.exec, EnvironmentFile=)."""
    return f"{name}={_quoted(value, also='$`')}"


def _quoted(text: str, also: str = "") -> str:
    escaped = re.sub(rf'([\\"{re.escape(also)}])', r"\\\1", text)
    return '"' + escaped.replace("\n", "\\n" if not also else "\n") + '"'


def comment(text: str) -> str:
    """Return text that stays within its line whatever it holds."""
    return re.sub(r"[^\x20-\x7e]", "?", text)


def slug(text: str, longest: int = 40) -> str:
    """Return a DNS label (RFC 1123): lower case, digits and hyphens, at most ``longest`` long."""
    label = re.sub(r"[^a-z0-9]+", "-", text.lower())[:longest].strip("-")
    return label if label else "x"


class _Dumper(yaml.SafeDumper):
    """Writes text that YAML 1.1 and 1.2 readers take for the same text, and every value in full."""

    def ignore_aliases(self, _data: Any) -> bool:
        """Return that nothing is shared between places."""
        return True


_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@+=-]*")
_WORDS_OF_YAML = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))


def _represent(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    if "\n" in text and re.fullmatch(r"[\x20-\x7e\n]+", text):
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
    safe = _PLAIN.fullmatch(text) and text.lower() not in _WORDS_OF_YAML
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if safe else '"')


def _represent_list(dumper: _Dumper, items: list[Any]) -> yaml.SequenceNode:
    numbers = bool(items) and all(isinstance(item, int) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=numbers)


_Dumper.add_representer(str, _represent)
_Dumper.add_representer(list, _represent_list)


def yaml_text(*documents: Any, head: str) -> str:
    """Return YAML documents under a comment line; keys in the order given, nothing shared between places."""
    body = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=10**6, allow_unicode=False)
    return f"# {head}\n{body}"
