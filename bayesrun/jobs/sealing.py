"""Jobs of a queue without secrets in submitit's files.

Submitit pickles what a job calls, with its whole config, into the sweep's folder, and later what the job returned. Here
each text that holds a secret is left out of the pickle. It goes to the job in its environment, which a queue passes on
and which nobody else can read.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import secrets
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import cloudpickle
from hydra.core.utils import JobReturn

from bayesrun.errors import BayesrunError
from bayesrun.redaction import RedactedStream, redact, remember_texts

_VARIABLE = "BAYESRUN_SEALED"
_lock = threading.Lock()


class MissingSecret(BayesrunError):
    """The queue did not pass the environment on."""

    def __init__(self) -> None:
        super().__init__(
            "the job needs a secret from the environment of the command that submitted it, and the queue did not pass "
            "it on\n    let sbatch export the environment (no --export=NONE), or write the secret into ~/.netrc or "
            "~/.pgpass"
        )


class SealedCall:
    """What submitit calls in a job: it takes a sealed function with its arguments."""

    def __call__(self, sealed: bytes) -> Any:
        """Call what was sealed; neither the result nor an error holds a secret."""
        sys.stdout, sys.stderr = RedactedStream(sys.stdout), RedactedStream(sys.stderr)  # type: ignore[assignment]
        call, arguments = unseal(sealed)
        try:
            return _without_secrets(call(*arguments))
        except BayesrunError:
            raise
        except Exception:
            raise RuntimeError(redact(traceback.format_exc())) from None

    def checkpoint(self, sealed: bytes) -> Any:
        """Return what is submitted again where a job was preempted or reached its time limit."""
        from submitit.helpers import DelayedSubmission  # an extra

        return DelayedSubmission(self, sealed)


def seal(call: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    """Pickle a function and its arguments; each text with a secret goes into the environment of this process."""
    buffer = io.BytesIO()
    pickler = _Pickler(buffer)
    pickler.dump((call, arguments))
    return buffer.getvalue()


def unseal(sealed: bytes) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return a function and its arguments.

    Raises
    ------
    MissingSecret
        When this process does not have the environment of the one that sealed it.
    """
    unpickler = _Unpickler(io.BytesIO(sealed))
    content: tuple[Callable[..., Any], tuple[Any, ...]] = unpickler.load()
    return content


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # untyped
    def persistent_id(self, thing: Any) -> str | None:
        return _name_of(thing) if isinstance(thing, str) and redact(thing) != thing else None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: str) -> str:
        texts = _passed_on()
        if pid not in texts:
            raise MissingSecret
        remember_texts([texts[pid]])
        return texts[pid]


def _name_of(text: str) -> str:
    """Return a random name for a text, under which the environment has it."""
    with _lock:
        texts = _passed_on()
        for name, known in texts.items():
            if known == text:
                return name
        name = secrets.token_hex(8)
        os.environ[_VARIABLE] = json.dumps({**texts, name: text})
        return name


def _passed_on() -> dict[str, str]:
    return dict(json.loads(os.environ.get(_VARIABLE, "{}")))


def _without_secrets(returned: Any) -> Any:
    """Keep of what Hydra returns for a job how it ended and what it returned, not its config."""
    if not isinstance(returned, JobReturn):
        return returned
    value = returned._return_value
    if isinstance(value, BaseException) and redact(str(value)) != str(value):
        value = RuntimeError(redact(f"{type(value).__name__}: {value}"))
    return JobReturn(status=returned.status, _return_value=value)
