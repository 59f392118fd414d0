"""Why a cluster ended a job, in words."""

import multiprocessing
import os
import signal

import pytest

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


@pytest.fixture
def listening():
    """Have a signal handler like submitit's; yields what it raises."""
    raised = []

    def handle(number, frame):
        if raised:
            raise RuntimeError(raised[0])

    before = signal.signal(signal.SIGUSR2, handle)
    yield raised
    assert signal.getsignal(signal.SIGUSR2) is handle
    signal.signal(signal.SIGUSR2, before)


@pytest.mark.parametrize(
    ("message", "error", "words"),
    [
        ("Job not requeued because: timed-out too many times.", TimeLimitReached, "hydra.launcher.timeout_min"),
        ("Command '['scontrol', 'requeue', '7']' returned non-zero exit status 1.", SamplingError, "preempted"),
    ],
)
def test_submitits_warning_is_explain_time_limit(listening, message, error, words):
    listening.append(message)
    with pytest.raises(SamplingError, match=words) as caught, explain_time_limit():
        os.kill(os.getpid(), signal.SIGUSR2)
    assert type(caught.value) is error


def test_only_the_first_warning_is_answered(listening):
    listening.append("Job not requeued because: timed-out too many times.")
    with pytest.raises(TimeLimitReached), explain_time_limit():
        try:
            os.kill(os.getpid(), signal.SIGUSR2)
        finally:
            os.kill(os.getpid(), signal.SIGUSR2)


def test_processes_forked_from_the_job_leave_the_answer_to_it(listening):
    listening.append("A temporary saved file already exists.")
    with explain_time_limit():
        chain = multiprocessing.get_context("fork").Process(target=_warn_oneself)
        chain.start()
        chain.join()
    assert chain.exitcode == 0


def _warn_oneself():
    os.kill(os.getpid(), signal.SIGUSR2)


def test_a_handler_that_raises_nothing_goes_on(listening):
    with explain_time_limit():
        os.kill(os.getpid(), signal.SIGUSR2)


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
