"""What a run folder holds, as the entries of a tracker: metrics, tags and the description."""

from __future__ import annotations

import csv
import json
import math
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

MAX_SCALARS = 100
_REFUSED = re.compile(r"[^\w.\-:/ ]+")
_ROWS_SHOWN = 20
_COLUMNS_LEFT_OUT = ("name", "mcse_mean", "mcse_sd")
_TAGS = (
    "verdict",
    "status",
    "model",
    "data",
    "config_digest",
    "data_digest",
    "git_commit",
    "steps",
)


MODEL, MODEL_FILE = "model", "MLmodel"
"""Folder of a run's MLflow model, and the file in it that describes it."""


@dataclass(frozen=True)
class Entries:
    """What is logged when a run ends."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def read_entries(folder: Path) -> Entries:
    """Read the entries of a run folder; files that a failed run did not write are skipped."""
    status, provenance = (
        read_json(folder / "status.json"),
        read_json(folder / "provenance.json"),
    )
    summary = read_summary(folder / "summary.csv")
    metrics = read_json(folder / "metrics.json")
    if not any(name.startswith("mean/") for name in metrics):
        metrics |= scalar_metrics(summary)
    tags = {k: as_tag(v) for source in (provenance, status) for k, v in source.items() if k in _TAGS and v is not None}
    if status.get("error"):
        tags["error"] = as_tag(status["error"])
    findings = read_json(folder / "findings.json")
    if (folder / MODEL / MODEL_FILE).is_file():
        tags["mlflow.log-model.history"] = _models(folder)  # MLflow's pages find the model by it
    tags["mlflow.note.content"] = _written_description(folder) or describe(folder, status, findings, summary)
    return Entries(clean_metrics(metrics), tags)


def read_json(path: Path) -> Any:
    """Read a JSON file; an empty mapping where there is none."""
    return json.loads(path.read_text()) if path.is_file() else {}


def read_summary(path: Path) -> list[dict[str, str]]:
    """Read `summary.csv` as rows of text; no rows where there is none."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def scalar_metrics(summary: Iterable[Mapping[str, str]]) -> dict[str, float]:
    """Return `mean/NAME` and `sd/NAME` of the first scalars of a summary."""
    rows = list(summary)[:MAX_SCALARS]
    return {f"{kind}/{row['name']}": float(row[kind] or "nan") for row in rows for kind in ("mean", "sd")}


def clean_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Give metrics names that MLflow takes, and leave out what is not a finite number."""
    numbers = {k: float(v) for k, v in metrics.items() if isinstance(v, (int, float)) and math.isfinite(v)}
    return {clean: numbers[raw] for raw, clean in metric_names(numbers).items()}


def metric_names(names: Iterable[str]) -> dict[str, str]:
    """Map names to what MLflow takes: refused characters become one `.`, a collision gets `_2`, `_3`, ..."""
    taken: dict[str, str] = {}
    for raw in names:
        clean = base = _metric_name(raw)
        number = 2
        while clean in taken.values():
            clean, number = f"{base}_{number}", number + 1
        taken[raw] = clean
    return taken


def _metric_name(raw: str) -> str:
    # MLflow also refuses names that are not normal paths (`a//b`, `../a`)
    parts = [part.strip(".") for part in _REFUSED.sub(".", raw).split("/")]
    return posixpath.join(*(part or "_" for part in parts))[:250]


def as_tag(value: Any) -> str:
    """Write a value as a tag: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def describe(
    folder: Path,
    status: Mapping[str, Any],
    findings: Iterable[Mapping[str, Any]],
    summary: list[dict[str, str]],
) -> str:
    """Write a run's description in Markdown: verdict with its reasons, the summary table, the folder."""
    head = f"**verdict: {status.get('verdict') or 'none'}** · status: {status.get('status') or 'failed'}"
    lines = [head, ""]
    if status.get("error"):
        lines += ["```", str(status["error"]), "```", ""]
    lines += [_reason(f) for f in findings if isinstance(f, Mapping) and f.get("severity") != "ok"]
    return "\n".join([*lines, "", *_table(summary), "", f"Folder: `{folder}`"])


def _reason(finding: Mapping[str, Any]) -> str:
    where = f" `{finding['variable']}`:" if finding.get("variable") else ""
    remedy = f" *{finding['remedy']}*" if finding.get("remedy") else ""
    return f"- **{finding['severity']}**{where} {finding['message']}{remedy}"


def _table(summary: list[dict[str, str]]) -> list[str]:
    if not summary:
        return []
    shown = [column for column in summary[0] if column not in _COLUMNS_LEFT_OUT]
    lines = ["| name | " + " | ".join(shown) + " |", "|---" * (len(shown) + 1) + "|"]
    for row in summary[:_ROWS_SHOWN]:
        lines.append(f"| {row['name']} | " + " | ".join(_short(row.get(c, "")) for c in shown) + " |")
    more = len(summary) - _ROWS_SHOWN
    return [*lines, "", f"and {more} more in `summary.csv`"] if more > 0 else lines


def _short(text: str) -> str:
    return f"{float(text):.4g}" if text else ""


def _written_description(folder: Path) -> str:
    # a sweep writes its own
    path = folder / "description.md"
    return path.read_text() if path.is_file() else ""


def _models(folder: Path) -> str:
    described = yaml.safe_load((folder / MODEL / MODEL_FILE).read_text(encoding="utf-8"))
    run_id = read_json(folder / "tracking.json").get("run_id")
    return json.dumps([{**described, "artifact_path": MODEL, "run_id": run_id}])
