"""What a command does beside runs: `list` what there is, `describe` something by its name, write files to begin with.

bayesrun list models
bayesrun describe nuts output=json
bayesrun new model rows.csv
bayesrun schema model
"""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
import sys
import textwrap
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bayesrun.cli.catalogue import Entry, as_json, described, kinds, listed
from bayesrun.cli.completion import completions
from bayesrun.cli.new_files import FOLDER, new
from bayesrun.cli.schemas import kinds as schema_kinds
from bayesrun.cli.schemas import schema_of, write
from bayesrun.config.resolvers import conf
from bayesrun.errors import Problem, check, cut_words, fail, shorten
from bayesrun.invocation import command
from bayesrun.open_run import RunResult, read_findings
from bayesrun.sweeps.run import EndOfSweep
from bayesrun.tasks.base import TaskEnd

_WIDTH = 100
"""Columns of a file or a pipe, and the least that a table takes."""
_LONGEST_CELL = 30


def is_command(arguments: Namespace) -> bool:
    """Return whether the first word is a command, and not an override."""
    return bool(arguments.overrides) and arguments.overrides[0] in _COMMANDS


def do_command(arguments: Namespace, as_data: bool) -> int:
    """Do a command and return the exit status.

    Parameters
    ----------
    arguments
        Hydra's parsed flags; their overrides are the command's words.
    as_data
        Whether JSON is printed (`output=json`).

    Raises
    ------
    UserError
        When its words are wrong.
    """
    command, *words = arguments.overrides
    folders = [conf(), *([Path(arguments.config_dir)] if arguments.config_dir else [])]
    return _COMMANDS[command](words, folders, as_data)


def wants_json(arguments: Namespace) -> bool:
    """Take `output=...` out of the overrides, and return whether it asks for JSON.

    Raises
    ------
    UserError
        When it asks for anything else.
    """
    given = [word for word in arguments.overrides if word.startswith("output=")]
    arguments.overrides = [word for word in arguments.overrides if word not in given]
    value = given[-1].partition("=")[2] if given else "text"
    if value not in ("text", "json"):
        raise fail("output", f"must be text or json (got '{value}')")
    return value == "json"


def result_as_json(result: RunResult) -> str:
    """Return how a run ended as JSON: its folder, status, verdict with reasons, and metrics."""
    folder = result.folder
    return json.dumps(
        {
            "folder": None if folder is None else str(folder),
            "status": result.status,
            "verdict": result.verdict,
            "exit_status": result.exit_status,
            "error": result.error,
            "findings": [] if folder is None else read_findings(folder),
            "metrics": dict(result.metrics),
        },
        indent=1,
    )


def end_as_json(end: EndOfSweep) -> str:
    """Return how a sweep ended as JSON: its folder and its jobs, as `sweep.json` has them."""
    jobs = json.loads((end.folder / "sweep.json").read_text(encoding="utf-8"))["jobs"]
    return json.dumps({"folder": str(end.folder), "exit_status": end.exit_status, "jobs": jobs}, indent=1)


def task_as_json(task: str, end: TaskEnd) -> str:
    """Return how a task ended as JSON: its run folder with status, verdict and metrics, and the tables in it."""
    found: dict[str, Any] = {"task": task, "exit_status": end.exit_status, "folder": None, "tables": {}}
    if end.folder is not None:
        found |= {"folder": str(end.folder), **_stored(end.folder, "status.json", ("status", "verdict", "error"))}
        found |= {"findings": read_findings(end.folder), "metrics": _stored(end.folder, "metrics.json")}
        tables = sorted(path for path in end.folder.glob("*.csv") if path.name != "summary.csv")
        found["tables"] = {path.stem: _records(path) for path in tables}
        if (end.folder / "rerun.json").is_file():
            found["rerun"] = _stored(end.folder, "rerun.json")
    return json.dumps(found, indent=1)


def _stored(folder: Path, name: str, keys: Sequence[str] = ()) -> dict[str, Any]:
    path = folder / name
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {key: content.get(key) for key in keys} if keys else content


