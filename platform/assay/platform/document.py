"""A YAML document that remembers its lines.

Knows YAML, and how to tell people what is wrong on which line, everything at once. Knows no library and no
policy.

Read more strictly than YAML 1.1: keys are always text (`no:` is Norwegian), only `true` and `false` are
booleans, a date stays text for its reader to parse, and a key may not be said twice. Anchors are refused:
aliases can grow a small file into a large one, and a phrase should stand where it is used.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from assay.platform.errors import SpecError

Loc = tuple[str | int, ...]
"""Where a value is in its document: keys and list positions from the root."""

Model = TypeVar("Model", bound=BaseModel)

MAX_BYTES = 16 * 2**20
"""Longest document read: far above any library written by people, far below what would trouble the parser."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with a document, in one sentence."""

    line: int
    text: str


@dataclass(frozen=True)
class Document:
    """A document's content as plain lists, dicts and scalars, with the line of each value."""

    name: str
    kind: type[SpecError]
    value: object
    lines: dict[Loc, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    @classmethod
    def read(cls, source: Path | str, kind: type[SpecError]) -> "Document":
        """Read a file, or the text itself when it has more than one line. Errors are raised as `kind`."""
        name, text = _text(source, kind)
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            cls(name, kind, None)._refuse_syntax(line, f"{error.problem or 'not YAML'}", error)
        except (yaml.YAMLError, RecursionError) as error:
            cls(name, kind, None)._refuse_syntax(1, str(error) or "nested too deeply", error)
        reader = _Reader()
        value = reader.read(root, ()) if root is not None else {}
        return cls(name, kind, value, reader.lines, tuple(reader.problems))

    def line(self, loc: Sequence[str | int]) -> int:
        """The line of a value, or of the nearest thing around it that is written down."""
        for end in range(len(loc), -1, -1):
            found = self.lines.get(tuple(loc[:end]))
            if found is not None:
                return found
        return 1

    def parse(self, model: type[Model]) -> tuple[Model | None, list[Problem]]:
        """The document as `model`, or None and everything the model has against it."""
        try:
            return model.model_validate(self.value), []
        except ValidationError as error:
            known = _field_names(model)
            return None, [self._explain(one, known) for one in error.errors(include_url=False)]

    def refuse(self, problems: Iterable[Problem], fix: str) -> NoReturn:
        """Raise every problem as one error of this document's kind."""
        told = sorted(set(problems))
        count = "1 problem" if len(told) == 1 else f"{len(told)} problems"
        raise self.kind(
            f"{Path(self.name).name} does not hold together: {count}",
            where=f"{self.name}:{told[0].line}",
            why="\n       ".join(f"line {one.line}: {one.text}" for one in told),
            fix=fix,
        )

    def _refuse_syntax(self, line: int, why: str, cause: Exception) -> NoReturn:
        raise self.kind(
            f"{Path(self.name).name} is not YAML",
            where=f"{self.name}:{line}",
            why=why,
            fix="mend the line named",
        ) from cause

    def _explain(self, error: ErrorDetails, known: Sequence[str]) -> Problem:
        loc = error["loc"]
        at_key = loc[-1:] == ("[key]",)
        loc = loc[:-1] if at_key else loc
        place = ".".join(str(part) for part in loc[:-1]) or "the document"
        last = loc[-1] if loc else "the document"
        match error["type"]:
            case "extra_forbidden":
                text = f"unknown key {last!r} in {place}{did_you_mean(str(last), known)}"
            case "missing":
                text = f"{place} needs {last!r}"
            case "value_error":
                text = f"{'.'.join(map(str, loc)) or 'the document'}: {error['ctx']['error']}"
            case _:
                given = repr(error["input"])
                given = given if len(given) <= 40 else given[:40] + "…"
                text = f"{'.'.join(map(str, loc)) or 'the document'}: {error['msg'].lower()}, not {given}"
        return Problem(self.line(loc), text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that suggests the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


class _Reader:
    """Turns YAML nodes into plain values, noting lines and what is wrong on the way."""

    def __init__(self) -> None:
        self.lines: dict[Loc, int] = {}
        self.problems: list[Problem] = []
        self._seen: set[int] = set()

    def read(self, node: yaml.Node, loc: Loc) -> object:
        line = node.start_mark.line + 1
        # A mapping's value is found under its key, so the key's line is the one people look for.
        self.lines.setdefault(loc, line)
        if id(node) in self._seen:
            self.problems.append(Problem(line, "an alias (*name) is used; write the value where it belongs"))
            return None
        self._seen.add(id(node))
        match node:
            case yaml.MappingNode():
                return self._mapping(node, loc)
            case yaml.SequenceNode():
                return [self.read(item, (*loc, position)) for position, item in enumerate(node.value)]
            case _:
                return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, object]:
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(Problem(line, "a key must be a word"))
                continue
            key = str(key_node.value)
            if key in values:
                first = self.lines[(*loc, key)]
                self.problems.append(Problem(line, f"key {key!r} is said twice; first on line {first}"))
                continue
            self.lines[(*loc, key)] = line
            values[key] = self.read(value_node, (*loc, key))
        return values


def _scalar(node: yaml.Node) -> object:
    text = str(node.value)
    match node.tag.rpartition(":")[2]:
        case "null":
            return None
        case "bool" if text.lower() in ("true", "false"):
            return text.lower() == "true"
        case "int" | "float" as tag:
            return _number(text, tag)
        case _:
            return text


def _number(text: str, tag: str) -> object:
    # Only plain decimals: YAML 1.1 would read 1:30 as 90 and 0777 as octal.
    try:
        return int(text) if tag == "int" else float(text)
    except ValueError:
        return text


def _text(source: Path | str, kind: type[SpecError]) -> tuple[str, str]:
    if isinstance(source, str) and "\n" in source:
        return "<text>", source
    path = Path(source)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise kind(
            f"{path.name or path} cannot be read",
            where=str(path),
            why=error.strerror or str(error),
            fix="check the path",
        ) from error
    if len(data) > MAX_BYTES:
        raise kind(
            f"{path.name} is too long",
            where=str(path),
            why=f"{len(data)} bytes of at most {MAX_BYTES}",
            fix="split it",
        )
    try:
        return str(path), data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise kind(
            f"{path.name} is not UTF-8 text", where=f"{path}:{line}", why=str(error), fix="save it as UTF-8"
        ) from error


def _field_names(model: type[BaseModel]) -> tuple[str, ...]:
    """Every key a document of this model may use, at any depth."""
    names: set[str] = set()
    todo: list[object] = [model]
    while todo:
        one = todo.pop()
        if isinstance(one, type) and issubclass(one, BaseModel):
            names.update(one.model_fields)
            todo.extend(info.annotation for info in one.model_fields.values())
        else:
            todo.extend(get_args(one))
    return tuple(sorted(names))
