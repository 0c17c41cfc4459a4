"""Flow files: TOML or YAML read into lists, tables and text. No I/O, and no meaning.

Every value is the text that stands there: 3.10 is not 3.1, and `no` is not false. What the keys
mean is `client.flow_steps`'s, which file it is and who runs it the command line's.
"""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING, Any, Final

from client.errors import ClientError
from client.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

# A table, a list or text.
Data = dict[str, Any]

MAX_FILE_BYTES: Final = 1024 * 1024
FORMATS: Final = {".toml": "toml", ".yaml": "yaml", ".yml": "yaml"}
# Of a step a list in a table in a table; the rest is for what is refused by name.
_MOST_LEVELS: Final = 16
# However often an alias repeats what it stands for.
_MOST_VALUES: Final = 100_000
_SHOWN_CHARS: Final = 60


class FlowFileError(ClientError):
    """A flow file that cannot be used: the file, the step and the key, what is wrong, and why."""

    def __init__(self, where: str, text: str) -> None:
        super().__init__(f"{printable(where)}: {text}")


def format_of(path: str) -> str | None:
    """The format that a file's name tells; None: it tells none."""
    return FORMATS.get(os.path.splitext(path)[1].lower())


def read_flow(content: bytes, kind: str, where: str) -> Data:
    """The tables of a flow file, `kind` "toml" or "yaml". Raises FlowFileError, naming `where`."""
    if len(content) > MAX_FILE_BYTES:
        raise FlowFileError(
            where, f"{len(content)} bytes; at most {MAX_FILE_BYTES} bytes are allowed"
        )
    try:
        text = content.decode("utf-8-sig")
        data = _read_yaml(text) if kind == "yaml" else _read_toml(text)
    except UnicodeDecodeError as error:
        raise FlowFileError(where, f"not text in UTF-8, at byte {error.start}") from None
    except RecursionError:
        raise FlowFileError(where, "nested too deep") from None
    except _WrongError as error:
        raise FlowFileError(where, str(error)) from None
    if not isinstance(data, dict):
        raise FlowFileError(where, f"a table with steps is allowed, not {kind_of(data)}")
    return data


def kind_of(value: object) -> str:
    """What a value is, for people."""
    if isinstance(value, dict):
        return "a table"
    return "a list" if isinstance(value, list) else "text"


def shown(value: object) -> str:
    """A value that was given, quoted and shortened; of a list or a table only what it is."""
    if not isinstance(value, str):
        return kind_of(value)
    return ascii(value if len(value) <= _SHOWN_CHARS else value[:_SHOWN_CHARS] + "...")


class _WrongError(ValueError):
    """What is wrong, as a sentence."""


# TOML


def _read_toml(text: str) -> Any:  # noqa: ANN401  checked by the caller
    import tomllib

    try:
        return _as_text(tomllib.loads(text, parse_float=str))
    except tomllib.TOMLDecodeError as error:
        raise _WrongError(f"not TOML: {printable(str(error))}") from None


def _as_text(value: Any) -> Any:  # noqa: ANN401  what tomllib gives
    if isinstance(value, dict):
        return {key: _as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    if isinstance(value, bool):
        return str(value).lower()
    # Numbers, dates and times.
    return str(value)


# YAML

_UNTAGGED: Final = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))


def _read_yaml(text: str) -> Any:  # noqa: ANN401  checked by the caller
    try:
        import yaml
    except ImportError:
        raise _WrongError(
            "PyYAML is not installed; write the file in TOML, or install runnerd[yaml]"
        ) from None
    try:
        # The nodes alone: no tag makes anything, and no word is taken for a truth or a number.
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise _WrongError(f"not YAML: {_one_line(error)}") from None
    if node is None:
        raise _WrongError("empty")
    return _Nodes(yaml).value(node, _MOST_LEVELS)


def _one_line(error: Exception) -> str:
    """What PyYAML says in several lines, and where."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if not problem:
        return " ".join(printable(line.strip()) for line in str(error).splitlines())
    place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    context = getattr(error, "context", None)
    return (
        f"{printable(context)}, {printable(problem)}{place}"
        if context
        else f"{printable(problem)}{place}"
    )


class _Nodes:
    """Makes values of PyYAML's nodes, up to a number: an alias is the node that it repeats."""

    def __init__(self, yaml: Any) -> None:  # noqa: ANN401  the module, imported late
        self._yaml = yaml
        self._left = _MOST_VALUES

    def value(self, node: Any, levels: int) -> Any:  # noqa: ANN401  a node to a value
        self._left -= 1
        if not levels or self._left < 0:
            few = f"{_MOST_VALUES} values" if levels else f"{_MOST_LEVELS} levels"
            raise _WrongError(f"more than {few}{_place(node)}; do aliases repeat themselves?")
        if node.tag not in _UNTAGGED:
            raise _WrongError(f"a tag is not allowed{_place(node)}; every value is text")
        if isinstance(node, self._yaml.ScalarNode):
            return _encodable(node)
        if isinstance(node, self._yaml.SequenceNode):
            return [self.value(item, levels - 1) for item in node.value]
        return dict(self._items(node, levels - 1))

    def _items(self, node: Any, levels: int) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
        seen = set()
        for key_node, value_node in node.value:
            key = self.value(key_node, levels)
            if not isinstance(key, str):
                raise _WrongError(f"a key has to be text{_place(key_node)}")
            if key in seen:
                raise _WrongError(f"key {shown(key)} stands twice in a table{_place(key_node)}")
            seen.add(key)
            yield key, self.value(value_node, levels)


def _encodable(node: Any) -> str:  # noqa: ANN401  a node to its text
    """Its text. JSON, which is YAML, writes some characters as two halves."""
    text: str = node.value
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise _WrongError(f"half a character{_place(node)}; text in UTF-8 is allowed") from None


def _place(node: Any) -> str:  # noqa: ANN401  a node
    return f" (line {node.start_mark.line + 1})"
