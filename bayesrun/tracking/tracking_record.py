"""What a run folder knows of its tracking (`tracking.json`): where it is tracked, and what is needed to do it later."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bayesrun.redaction import redact
from bayesrun.tracking.base import DatasetInfo, RunCard

RECORD = "tracking.json"
NOT_ANSWERED = "the upload has not been confirmed"
RUNNING = "running"


@dataclass(frozen=True)
class TrackingRecord:
    """Where a run is tracked, and what is missing there.

    Parameters
    ----------
    uri
        The store, without its credentials.
    card
        What was known of the run before it sampled.
    status
        How the run ended; `running` before it did.
    run_id, experiment_id
        The run in the store; None where it never got there.
    lost
        Reasons why something is missing in the store; empty when all of the run is there.
    """

    uri: str
    card: RunCard
    status: str = RUNNING
    run_id: str | None = None
    experiment_id: str | None = None
    lost: Sequence[str] = ()

    @property
    def is_complete(self) -> bool:
        """Say whether nothing is missing in the store."""
        return self.run_id is not None and self.status != RUNNING and not self.lost

    def write(self, folder: Path) -> None:
        """Write `tracking.json` whole; does nothing where the folder is gone."""
        if not folder.is_dir():
            return
        content = {**asdict(self), "uri": redact(self.uri), "lost": list(self.lost)}
        temporary = folder / f".{RECORD}.{os.getpid()}"
        try:
            temporary.write_text(json.dumps(content, indent=1))
            os.replace(temporary, folder / RECORD)
        finally:
            temporary.unlink(missing_ok=True)


def read_record(folder: Path) -> TrackingRecord | None:
    """Read the record of a run folder; None where it has none that can be read."""
    try:
        content = json.loads((folder / RECORD).read_text())
        return TrackingRecord(**{**_known(TrackingRecord, content), "card": read_card(content["card"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def read_card(content: Mapping[str, Any]) -> RunCard:
    """Return a card from what `asdict` made of it."""
    dataset = content.get("dataset")
    return RunCard(**{**_known(RunCard, content), "dataset": DatasetInfo(**dataset) if dataset else None})


def _known(record: type[Any], content: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(record)}
    return {key: value for key, value in content.items() if key in names}
