"""Questions about finished runs from Python: each is the task of a command, and the table that it writes.

The task leaves what the command leaves: a run folder of its own, which names its parents, and a tracked run.
"""

from __future__ import annotations

import io
import logging
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bayesrun.api.surroundings import as_guest
from bayesrun.api.words import Value, text_of, words_of
from bayesrun.config.hydra_internals import command_line
from bayesrun.data.frames import as_pandas, data_of, write_table
from bayesrun.errors import fail
from bayesrun.lazy import pd
from bayesrun.logs import console_level
from bayesrun.redaction import remember_overrides
from bayesrun.tasks.base import do_task

if TYPE_CHECKING:
    import pandas

Overrides = Sequence[str] | Mapping[str, Value]
"""`["sampler.draws=2000"]`, or `{"sampler.draws": 2000}`, or `{"sampler": {"draws": 2000}}`."""
Kind = Literal["predictions", "comparisons", "slopes"]
Comparison = Literal["difference", "ratio", "odds_ratio"]
Groups = Literal["known", "none", "population", "marginal"]


def arguments_of(words: Sequence[str], config_dir: str | Path | None) -> Namespace:
    """Return the flags of a command line; its words are remembered, so that no secret in them is written."""
    remember_overrides(words)
    flags = [f"--config-dir={config_dir}"] if config_dir is not None else []
    parsed: Namespace = command_line().parse_intermixed_args([*flags, *words])
    return parsed


def answer_of(task: str, options: Mapping[str, Value], words: Sequence[str], table: str) -> pandas.DataFrame:
    """Do a task, and return its table.

    Parameters
    ----------
    task
        Its registered name.
    options
        Its options; those that are None are left out.
    words
        Which runs it works on, and further overrides.
    table
        The file of its run folder.

    Raises
    ------
    UserError
        With everything that is wrong with the question.
    """
    with as_guest(), console_level(logging.WARNING), redirect_stdout(io.StringIO()):
        asked = [f"{task}.{key}={text_of(value, key)}" for key, value in options.items() if value is not None]
        end = do_task(task, arguments_of([f"task={task}", *asked, *words], None))
        assert end.folder is not None
        return pd.read_csv(end.folder / table, float_precision="round_trip")


def run_word(folder: Path) -> str:
    """Return the word that names a run."""
    return f"run={text_of(str(folder), 'run')}"


@contextmanager
def section_of_rows(data: Any) -> Iterator[Value]:
    """Yield the section `data` of a frame, for the time of the block; a name or the path of a file as it is."""
    if data is None or isinstance(data, str | Path):
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="bayesrun_") as place:
        frame = as_pandas(data, "effects.data")
        yield {**data_of(frame, write_table(frame, Path(place), "effects.data")), "levels": {}}


def compare(runs: Sequence[Any], names: Sequence[str] | None = None, overrides: Overrides = ()) -> pandas.DataFrame:
    """Compare finished runs by how well they predict: the table of `task=compare`.

    Parameters
    ----------
    runs
        Two or more: each a `Run`, its folder, `"last"` or `"mlflow:RUN_ID"`.
    names
        What they are called in the table; None = by their models or folders.
    overrides
        Keys of `tracking` and `paths`, as in `run`.

    Returns
    -------
    DataFrame
        One row per run, the best first: `elpd_loo` with `se`, `elpd_diff` with `dse`, stacking `weight`, ...

    Raises
    ------
    UserError
        When they can't be compared, with the reason.
    """
    is_list = isinstance(runs, Sequence) and not isinstance(runs, str)
    if not is_list or not all(isinstance(one, str | Path) or hasattr(one, "folder") for one in runs):
        raise fail("runs", f"must be a list of runs (got {runs!r})", "give [run, other], or their folders")
    texts = [str(one if isinstance(one, str | Path) else one.folder) for one in runs]
    chosen = f"runs={text_of(texts, 'runs')}"
    options: dict[str, Value] = {"names": None if names is None else list(names)}
    return answer_of("compare", options, [chosen, *words_of(overrides)], "compare.csv").set_index("run")
