"""Reads frozen dataclasses from JSON; errors name the accepted fields and values."""

from __future__ import annotations

import dataclasses
import json
import types
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from rmnet.config import RMNetConfig
from rmnet.errors import ConfigError

T = TypeVar("T")


class TrainingConfigError(ValueError):
    """A training config or command line is not valid."""


def build(kind: type[T], value: Any, where: str) -> T:  # noqa: ANN401 anything JSON holds
    """Make a `kind` from a JSON value.

    Args:
        kind: int, float, bool, str, a Literal, `X | None`, tuple[X, ...], a class with a class
            method `read_json(value, where)`, RMNetConfig, or a dataclass of such fields.
        value: Parsed JSON.
        where: Path of the value in the file, for errors: "phases[0].recipes[2]".

    Raises:
        TrainingConfigError: unknown or missing fields, or a value of another type.
    """
    if kind is RMNetConfig:
        return _network(value, where)
    read_json = getattr(kind, "read_json", None)
    if read_json is not None:
        return read_json(value, where)
    if dataclasses.is_dataclass(kind):
        return build_fields(kind, value, where)
    if get_origin(kind) is Literal:
        return _one_of(get_args(kind), value, where)
    if get_origin(kind) in (types.UnionType,):
        (inner,) = (arm for arm in get_args(kind) if arm is not type(None))
        optional: Any = None if value is None else build(inner, value, where)
        return optional
    if get_origin(kind) is tuple:
        return _sequence(get_args(kind), value, where)
    return _scalar(kind, value, where)


def build_fields(kind: type[Any], value: Any, where: str) -> Any:  # noqa: ANN401
    """Make a dataclass from a JSON object, which must have the fields without default."""
    if not isinstance(value, dict):
        raise TrainingConfigError(f"{where} is {_shown(value)}; accepted: an object")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise TrainingConfigError(
            f"{where} has unknown fields {unknown}; accepted: {', '.join(fields)}"
        )
    required = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in value]
    if missing:
        raise TrainingConfigError(f"{where} lacks {missing}; add them (see training/README.md)")
    hints = get_type_hints(kind)
    given = {name: build(hints[name], value[name], f"{where}.{name}") for name in value}
    try:
        return kind(**given)
    except TrainingConfigError as error:
        raise TrainingConfigError(f"{where}: {error}") from error


def check(holds: bool, name: str, value: object, accepted: str) -> None:
    """Raise unless the condition on a field holds; for `__post_init__`."""
    if not holds:
        raise TrainingConfigError(f"{name} is {value!r}; accepted: {accepted}")


def _network(value: object, where: str) -> Any:  # noqa: ANN401
    try:
        return RMNetConfig.from_json(json.dumps(value))
    except ConfigError as error:
        raise TrainingConfigError(f"{where}: {error}") from error


def _one_of(choices: tuple[Any, ...], value: object, where: str) -> Any:  # noqa: ANN401
    if value not in choices:
        accepted = ", ".join(map(repr, choices))
        raise TrainingConfigError(f"{where} is {_shown(value)}; accepted: {accepted}")
    return value


def _sequence(arms: tuple[Any, ...], value: object, where: str) -> tuple[Any, ...]:
    repeated = len(arms) == 2 and arms[1] is Ellipsis
    if not isinstance(value, list) or not (repeated or len(value) == len(arms)):
        wanted = "a list" if repeated else f"a list of {len(arms)}"
        raise TrainingConfigError(f"{where} is {_shown(value)}; accepted: {wanted}")
    kinds = [arms[0]] * len(value) if repeated else list(arms)
    return tuple(
        build(kind, x, f"{where}[{i}]")
        for i, (kind, x) in enumerate(zip(kinds, value, strict=True))
    )


def _scalar(kind: type[Any], value: Any, where: str) -> Any:  # noqa: ANN401
    accepted = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}
    wanted = (int, float) if kind is float else (kind,)
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        raise TrainingConfigError(f"{where} is {_shown(value)}; accepted: {accepted[kind]}")
    return kind(value)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
