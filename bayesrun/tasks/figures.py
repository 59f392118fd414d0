"""`task=figures run=FOLDER`: draw the figures of finished runs, their models' graphs and reports, from their folders.

python -m bayesrun task=figures run=FOLDER
python -m bayesrun task=figures run=last
python -m bayesrun task=figures runs=[FOLDER,FOLDER]

For a run that was interrupted after its verdict, or whose figures an earlier version drew. Draws, findings and metrics
stay as they are, and nothing is sampled. What tracking lacks is sent there.
"""

from __future__ import annotations

from bayesrun.errors import Problem, check, fail
from bayesrun.invocation import command
from bayesrun.pictures import draw_stored
from bayesrun.run_folder import RunFolder
from bayesrun.tasks.base import Task, TaskRequest
from bayesrun.tasks.recover import config_of, send


def figures(request: TaskRequest) -> int:
    """Draw the figures of each run, and print where they are and why one is missing."""
    runs = [run.folder for run in (request.run, *request.runs) if run]
    if not runs:
        raise fail("run", "task 'figures' needs a finished run", "give run=FOLDER, run=last or run=mlflow:RUN_ID")
    check([problem for folder in runs if (problem := _unfinished(RunFolder(folder)))])
    for path in runs:
        folder = RunFolder(path)
        config = config_of(path)
        for name, reason in draw_stored(config, folder).items():
            print(f"figure '{name}' is not drawn: {reason}")
        send(config, folder)
        print(folder.figures)
    return 0


def _unfinished(folder: RunFolder) -> Problem | None:
    """Return why a run's figures can't be drawn: it goes on, or it has no verdict yet."""
    if folder.process_state() == "running":
        return Problem("run", f"'{folder.path}' is still running", "wait until it has ended, or end it with Ctrl-C")
    if not (folder.path / "summary.csv").is_file():
        hint = f"complete it first: {command('task=recover', f'run={folder.path}')}"
        return Problem("run", f"'{folder.path}' has no checked posterior", hint)
    return None


TASK = Task(do=figures, options=None, takes_several=True)
