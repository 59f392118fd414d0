"""The entry point: the command line; every problem with the config is reported before anything is started."""

from __future__ import annotations

import atexit
import errno
import io
import logging
import os
import re
import sys
from argparse import Namespace
from contextlib import nullcontext, redirect_stdout, suppress
from pathlib import Path

import hydra
from omegaconf import DictConfig

from bayesrun.cli.commands import (
    do_command,
    end_as_json,
    is_command,
    problems_as_json,
    result_as_json,
    task_as_json,
    wants_json,
)
from bayesrun.cli.completion import script_for
from bayesrun.cli.help import help_text, show_config
from bayesrun.composed_run import run_composed, sweep_composed
from bayesrun.config.compose import Composition, compose
from bayesrun.config.hydra_internals import VERSION_BASE, command_line
from bayesrun.config.resolvers import conf, register_resolvers
from bayesrun.early_signals import end, end_in_order, ignore_all, leave_soon, received
from bayesrun.errors import BayesrunError, Problem, UserError, check, fail
from bayesrun.logs import console_level
from bayesrun.redaction import RedactedStream, remember_environment, remember_overrides
from bayesrun.sweeps.sweep_folder import resumed
from bayesrun.tasks.base import do_task
from bayesrun.tasks.recover import recover_dead_runs
from bayesrun.tracking.base import TRACKERS, TrackingSpec

_SHOWN_ONLY = ("expand", "ui")
"""Tasks whose result is what they print, or a server."""
_RECOVER_NOTHING = (*_SHOWN_ONLY, "recover")
"""Tasks before which killed runs are left as they are; `recover` itself reports where there are none."""
_SIGNALLED = 128
"""Exit statuses above it are those of signals."""
_SECONDS_TO_LEAVE = 10
"""How long the clean-up of an interrupted command may take: more than it may wait for tracking."""
_MAY_TRACK_ELSEWHERE = re.compile(r"[+~]*(tracking|experiment|hydra|resume|task)\b")


def main() -> None:
    """Run bayesrun as a command; never returns."""
    remember_environment()
    remember_overrides(sys.argv[1:])
    sys.stdout, sys.stderr = RedactedStream(sys.stdout), RedactedStream(sys.stderr)  # type: ignore[assignment]
    register_resolvers()
    _leave(_run(command_line().parse_intermixed_args()))


def _leave(status: int) -> None:
    """End the process after the registered clean-up; Python would first free every object, which takes 0.5 s."""
    ignore_all()
    if status > _SIGNALLED:
        leave_soon(status, _SECONDS_TO_LEAVE)
    logging.shutdown()
    atexit._run_exitfuncs()
    with suppress(OSError):  # the reader of the output has gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _run(arguments: Namespace) -> int:
    as_json = False
    try:
        check(_flags_without_effect(arguments))
        as_json = wants_json(arguments)
        if is_command(arguments):
            return do_command(arguments, as_json)
        if _only_shows(arguments):
            return _show(arguments)
        level = logging.WARNING if arguments.quiet else logging.DEBUG if arguments.verbose else logging.INFO
        with console_level(level):
            return _do(_task(arguments), arguments, as_json)
    except BaseException as error:
        if as_json and isinstance(error, UserError):
            print(problems_as_json(error.problems))
        return _tell(error)


def _do(task: str, arguments: Namespace, as_json: bool) -> int:
    """Do a task, or run what the command line composes, once or as a sweep."""
    if task != "run":
        never = as_json and task in _SHOWN_ONLY
        check([Problem("output", f"task={task} has nothing to print as JSON", "leave it out")] if never else [])
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            ended = do_task(task, arguments, None if task in _RECOVER_NOTHING else recover_dead_runs)
        if as_json:
            print(task_as_json(task, ended))
        return ended.exit_status
    arguments = _resumed(arguments)
    if arguments.quiet:
        arguments.overrides = ["sampler.progress=false", *arguments.overrides]
    _warm_default_tracker(arguments)
    composition = compose(arguments, conf())
    if _sweeps(arguments, composition.config):
        return _sweep(arguments, composition, as_json)
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        result = run_composed(composition, shows=not (as_json or arguments.quiet))
    if as_json:
        print(result_as_json(result))
    elif arguments.quiet and result.verdict:
        print(f"verdict: {result.verdict}\nfolder: {result.folder}")
    return result.exit_status


