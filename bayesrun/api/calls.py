"""The functions of `import bayesrun`: `run`, `load`, `sweep` and `fit`.

Each composes the words of a command and does what the command does: the same checks, run folder, draws and tracking.
"""

from __future__ import annotations

import io
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bayesrun.api.questions import Overrides, arguments_of
from bayesrun.api.results import Run, Sweep
from bayesrun.api.surroundings import as_guest, nameless_script
from bayesrun.api.words import Value, swept_words, text_of, words_of, write_data, write_model
from bayesrun.composed_run import run_composed, sweep_composed
from bayesrun.config.compose import compose
from bayesrun.config.resolvers import conf
from bayesrun.data.frames import TABLE, as_pandas, data_of, write_table
from bayesrun.errors import OutputError, RunInterrupted, SamplingError, VerdictError, fail
from bayesrun.logs import console_level
from bayesrun.open_run import RunResult
from bayesrun.tasks.base import find_run

Model = str | Mapping[str, Any]
"""The name of a model, or the keys of its section, as in a YAML file."""

_QUIET: dict[bool, list[str]] = {True: ["sampler.progress=false"], False: []}


def run(
    model: Model,
    overrides: Overrides = (),
    *,
    data: Any = None,
    config_dir: str | Path | None = None,
    quiet: bool = False,
) -> Run:
    """Run a model: the run of `python -m bayesrun model=MODEL OVERRIDES`.

    Parameters
    ----------
    model
        Its name, or its section as a mapping: `{"type": "declarative", "priors": {...}, "likelihood": {...}}`.
    overrides
        Keys to set, as on the command line (`["sampler.draws=2000", "tracking=none"]`) or as a mapping.
    data
        The rows to fit, as a pandas or polars data frame, or columns by name; None = the data set of the config.
    config_dir
        Folder of YAML files of your own, as `--config-dir`.
    quiet
        Whether only warnings are printed.

    Returns
    -------
    Run
        Its posterior, its verdict, its folder. A verdict `fail` is returned, too.

    Raises
    ------
    UserError
        With everything that is wrong with the config or the data; nothing is left behind.
    SamplingError
        When sampling fails.
    OutputError
        When the results can't be written.
    VerdictError
        When the verdict is `fail` and `diagnostics.fail_run` is set.
    RunInterrupted
        A `KeyboardInterrupt`: the draws so far are kept in its `folder`.
    """
    with as_guest(), console_level(logging.WARNING if quiet else logging.INFO), _own_files(model, data) as own:
        words = [f"model={own.model}", *own.words, *_QUIET[quiet], *words_of(overrides)]
        composition = compose(arguments_of(words, config_dir), conf())
        result = run_composed(composition, shows=False, command=_command(own, words, config_dir), table=own.table)
    return _run_of(result)


def fit(
    formula: str | Mapping[str, str],
    frame: Any,
    family: str = "normal",
    priors: Mapping[str, Any] | None = None,
    *,
    config_dir: str | Path | None = None,
    quiet: bool = False,
    **overrides: Value,
) -> Run:
    """Fit a regression to a data frame.

    Parameters
    ----------
    formula
        As in R's lme4 and brms, `"y ~ x + (1 | g)"`, or a formula per parameter, `{"mu": "y ~ x", "sigma": "~ x"}`
        (docs/regression.md).
    frame
        The rows: a pandas or polars data frame, or columns by name.
    family
        The response's distribution: `normal`, `poisson`, `bernoulli`, ... (`bayesrun list families`).
    priors
        By term, `{"x": {"dist": "Normal", "mu": 0, "sigma": 1}, "sd": {...}}`; the others have their defaults.
    config_dir, quiet
        As in `run`.
    **overrides
        Other keys of the config: `seed=1`, `sampler={"draws": 2000}`, `tracking="none"`, `name="first"`,
        `model={"options": {"link": "log"}}`.

    Returns
    -------
    Run
        Its posterior, its verdict, its folder.

    Raises
    ------
    UserError, SamplingError, OutputError, VerdictError, RunInterrupted
        As in `run`.
    """
    model = {"name": "regression", "type": "regression", "formula": formula, "family": family, "priors": priors}
    return run(model, overrides, data=frame, config_dir=config_dir, quiet=quiet)


def load(folder: str | Path) -> Run:
    """Open a finished run.

    Parameters
    ----------
    folder
        Its run folder; `last`, the run that was started last; or `mlflow:RUN_ID`, a tracked run.

    Raises
    ------
    UserError
        When there is no such run.
    """
    text = str(folder)
    with as_guest():
        path = find_run(text, arguments_of([], None)).folder
    if (path / "sweep.json").is_file():
        raise fail("run", f"'{text}' is the folder of a sweep", f"open one of its runs: bayesrun.load('{text}/0')")
    return Run(path.absolute())