def _records(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a table; an empty cell is null."""
    with path.open(encoding="utf-8", newline="") as lines:
        return [{name: _value(cell) for name, cell in row.items()} for row in csv.DictReader(lines)]


def _value(cell: str) -> Any:
    try:
        number = float(cell)
    except ValueError:
        return cell or None
    whole = re.fullmatch(r"-?\d+", cell)
    return int(cell) if whole else number if math.isfinite(number) else cell


def problems_as_json(problems: Sequence[Problem]) -> str:
    """Return what is wrong with a config or its data as JSON."""
    listed = [{"key": cut_words(p.key), "message": shorten(p.message), "hint": shorten(p.hint)} for p in problems]
    return json.dumps({"folder": None, "status": "failed", "exit_status": 1, "problems": listed}, indent=1)


def _list(words: Sequence[str], folders: Sequence[Path], as_data: bool) -> int:
    if len(words) != 1:
        raise fail("list", f"takes one kind (got {len(words)})", f"one of {', '.join(kinds())}")
    entries = listed(words[0], folders)
    print(as_json(entries) if as_data else _table([(entry.name, entry.line) for entry in entries]))
    return 0


def _describe(words: Sequence[str], folders: Sequence[Path], as_data: bool) -> int:
    if len(words) != 1:
        raise fail("describe", f"takes one name (got {len(words)})", f"`{command('list', 'KIND')}` lists names")
    entries = described(words[0], folders)
    print(as_json(entries) if as_data else "\n\n".join(_page(entry) for entry in entries))
    return 0


def _page(entry: Entry) -> str:
    head = textwrap.fill(f"{entry.kind} {entry.name}" + (f": {entry.line}" if entry.line else ""), _WIDTH)
    use = f"  choose it: {entry.use}"
    rows = []
    for key in entry.keys:
        meaning = " · ".join(dict.fromkeys(filter(None, [key.meaning, key.takes])))
        rows.append((key.key, _cut(_flow(key.default), _LONGEST_CELL), meaning))
    return "\n".join([head, use, *([_table(rows, indent="  ")] if rows else [])])


def _flow(value: Any) -> str:
    """Return a value as YAML in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_flow(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return {None: "null", True: "true", False: "false"}.get(value, str(value)) if not _is_number(value) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _table(rows: Sequence[Sequence[str]], indent: str = "") -> str:
    """Return rows as text: all columns but the last are padded, and lines are cut at the width of the terminal."""
    if not rows:
        return f"{indent}there are none"
    widths = [min(max(len(row[place]) for row in rows), _LONGEST_CELL) for place in range(len(rows[0]) - 1)]
    width = max(shutil.get_terminal_size((_WIDTH, 24)).columns, _WIDTH) if sys.stdout.isatty() else _WIDTH
    lines = []
    for row in rows:
        padded = [cell.ljust(space) for cell, space in zip(row[:-1], widths, strict=True)]
        lines.append(_cut(indent + "  ".join([*padded, row[-1]]), width).rstrip())
    return "\n".join(lines)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3].rstrip()}..."


def _new(words: Sequence[str], folders: Sequence[Path], as_data: bool) -> int:
    check([Problem("output", "new writes files; there is nothing to print as JSON")] if as_data else [])
    print(new(words, folders[1] if len(folders) > 1 else None))
    return 0


def _schema(words: Sequence[str], folders: Sequence[Path], as_data: bool) -> int:
    """Print one JSON Schema, or write all of them into the user's config folder."""
    plugins = [word.partition("=")[2].strip("[]").split(",") for word in words if word.startswith("plugins=")]
    kinds_asked = [word for word in words if not word.startswith("plugins=")]
    if len(kinds_asked) > 1:
        raise fail("schema", f"takes one kind (got {len(kinds_asked)})", f"one of {', '.join(schema_kinds())}")
    packages = [name.strip() for names in plugins for name in names if name.strip()]
    if kinds_asked:
        print(json.dumps(schema_of(kinds_asked[0], packages), indent=1))
        return 0
    files = write(folders[1] if len(folders) > 1 else FOLDER, packages)
    print(json.dumps(list(map(str, files)), indent=1) if as_data else "\n".join(f"wrote {path}" for path in files))
    return 0


def _complete(words: Sequence[str], folders: Sequence[Path], as_data: bool) -> int:
    print("\n".join(completions(words[-1] if words else "", folders)))
    return 0


_COMMANDS: Mapping[str, Callable[[Sequence[str], Sequence[Path], bool], int]] = {
    "list": _list,
    "describe": _describe,
    "new": _new,
    "schema": _schema,
    "complete": _complete,
}
