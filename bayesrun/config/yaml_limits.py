"""Bounds of a YAML file, checked before it is loaded: a file of some kilobytes can fill a machine's memory.

The text is read as a stream of events (libyaml's, without recursion), so that neither aliases that multiply nor
nesting without end cost anything.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TextIO

import yaml

from bayesrun.errors import fail

MAX_BYTES = 1_000_000
MAX_DEPTH = 60
MAX_VALUES = 20_000
MAX_DEFAULTS = 100
_LONG_NUMBER = re.compile(r"[-+]?(?=[0-9])[0-9a-fA-FxXo_:]{400,}")  # also of other bases, and `1:59:59`


def check_yaml(path: Path) -> None:
    """Check the bounds of a config file; an alias counts as all the values that it stands for.

    Raises
    ------
    UserError
        When a bound is passed.
    OSError, ValueError, yaml.YAMLError
        When the file can't be read, or is no YAML.
    """
    if not path.is_file():  # reading a pipe would wait forever
        raise fail(str(path), "is not a file", "a config is a YAML file")
    size = path.stat().st_size
    if size > MAX_BYTES:
        hint = "put data into a file of its own (source: csv, parquet, ...)"
        raise fail(str(path), f"has {size:,} bytes; a config file may have {MAX_BYTES:,}", hint)
    with path.open(encoding="utf-8") as file:
        problem = _problem(file)
    if problem:
        raise fail(str(path), problem, "a config file holds settings: make it smaller")


def _problem(text: TextIO) -> str:
    """Return which bound a text exceeds; empty when none."""
    anchors: dict[str, int] = {}
    open_: list[tuple[str | None, int]] = []  # anchor and count of values before, of each open mapping or list
    values = 0  # mappings and lists are values, too: a million empty lists fill the memory as well
    key, is_value, defaults = "", True, 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.NodeEvent) and len(open_) == 1:  # keys and values of the file itself alternate
            is_value = not is_value
            key = key if is_value else getattr(event, "value", "")
        defaults += isinstance(event, yaml.NodeEvent) and len(open_) == 2 and key == "defaults"
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, values))
            values += 1
            if len(open_) > MAX_DEPTH:
                return f"is nested more than {MAX_DEPTH} levels deep ({_line(event)})"
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            if anchor:
                anchors[anchor] = values - before
        elif isinstance(event, yaml.AliasEvent):
            values += anchors.get(str(event.anchor), 1)
        elif isinstance(event, yaml.ScalarEvent):
            values += 1
            if event.anchor:
                anchors[event.anchor] = 1
            if event.implicit[0] and _LONG_NUMBER.fullmatch(event.value):
                return f"holds a number of {len(event.value):,} digits ({_line(event)})"
        if values > MAX_VALUES:
            return f"holds more than {MAX_VALUES:,} values, aliases written out"
        if defaults > MAX_DEFAULTS:
            return f"has a defaults list of more than {MAX_DEFAULTS} entries"
    return ""


def _line(event: yaml.Event) -> str:
    return f"line {event.start_mark.line + 1}" if event.start_mark else "somewhere"
