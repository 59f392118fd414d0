from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from bayesrun.errors import OutputError
from bayesrun.samplers.draw_store import CHANGES, DrawStore, RowLayout, read_draws, read_state, rows_of
from bayesrun.samplers.earlier import recovered
from bayesrun.samplers.smaller_steps import StepChange

LAYOUT = RowLayout("variables", {"mu": (), "theta": (2, 3)}, ("diverging", "lp"), 2, 100, {"mu": "NUTS"})


def columns(count: int, seed: int = 1):
    rng = np.random.default_rng(seed)
    draws = {"mu": rng.normal(size=count), "theta": rng.normal(size=(count, 2, 3))}
    return draws, {"diverging": rng.random(count) < 0.5, "lp": rng.normal(size=count)}


def store(folder, *counts: int):
    files = DrawStore(folder).begin(LAYOUT)
    for chain, count in enumerate(counts):
        draws, stats = columns(count, chain)
        for part in np.array_split(np.arange(count), 4):
            files[chain].append(
                rows_of({n: v[part] for n, v in draws.items()}, {n: v[part] for n, v in stats.items()}, LAYOUT)
            )


def test_what_is_stored_is_read_bit_for_bit(tmp_path):
    store(tmp_path, 100, 40)
    stored = read_draws(tmp_path)
    for chain, count in enumerate((100, 40)):
        for written, read in zip(columns(count, chain), stored.chains[chain], strict=True):
            assert written.keys() == read.keys()
            assert all(np.array_equal(written[n], read[n]) and written[n].dtype == read[n].dtype for n in written)


@pytest.mark.parametrize("lost", [1, 8, 500, 3000])
def test_a_power_cut_costs_the_segments_that_were_not_whole(lost, tmp_path):
    store(tmp_path, 100, 100)
    path = tmp_path / "1" / "chain-0.draws"
    written = 4 * 32 + 100 * 9 * 8
    content = path.read_bytes()
    path.write_bytes(content[: written - lost] + bytes(len(content) - written + lost))  # what was not synced is zero
    kept = len(read_draws(tmp_path).chains[0][0]["mu"])
    assert kept in (25, 50, 75)
    assert np.array_equal(read_draws(tmp_path).chains[0][0]["mu"], columns(100, 0)[0]["mu"][:kept])


def test_a_flipped_bit_ends_the_chain_there(tmp_path):
    store(tmp_path, 100, 100)
    path = tmp_path / "1" / "chain-1.draws"
    content = bytearray(path.read_bytes())
    content[32 + 25 * 72 + 32 + 5] ^= 1
    path.write_bytes(content)
    assert len(read_draws(tmp_path).chains[1][0]["mu"]) == 25


def test_reserved_space_is_no_draw_and_is_cut_away(tmp_path):
    """As a chain leaves it that fails, or is killed."""
    store(tmp_path, 100, 40)
    (tmp_path / "1" / "chain-1.draws").write_bytes((tmp_path / "1" / "chain-1.draws").read_bytes()[:-7] + b"torn...")
    reserved = [path.stat().st_size for path in sorted(tmp_path.glob("1/*.draws"))]
    assert reserved == [100 * (9 * 8 + 32)] * 2
    before = read_draws(tmp_path)
    DrawStore(tmp_path).trim()
    assert [path.stat().st_size for path in sorted(tmp_path.glob("1/*.draws"))] == [n * 72 + 4 * 32 for n in (100, 40)]
    after = read_draws(tmp_path)
    assert [len(after.chains[n][0]["mu"]) for n in (0, 1)] == [100, 40]
    assert np.array_equal(before.chains[1][0]["theta"], after.chains[1][0]["theta"])
    DrawStore(tmp_path / "none").begin(LAYOUT)
    assert read_draws(tmp_path / "none") is None
    DrawStore(tmp_path / "none").trim()
    assert [path.stat().st_size for path in tmp_path.glob("none/1/*.draws")] == [0, 0]


def test_the_attempt_with_the_most_draws_counts(tmp_path):
    keeper = DrawStore(tmp_path)
    for count in (30, 10):
        draws, stats = columns(count)
        keeper.begin(LAYOUT)[0].append(rows_of(draws, stats, LAYOUT))
    assert len(read_draws(tmp_path).chains[0][0]["mu"]) == 30


def test_recovered_chains_have_one_length_and_say_which_left_none(tmp_path):
    store(tmp_path, 60)
    sampled = recovered(read_draws(tmp_path), lambda: pytest.fail("there are no points"))
    assert sampled.draws["theta"].shape == (1, 60, 2, 3)
    assert sampled.interrupted == "killed"
    assert sampled.died == {1: "left no draws"}


def test_too_little_space_is_told_before_the_first_draw(tmp_path, monkeypatch):
    def full(file: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match=r"(?s)not enough space for the draws.*sampler\.draws"):
        DrawStore(tmp_path / "draws").begin(LAYOUT)
    assert not list((tmp_path / "draws").glob("*"))


def test_what_a_time_limit_will_end_reserves_nothing(tmp_path):
    DrawStore(tmp_path).begin(RowLayout("points", {"point": (1000,)}, (), 4, 10**9, {}))
    assert all(path.stat().st_size == 0 for path in tmp_path.glob("1/chain-*.draws"))


def test_nothing_stored_is_none(tmp_path):
    DrawStore(tmp_path).begin(LAYOUT)
    assert read_draws(tmp_path) is None


def test_space_that_was_not_needed_is_given_back(tmp_path):
    file = DrawStore(tmp_path).begin(LAYOUT)[0]
    draws, stats = columns(10)
    file.append(rows_of(draws, stats, LAYOUT))
    file.finish()
    assert (tmp_path / "1" / "chain-0.draws").stat().st_size == 32 + 10 * 9 * 8
    assert len(read_draws(tmp_path).chains[0][0]["mu"]) == 10


def test_draws_that_became_warm_up_count_until_there_are_as_many_new_ones(tmp_path):
    file = DrawStore(tmp_path).begin(LAYOUT)[0]
    draws, stats = columns(30)
    rows = rows_of(draws, stats, LAYOUT)
    file.append(rows[:20])
    file.begin_again(StepChange(20, 3))
    file.append(rows[20:29])
    before = read_draws(tmp_path)
    assert np.array_equal(before.chains[0][0]["mu"], draws["mu"][:20]) and before.changes == {}
    file.append(rows[9:20])
    file.finish()
    after = read_draws(tmp_path)
    assert np.array_equal(after.chains[0][0]["mu"], np.concatenate([draws["mu"][20:29], draws["mu"][9:20]]))
    assert after.changes == {0: [(20, 3)]}


def test_a_change_at_the_end_of_warm_up_is_stored_too(tmp_path):
    file = DrawStore(tmp_path).begin(LAYOUT)[0]
    file.begin_again(StepChange(0, 1))
    draws, stats = columns(5)
    file.append(rows_of(draws, stats, LAYOUT))
    assert read_draws(tmp_path).changes == {0: [(0, 1)]}


def test_a_state_of_other_steps_is_passed_over(tmp_path):
    keeper = DrawStore(tmp_path)
    file = keeper.begin(LAYOUT)[0]
    file.save_state(10, {"position": np.zeros(2)})
    file.begin_again(StepChange(20, 3))
    file.save_state(5, {"position": np.ones(2), CHANGES: np.array([(20, 3)])})
    states = keeper.states(1)
    assert read_state(states, 0, 30) is None  # the first one is gone with its draws
    assert read_state(states, 0, 30, [(20, 3)])[0] == 5
