"""Bambi on PyMC 6, sampled by nutpie: run in the peers' environment."""

from __future__ import annotations

import argparse

import bambi
import pandas as pd


def main() -> None:
    """Fit one formula to a CSV file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("table")
    parser.add_argument("formula")
    parser.add_argument("family")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--tune", type=int, default=1000)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--seed", type=int, default=8927)
    arguments = parser.parse_args()
    model = bambi.Model(arguments.formula, pd.read_csv(arguments.table), family=arguments.family)
    fitted = model.fit(
        draws=arguments.draws,
        tune=arguments.tune,
        chains=arguments.chains,
        cores=arguments.cores,
        random_seed=arguments.seed,
        inference_method="nutpie",
    )
    print(dict(fitted["posterior"].sizes))


if __name__ == "__main__":
    main()
