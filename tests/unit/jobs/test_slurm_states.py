"""Why a cluster ended a job, in words."""

import multiprocessing
import os
import signal
from types import SimpleNamespace

import pytest
from submitit.core.job_environment import SignalHandler
from submitit.core.utils import DelayedSubmission

from bayesrun.errors import SamplingError, TimeLimitReached
from bayesrun.jobs.patches import explain_time_limit
from bayesrun.jobs.slurm import QueueWatcher, explain_state

SHOWN = "JobId=7 JobName=bayesrun UserId=root(0) JobState={} Reason={} Dependency=(null) ExitCode=0:0 NodeList=n1"


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        ("TIMEOUT", "TimeLimit", "time limit on the cluster (hydra.launcher.timeout_min)"),
        ("NODE_FAIL", "NodeDown", "its node failed"),
        ("CANCELLED", "None", "it was cancelled"),
        ("OUT_OF_MEMORY", "OutOfMemory", "hydra.launcher.mem_gb"),
        ("FAILED", "NonZeroExitCode", "it left Slurm's queue without a result"),
    ],
)
def test_slurms_states_are_told_in_words_and_as_they_are(state, reason, words):
    said = explain_state(SHOWN.format(state, reason))
    assert words in said
    assert f"(JobState={state}, Reason={reason}, ExitCode=0:0, NodeList=n1)" in said


def test_what_slurm_has_forgotten_is_said_so():
    assert "no longer known" in explain_state("")


class _Queue:
    """A queue that does not take a job again, `--no-requeue`."""

    global_rank = 0

    def __init__(self):
        self.asked = []

    def _requeue(self, countdown):
        self.asked.append(countdown)
        raise RuntimeError("Command '['scontrol', 'requeue', '7']' returned non-zero exit status 1.")


class _Call:
    def checkpoint(self):
        return DelayedSubmission(self)


@pytest.fixture
def listening(tmp_path):
    """Have submitit's own handler of the signal; yields a function that sets the time limit, in minutes."""
    job = DelayedSubmission(_Call())
    queue = _Queue()
    handler = SignalHandler(queue, SimpleNamespace(submitted_pickle=tmp_path / "submitted.pkl"), job)
    handle = handler.checkpoint_and_try_requeue
    before = signal.signal(signal.SIGUSR2, handle)

    def limit(minutes, requeued=0):
        job.set_timeout(minutes, requeued)
        return queue

    yield limit
    assert signal.getsignal(signal.SIGUSR2) == handle
    signal.signal(signal.SIGUSR2, before)


@pytest.mark.parametrize(
    ("minutes", "requeued", "asked", "error", "words"),
    [
        (1, 0, [], TimeLimitReached, "hydra.launcher.timeout_min"),  # so short that the signal means its end
        (1, 1, [0], TimeLimitReached, "hydra.launcher.timeout_min"),  # the queue does not take it again
        (60_000, 0, [0], SamplingError, "preempted"),
    ],
)
def test_submitits_warning_is_explained(listening, minutes, requeued, asked, error, words):
    queue = listening(minutes, requeued)
    with pytest.raises(SamplingError, match=words) as caught, explain_time_limit():
        os.kill(os.getpid(), signal.SIGUSR2)
    assert type(caught.value) is error
    assert queue.asked == asked


def test_only_the_first_warning_is_answered(listening):
    listening(1)
    with pytest.raises(TimeLimitReached), explain_time_limit():
        try:
            os.kill(os.getpid(), signal.SIGUSR2)
        finally:
            os.kill(os.getpid(), signal.SIGUSR2)


def test_processes_forked_from_the_job_leave_the_answer_to_it(listening):
    listening(1)
    with explain_time_limit():
        chain = multiprocessing.get_context("fork").Process(target=_warn_oneself)
        chain.start()
        chain.join()
    assert chain.exitcode == 0


def _warn_oneself():
    os.kill(os.getpid(), signal.SIGUSR2)


def test_a_handler_that_raises_nothing_goes_on(listening):
    queue = listening(60_000)
    queue.global_rank = 1  # it leaves the answer to the first task of the job
    with explain_time_limit():
        os.kill(os.getpid(), signal.SIGUSR2)
    assert queue.asked == []


def test_a_signal_handler_of_others_is_left_alone():
    before = signal.signal(signal.SIGUSR2, _hear)
    try:
        with explain_time_limit():
            assert signal.getsignal(signal.SIGUSR2) is _hear
    finally:
        signal.signal(signal.SIGUSR2, before)


def _hear(number, frame):
    """Hear a signal."""


def test_without_submitit_nothing_is_changed():
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL
    with explain_time_limit():
        assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL


def test_a_job_is_over_once_it_has_left_the_queue_for_good():
    watcher = QueueWatcher()
    watcher.register_job("7")
    for shown, states in (("7\n8\n", "RUNNING"), ("8\n", "RUNNING"), ("7\n8\n", "RUNNING"), (b"8\n", "RUNNING")):
        assert watcher.read_info(shown)["7"]["State"] == states
    watcher.read_info("")
    watcher._info_dict.update(watcher.read_info(""))
    assert watcher.is_done("7", mode="cache")
    assert watcher.knows("7")
    assert not watcher.knows("8")
