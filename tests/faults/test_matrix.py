"""A small sample of the fault harness: a case for each fault and each moment, drawn from one seed.

`python -m tests.faults` tries as many as one likes, of any seed.
"""

from __future__ import annotations

import pytest

from tests.faults.__main__ import run_case, table
from tests.faults.bench import Bench
from tests.faults.matrix import FAULTS, MOMENTS, Case, deal

SEED = 117
SAMPLE = deal(SEED, len(FAULTS))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), SEED)


@pytest.mark.slow
@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: f"{case.fault}, {case.moment}")
def test_nothing_is_lost_leaked_or_run(bench: Bench, case: Case) -> None:
    outcome = run_case(bench, case)
    assert outcome.survived, f"{outcome}\n{table([outcome])}"


def test_the_sample_covers_all_faults_and_moments() -> None:
    assert {case.fault for case in SAMPLE} == set(FAULTS)
    assert {case.moment for case in SAMPLE} == set(MOMENTS)


def test_a_seed_draws_the_same_cases_again_and_another_seed_others() -> None:
    assert deal(5, 40) == deal(5, 40)
    assert deal(5, 40)[0].chance().random() == deal(5, 40)[0].chance().random()
    assert [(c.fault, c.moment) for c in deal(5, 40)] != [(c.fault, c.moment) for c in deal(6, 40)]
    pairs = sum(len(moments) for moments in FAULTS.values())
    assert len({(c.fault, c.moment) for c in deal(5, pairs)}) == pairs
