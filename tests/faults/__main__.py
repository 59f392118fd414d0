"""Try faults on the real command and print what became of them: `python -m tests.faults --seed 3 --cases 60`."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults import other_faults, run_faults
from tests.faults.bench import Bench, Place
from tests.faults.judging import Outcome
from tests.faults.matrix import FAULTS, MOMENTS, Case, deal


def run_case(bench: Bench, case: Case) -> Outcome:
    """Run one case; its folder stays where something is wrong."""
    began = time.monotonic()
    place = Place(bench, case)
    try:
        outcome = other_faults.FAULTS.get(case.fault, run_faults.strike)(place)
    except Exception:  # the harness's own fault is shown, and the other cases go on
        outcome = place.outcome
        outcome.wrong.append(f"the harness failed: {traceback.format_exc()}")
    finally:
        place.clean_up()
    outcome.seconds = time.monotonic() - began
    if outcome.survived:
        place.remove()
    else:
        (place.folder / "said.txt").write_text("\n-----\n".join(place.said))
    return outcome


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the table: a line per fault, and one for all."""
    lines = [
        f"{'fault':28s}{'tried':>7s}{'survived':>10s}{'missed':>8s}{'draws lost':>12s}{'secrets':>9s}{'code run':>10s}"
    ]
    rows = [(fault, [one for one in outcomes if one.case.fault == fault]) for fault in FAULTS]
    for name, of in [*rows, ("all", list(outcomes))]:
        if of:
            survived, missed = sum(one.survived for one in of), sum(one.missed for one in of)
            lost, secrets = sum(one.draws_lost for one in of), sum(len(one.secrets) for one in of)
            code = sum(len(one.code) for one in of)
            lines.append(f"{name:28s}{len(of):7d}{survived:10d}{missed:8d}{lost:12,d}{secrets:9d}{code:10d}")
    return "\n".join(lines)


def main() -> int:
    """Run the cases that the command line asks for; return 1 if one of them is not survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="draws the cases, and is the seed of all runs")
    parser.add_argument("--cases", type=int, default=60, help="how many")
    parser.add_argument("--only", default="", help="a case's number, or a regular expression for 'fault / moment'")
    parser.add_argument("--jobs", type=int, default=2, help="cases at the same time")
    parser.add_argument("--folder", type=Path, help="where cases that are not survived leave their folders")
    parser.add_argument("--list", action="store_true", help="only list the cases")
    arguments = parser.parse_args()
    cases = [case for case in deal(arguments.seed, arguments.cases) if _is_wanted(case, arguments.only)]
    if arguments.list:
        print(*cases, sep="\n")
        return 0
    bench = Bench(arguments.folder or Path(tempfile.mkdtemp(prefix="faults-")), arguments.seed)
    print(f"{len(cases)} cases of seed {arguments.seed}, in {bench.folder}; moments: {', '.join(MOMENTS)}", flush=True)
    outcomes = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for outcome in pool.map(lambda case: run_case(bench, case), cases):
            print(outcome, flush=True)
            outcomes.append(outcome)
    print(f"\n{table(outcomes)}")
    return 0 if all(outcome.survived for outcome in outcomes) else 1


def _is_wanted(case: Case, only: str) -> bool:
    return case.number == int(only) if only.isdigit() else bool(re.search(only, f"{case.fault} / {case.moment}"))


if __name__ == "__main__":
    sys.exit(main())