def _tell(error: BaseException) -> int:
    """Print what ended the command, in one message, and return the exit status."""
    interrupted = received()  # it may have surfaced as another error
    if interrupted is not None:
        end(interrupted)
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return 130
    if isinstance(error, BrokenPipeError):  # `| head`: the reader of the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:  # any key that names a file or a folder
        error = fail("", f"'{error.filename}' is longer than a file's name can be", "give a shorter path")
    if isinstance(error, MemoryError):
        error = BayesrunError(f"this machine has run out of memory ({str(error) or 'no room for another array'})")
    if not isinstance(error, BayesrunError) or os.environ.get("HYDRA_FULL_ERROR") == "1":
        raise error
    print(f"error: {error}", file=sys.stderr)
    return error.exit_status


def _flags_without_effect(arguments: Namespace) -> list[Problem]:
    """Refuse flags of Hydra's that bayesrun does not follow: a rerun would load a pickle, which can run any code."""
    problems = []
    if arguments.experimental_rerun:
        hint = "run a folder again: --config-dir RUN_FOLDER --config-name config"
        problems.append(Problem("--experimental-rerun", "is not supported: a pickle can run code", hint))
    if arguments.config_path:
        problems.append(Problem("--config-path", "is not supported", "name a folder of your own: --config-dir FOLDER"))
    return problems


def _only_shows(arguments: Namespace) -> bool:
    return bool(arguments.help or arguments.hydra_help or arguments.cfg or arguments.info or arguments.shell_completion)


def _show(arguments: Namespace) -> int:
    """Answer a flag that only shows something; nothing is run."""
    if arguments.shell_completion:
        print(script_for(arguments.overrides), end="")
        return 0
    if arguments.hydra_help:  # Hydra answers itself, without the user's files
        sys.argv[1:] = ["--hydra-help"]
        return _ask_hydra()
    composition = compose(arguments, conf())
    check(composition.problems)
    if arguments.help:
        folders = [conf(), *([Path(arguments.config_dir)] if arguments.config_dir else [])]
        print(help_text(composition.config, folders))
    elif arguments.cfg:
        print(show_config(composition.config, arguments.cfg, arguments.package, arguments.resolve), end="")
    else:
        return _ask_hydra()
    return 0


def _ask_hydra() -> int:
    hydra.main(version_base=VERSION_BASE, config_path=str(conf()), config_name="main")(lambda config: None)()
    return 0


def _task(arguments: Namespace) -> str:
    """Return what the command line asks for: `run`, or a task of `bayesrun/tasks`."""
    named = ["task=run", *(override for override in arguments.overrides if override.startswith("task="))]
    return str(named[-1]).partition("=")[2].strip("'\"")


def _resumed(arguments: Namespace) -> Namespace:
    """With `resume=FOLDER`, continue with the command line of the sweep in that folder."""
    folder = next((o.partition("=")[2] for o in arguments.overrides if o.startswith("resume=")), "null")
    if folder == "null":
        return arguments

    return resumed(arguments, Path(folder.strip("'\"")))


def _warm_default_tracker(arguments: Namespace) -> None:
    """Start loading the tracker, the slowest import, on another core, unless the command line may choose another."""
    elsewhere = arguments.multirun or arguments.config_dir or arguments.config_name
    if not elsewhere and not any(map(_MAY_TRACK_ELSEWHERE.match, arguments.overrides)):
        default = TrackingSpec()
        TRACKERS.load(default.backend, "tracking.backend").warm(default)


def _sweeps(arguments: Namespace, config: DictConfig) -> bool:
    mode = config.hydra.mode  # set by an experiment; the flag wins
    return bool(arguments.multirun or (mode is not None and mode.name == "MULTIRUN" and not arguments.run))


def _sweep(arguments: Namespace, composition: Composition, as_json: bool) -> int:
    with redirect_stdout(sys.stderr if as_json else io.StringIO()) if as_json or arguments.quiet else nullcontext():
        end = sweep_composed(arguments, composition, end_in_order)
    if as_json:
        print(end_as_json(end))
        return end.exit_status
    print(end.text, flush=True)
    if end.compare_hint:
        print(f"compare: {end.compare_hint}", flush=True)
    if end.is_interrupted:
        print(end.how_to_finish, file=sys.stderr)
    return end.exit_status
