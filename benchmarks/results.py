"""Results as a table on the screen and as a file in `benchmarks/results/`."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "results"

Row = Mapping[str, Any]


def machine() -> dict[str, Any]:
    """Return what figures depend on beside the code: the processor, how many there are, and how busy they were."""
    model = next((line.split(":")[1].strip() for line in _cpu() if line.startswith("model name")), platform.processor())
    return {
        "processor": model,
        "processors": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "platform": platform.platform(),
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _cpu() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def report(name: str, rows: Sequence[Row], settings: Mapping[str, Any], failures: Sequence[str] = ()) -> None:
    """Print the rows and write them to `results/NAME.json`, with the machine and the settings.

    Parameters
    ----------
    name
        Name of the benchmark.
    rows
        One mapping a row, all with the same keys.
    settings
        What was run, so that it can be run again.
    failures
        What could not be run, with the reason.
    """
    print(table(rows))
    for failure in failures:
        print(f"not run: {failure}")
    FOLDER.mkdir(exist_ok=True)
    content = {"machine": machine(), "settings": dict(settings), "rows": [dict(r) for r in rows], "failures": failures}
    (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=2, default=str) + "\n")


def table(rows: Sequence[Row]) -> str:
    """Set rows as aligned columns."""
    if not rows:
        return "(nothing was measured)"
    cells = [list(rows[0]), *[[_shown(value) for value in row.values()] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [_line(row, widths) for row in cells]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    pairs = zip(cells, widths, strict=True)
    return "  ".join(cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(pairs))


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