def sweep(
    model: Model,
    values: Mapping[str, Iterable[Value]],
    overrides: Overrides = (),
    *,
    data: Any = None,
    config_dir: str | Path | None = None,
    quiet: bool = False,
) -> Sweep:
    """Run a model with several values of some keys: the sweep of `python -m bayesrun -m model=MODEL KEY=A,B OVERRIDES`.

    Parameters
    ----------
    model, overrides, data, config_dir
        As in `run`. A data frame is kept below `paths.outputs`, where its runs read it.
    values
        Values by key; every combination is one job: `{"model.priors.early_rate.lam": [0.5, 1, 2]}`.
    quiet
        Whether nothing but warnings is printed; otherwise each job has a line when it ends.

    Returns
    -------
    Sweep
        Its table, its answer, its runs. A job that failed is a row of the table with its error.

    Raises
    ------
    UserError
        With the problems of all jobs; nothing is left behind.
    SamplingError
        When no job has a posterior.
    RunInterrupted
        A `KeyboardInterrupt`: the jobs that are done are kept in its `folder`.
    """
    with as_guest(), ExitStack() as stack:
        stack.enter_context(console_level(logging.WARNING if quiet else logging.INFO))
        given = words_of(overrides)
        own = stack.enter_context(_own_files(model, data, lambda: _outputs(given, config_dir)))
        words = [f"model={own.model}", *own.words, *_QUIET[quiet], *given, *swept_words(values)]
        arguments = arguments_of(["--multirun", *words], config_dir)
        stack.enter_context(nameless_script())
        if quiet:
            stack.enter_context(redirect_stdout(io.StringIO()))
        end = sweep_composed(arguments, compose(arguments, conf()))
    if end.is_interrupted:
        raise RunInterrupted(end.folder, end.how_to_finish)
    found = Sweep(end.folder, end.text)
    if not found.runs:
        raise SamplingError(f"no job of the sweep has a posterior\n{end.text}")
    return found


@dataclass(frozen=True)
class _Own:
    """Files of what was given in Python: the model's name, words that choose the files, and a frame's rows."""

    model: str
    words: Sequence[str] = ()
    table: Path | None = None
    is_named: bool = True


@contextmanager
def _own_files(model: Model, data: Any, outputs: Callable[[], Path] | None = None) -> Iterator[_Own]:
    """Write what was given in Python into a folder of its own, for the time of the block.

    Parameters
    ----------
    model, data
        As in `run`.
    outputs
        Returns the outputs folder, below which the rows stay for several runs; None where one run takes them.
    """
    if isinstance(model, str) and data is None:
        yield _Own(model)
        return
    frame = None if data is None else as_pandas(data)
    with tempfile.TemporaryDirectory(prefix="bayesrun_") as place:
        folder, table = Path(place), None
        words = [f"hydra.searchpath=[{text_of(f'file://{folder}', 'config_dir')}]"]
        if frame is not None:
            table = write_table(frame, folder)
            section = data_of(frame, table)
            if outputs is not None:
                section["path"] = str(_kept(table, section["sha256"], outputs()))
            chosen = write_data(section, folder)
            words += [f"data={chosen}"] if isinstance(model, str) else []  # a model in Python names it itself
        name = model if isinstance(model, str) else write_model(model, folder, with_data=frame is not None)
        yield _Own(name, words, table if outputs is None else None, is_named=False)


def _outputs(words: Sequence[str], config_dir: str | Path | None) -> Path:
    places = [word for word in words if word.lstrip("+").startswith("paths")]
    return Path(str(compose(arguments_of(places, config_dir), conf()).config.paths.outputs)).absolute()


def _kept(table: Path, digest: str, outputs: Path) -> Path:
    """Keep a frame's rows below the outputs folder; the same rows are kept once."""
    path = outputs / "frames" / digest[:16] / TABLE
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(table, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)
    return path


def _command(own: _Own, words: Sequence[str], config_dir: str | Path | None) -> list[str]:
    """Return the command that makes the run; none where the model or the data were given in Python."""
    if not own.is_named:
        return []
    flags = [f"--config-dir={config_dir}"] if config_dir is not None else []
    return [sys.executable, "-m", "bayesrun", *flags, *words]


def _run_of(result: RunResult) -> Run:
    """Return the run of a result, or raise what ended it."""
    folder, raised = result.folder, result.raised
    assert folder is not None
    if isinstance(raised, KeyboardInterrupt):
        raise RunInterrupted(folder, result.told) from raised
    if isinstance(raised, OutputError):
        raise raised
    if raised is not None:
        raise SamplingError(result.told) from raised
    if result.exit_status == 130:
        raise RunInterrupted(folder, f"interrupted: the draws so far are kept, bayesrun.load('{folder}') opens them")
    if result.exit_status == VerdictError.exit_status:
        raise VerdictError(
            f"the verdict is fail (diagnostics.fail_run is set): bayesrun.load('{folder}') opens the run"
        )
    return Run(folder)
