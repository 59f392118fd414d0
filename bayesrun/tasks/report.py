"""`task=report run=FOLDER`: make `report.html` of finished runs again, from the files of their folders.

python -m bayesrun task=report run=FOLDER
python -m bayesrun task=report runs=[FOLDER,FOLDER]

The page of a run that was made by an earlier version, or with `report=false`, is made by today's. Nothing else changes.
"""

from __future__ import annotations

from bayesrun.errors import fail
from bayesrun.report.run_page import write_report
from bayesrun.run_folder import RunFolder
from bayesrun.tasks.base import Task, TaskRequest


def report(request: TaskRequest) -> int:
    """Make the page of each run, and print where it is."""
    runs = [run for run in (request.run, *request.runs) if run]
    if not runs:
        raise fail("run", "task 'report' needs a finished run", "give run=FOLDER, run=last or run=mlflow:RUN_ID")
    for run in runs:
        print(write_report(RunFolder(run.folder)))
    return 0


TASK = Task(do=report, options=None, takes_several=True)
