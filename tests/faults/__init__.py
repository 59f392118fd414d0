"""The fault harness: a seeded matrix of faults and moments, tried on the real command (`python -m tests.faults -h`).

`matrix` draws the cases, `run_faults` and `other_faults` do them on a `bench`, `judging` says what is left.
"""
