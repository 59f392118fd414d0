"""The base of every parsed part of the config: frozen, and unknown keys are an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from bayesrun.errors import Problem, UserError, did_you_mean

S = TypeVar("S", bound="Section")

_WHOLE, _NUMBER, _BOOL = "must be a whole number", "must be a number", "must be true or false"
_MESSAGES = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), _WHOLE),
    **dict.fromkeys(("float_type", "float_parsing"), _NUMBER),
    **dict.fromkeys(("bool_type", "bool_parsing"), _BOOL),
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
}
"""What is said in place of pydantic's message, by the type of its error."""


class Section(BaseModel):
    """One mapping of the config. Fields are the allowed keys, their defaults the documented ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _null_is_empty(cls, raw: Any) -> Any:
        """Open mappings and lists ship as null, so that `+key=` can add to them: null means empty."""
        if not isinstance(raw, Mapping):
            return raw
        empty = [name for name, field in cls.model_fields.items() if isinstance(field.default, dict | list | Section)]
        return {key: value for key, value in raw.items() if value is not None or key not in empty}


def parse(section: type[S], raw: Any, key: str, problems: list[Problem]) -> S | None:
    """Parse one mapping of the config; its problems go into `problems`, each with its full key.

    Parameters
    ----------
    section
        The class whose fields are allowed.
    raw
        What the user wrote, resolved to plain Python values.
    key
        Dotted key of the mapping (`model.options`).
    problems
        Grows by every problem found.

    Returns
    -------
    S or None
        None when there was a problem.
    """
    if not isinstance(raw, Mapping):
        problems.append(Problem(key, f"must be a mapping (got {raw!r})", f"keys: {', '.join(section.model_fields)}"))
        return None
    try:
        return section.model_validate(dict(raw))
    except ValidationError as error:
        problems += [_problem(section, key, dict(e)) for e in error.errors()]
    except UserError as error:
        problems += error.problems
    return None


def join(key: str, parts: Sequence[str | int]) -> str:
    """Join a key and the parts below it: `a` and `("b", 0)` give `a.b[0]`."""
    for part in parts:
        key += f"[{part}]" if isinstance(part, int) else (f".{part}" if key else str(part))
    return key


def _problem(section: type[Section], key: str, error: dict[str, Any]) -> Problem:
    location = [p for p in error["loc"] if not str(p).startswith(("function-", "tagged-union"))]
    where = join(key, location)
    if error["type"] == "extra_forbidden":
        allowed = _fields_at(section, location[:-1])
        return Problem(where, f"unknown key '{location[-1]}'", did_you_mean(str(location[-1]), allowed))
    if error["type"] == "missing":
        return Problem(where, "is required but missing", "add it")
    return Problem(where, f"{_message(error)} (got {error['input']!r})")


def _message(error: Mapping[str, Any]) -> str:
    """Return pydantic's message in the words of all other problems."""
    if error["type"] in _MESSAGES:
        return _MESSAGES[error["type"]].format(**error.get("ctx", {}))
    message: str = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return message.replace("should ", "must ", 1)


def _fields_at(section: type[Section], location: Sequence[str | int]) -> list[str]:
    for part in location:
        field = section.model_fields.get(str(part))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, Section)):
            return []
        section = inner
    return list(section.model_fields)
