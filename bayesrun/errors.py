"""What can go wrong, and the exit status of each.

BayesrunError                 any failure that bayesrun reports without a traceback
├── UserError          (1)    the config or the data is wrong: one or more problems, each with its key
├── OutputError        (1)    the results can't be written: a full disk, a read-only folder, a file in its place
├── SamplingError      (4)    the sampler failed
│   └── TimeLimitReached      the job reached its time limit on the cluster
└── VerdictError       (3)    the verdict is `fail` and `diagnostics.fail_run` is set

RunInterrupted         (130)  a run or a sweep in Python was interrupted; a `KeyboardInterrupt`
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_MAX_SHOWN = 50
_MAX_NAMES = 60
_MAX_WORD_LENGTH = 300
_MAX_LENGTH = 4000
_MAX_PATH_LENGTH = 1000


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with what the user wrote.

    Parameters
    ----------
    key
        Config key of the problem, dotted (`model.priors.early_rate.lam`).
    message
        What was got and what is allowed.
    hint
        What to do about it; may be empty.
    """

    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        text = shorten(f"{self.key}: {self.message}" if self.key else self.message)
        return f"{text}\n    {shorten(self.hint)}" if self.hint else text


class BayesrunError(Exception):
    """Base of all failures that end as a message instead of a traceback."""

    exit_status = 1


class UserError(BayesrunError):
    """The config or the data is wrong; holds every problem found, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(dict.fromkeys(problems))
        super().__init__(self.problems)

    def __str__(self) -> str:
        count = len(self.problems)
        head = "1 problem" if count == 1 else f"{count} problems"
        rest = [f"  ... and {count - _MAX_SHOWN} more"] if count > _MAX_SHOWN else []
        shown = [f"  - {problem}" for problem in self.problems[:_MAX_SHOWN]]
        return "\n".join([f"{head} in the config or the data:", *shown, *rest])


class OutputError(BayesrunError):
    """The results can't be written where they should be."""

    def __init__(self, folder: object, reason: str) -> None:
        super().__init__(
            f"'{cut_words(str(folder))}': {cut_words(reason)}\n    choose another place: paths.outputs=FOLDER"
        )


class SamplingError(BayesrunError):
    """The sampler failed although config and data were valid."""

    exit_status = 4


class TimeLimitReached(SamplingError):
    """A job's time on the cluster is over; the scheduler would kill it next."""

    def __init__(self) -> None:
        super().__init__("it reached its time limit on the cluster (hydra.launcher.timeout_min)")


class VerdictError(BayesrunError):
    """The verdict is `fail`, and the config asks for this exit status."""

    exit_status = 3


class RunInterrupted(KeyboardInterrupt):
    """A run or a sweep in Python was interrupted; what it made so far is in its folder.

    Parameters
    ----------
    folder
        The folder of the run, for `bayesrun.load`, or of the sweep; None where it had none yet.
    message
        What is kept, and how to go on.
    """

    exit_status = 130

    def __init__(self, folder: Path | None, message: str) -> None:
        super().__init__(message)
        self.folder = folder


def fail(key: str, message: str, hint: str = "") -> UserError:
    """Make the error of a single problem, to be raised by the caller."""
    return UserError([Problem(key, message, hint)])


def check(problems: Sequence[Problem]) -> None:
    """Raise all problems at once, if there are any.

    Raises
    ------
    UserError
        When `problems` is not empty.
    """
    if problems:
        raise UserError(problems)


def cut_words(text: str, longest: int = _MAX_PATH_LENGTH) -> str:
    """Shorten words of more characters than that; by default, paths of folders stay whole."""
    return re.sub(rf"\S{{{longest},}}", _cut_word, text)


def shorten(text: str) -> str:
    """Shorten what is too long to read: words of more than 300 characters, and texts of more than 4,000."""
    text = cut_words(text, _MAX_WORD_LENGTH)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]} ... ({len(text):,} characters)"


def _cut_word(word: re.Match[str]) -> str:
    whole = word.group()
    return f"{whole[:80]}...({len(whole):,} characters)...{whole[-20:]}"


def did_you_mean(got: str, allowed: Iterable[str]) -> str:
    """Return the hint for an unknown name: which names are allowed, the nearest one first."""
    names = sorted(allowed)
    more = f", ... ({len(names):,} in all)" if len(names) > _MAX_NAMES else ""
    listed = f"allowed: {', '.join(names[:_MAX_NAMES])}{more}" if names else "none is allowed here"
    near = difflib.get_close_matches(got, names, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'? {listed}" if near else listed
