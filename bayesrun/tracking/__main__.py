"""Upload runs whose tracking was lost: `python -m bayesrun.tracking FOLDER ...`.

Each folder is a run folder whose `tracking.json` says what was lost. `--uri` names another store than the one there
(needed where its password was masked).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bayesrun.tracking.base import DatasetInfo, RunCard, TrackingSpec
from bayesrun.tracking.mlflow import RECORD, open_run


def main(arguments: list[str]) -> int:
    """Upload every folder named; return how many failed."""
    parser = argparse.ArgumentParser(prog="python -m bayesrun.tracking", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--uri", help="store to upload to; the one noted in the folder if not given")
    parser.add_argument("--artifacts", help="where a new experiment keeps its artifacts")
    options = parser.parse_args(arguments)
    return sum(not upload(f, options.uri, options.artifacts) for f in options.folders)


def upload(folder: Path, uri: str | None, artifacts: str | None) -> bool:
    """Track a finished run folder again; say whether all of it arrived."""
    record = json.loads((folder / RECORD).read_text())
    spec = TrackingSpec(uri=uri or record["uri"], artifacts=artifacts)
    card = dict(record["card"])
    card["dataset"] = DatasetInfo(**card["dataset"]) if card["dataset"] else None
    card["run_id"] = record.get("run_id") if uri is None else None
    tracker = open_run(spec, RunCard(**card))
    run_id = tracker.ready()
    tracker.close(folder, record["status"])
    lost = json.loads((folder / RECORD).read_text())["lost"]
    print(f"{folder}: " + ("; ".join(lost) if lost else f"run {run_id}"))
    return not lost


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
