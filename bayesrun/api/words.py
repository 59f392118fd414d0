"""From Python values to the words of a command line, and from a model or a frame in Python to YAML files.

A run in Python is the run of a command: it is composed by the same code from the same words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bayesrun.config.table_files import quoted
from bayesrun.errors import Problem, check, fail

Value = Any
"""None, a bool, a number, a text, or a list or mapping of these."""

_KEY = re.compile(r"[A-Za-z_][\w.-]*")
MODEL_FILE, DATA_FILE = "in_python", "frame"
"""Names of the files of a model and a data set that were given in Python."""


def words_of(overrides: Sequence[str] | Mapping[str, Value], key: str = "overrides") -> list[str]:
    """Return overrides as words of a command line.

    Parameters
    ----------
    overrides
        `["sampler.draws=2000"]`, or values by key, where a mapping stands for the keys below it:
        `{"sampler": {"draws": 2000}}`.
    key
        What they are given as, for messages.

    Raises
    ------
    UserError
        When they are neither, or a value has no form in YAML.
    """
    if isinstance(overrides, Mapping):
        return [f"{name}={text_of(value, name)}" for name, value in _flat(overrides)]
    if isinstance(overrides, str) or not all(isinstance(word, str) for word in overrides):
        hint = "give a list of texts, ['sampler.draws=2000'], or a mapping, {'sampler.draws': 2000}"
        raise fail(key, f"must be overrides (got {overrides!r})", hint)
    return list(overrides)


def swept_words(grid: Mapping[str, Iterable[Value]]) -> list[str]:
    """Return the keys of a sweep, each with its values, as words of a command line.

    Raises
    ------
    UserError
        When a key has no values, or no list of them.
    """
    problems, words = list[Problem](), list[str]()
    for name, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            hint = f"give a list: {{{name!r}: [{values!r}]}}"
            problems.append(Problem(name, f"must be a list of values (got {values!r})", hint))
            continue
        texts = [text_of(value, name) for value in values]
        if not texts:
            problems.append(Problem(name, "has no values to sweep", "give at least one"))
        elif len(texts) == 1:
            words.append(f"{name}=choice({texts[0]})")
        else:
            words.append(f"{name}={','.join(texts)}")
    check(problems)
    return words


def _flat(overrides: Mapping[str, Value], above: str = "") -> Iterable[tuple[str, Value]]:
    for name, value in overrides.items():
        key = f"{above}{name}"
        # a prior as a whole: a new `dist` drops the parameters of the old one
        if isinstance(value, Mapping) and value and "dist" not in value and _is_nest(value):
            yield from _flat(value, f"{key}.")
        else:
            yield key, value


def _is_nest(value: Mapping[str, Value]) -> bool:
    return all(isinstance(name, str) and _KEY.fullmatch(name) for name in value)


def text_of(value: Value, key: str) -> str:
    """Return a value as it is written on a command line.

    Raises
    ------
    UserError
        When it has no form there.
    """
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
    value = value.tolist() if hasattr(value, "tolist") else value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else f"{'-' if value < 0 else ''}inf"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | Path):
        return quoted(str(value))
    if isinstance(value, Mapping):
        odd = [name for name in value if not isinstance(name, str) or not _KEY.fullmatch(name)]
        check([Problem(f"{key}.{name}", "can't be set in this way", "give the model as a mapping") for name in odd])
        return "{" + ", ".join(f"{name}: {text_of(each, f'{key}.{name}')}" for name, each in value.items()) + "}"
    if isinstance(value, list | tuple | set | range):
        return "[" + ", ".join(text_of(each, f"{key}[{place}]") for place, each in enumerate(value)) + "]"
    hint = "give None, a bool, a number, a text, or lists and mappings of these"
    raise fail(key, f"can't be a value of a config (got {type(value).__name__})", hint)


def write_model(model: Mapping[str, Any], folder: Path, with_data: bool) -> str:
    """Write a model that was given as a mapping, and return the name of its file.

    Parameters
    ----------
    model
        The keys of the section `model`.
    folder
        A config folder.
    with_data
        Whether its data are those of `write_data`.
    """
    defaults = [{"/data@_global_.data": DATA_FILE}, "_self_"] if with_data else ["_self_"]
    own = plain_of(model, "model")
    write_yaml(folder / "model" / f"{MODEL_FILE}.yaml", {"defaults": defaults, "name": MODEL_FILE, **own})
    return MODEL_FILE


def write_data(section: Mapping[str, Any], folder: Path) -> str:
    """Write a section `data`, and return the name of its file."""
    write_yaml(folder / "data" / f"{DATA_FILE}.yaml", section)
    return DATA_FILE


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Write a config file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True), encoding="utf-8")


def plain_of(value: Value, key: str) -> Any:
    """Return a value as what YAML can hold; arrays become lists.

    Raises
    ------
    UserError
        When it holds something else.
    """
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, Mapping):
        return {str(name): plain_of(each, f"{key}.{name}") for name, each in value.items()}
    if isinstance(value, list | tuple | set | range):
        return [plain_of(each, f"{key}[{place}]") for place, each in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    hint = "give None, a bool, a number, a text, or lists and mappings of these"
    raise fail(key, f"can't be a value of a config (got {type(value).__name__})", hint)
