"""Kill it anywhere: a chain of both papers, killed by SIGKILL at random moments and started again, ends the same.

`make chaos` kills it 200 times: pytest tests/hard/test_chaos.py --kills 200.
"""

from collections import Counter

import numpy as np
import pytest

from tests.hard.chaos import differences, results, run_and_kill, run_undisturbed, write_data

DEFAULT_KILLS = 25
KILLS_A_RUN = 8


@pytest.mark.slow
def test_a_killed_chain_ends_like_an_undisturbed_one(tmp_path, request):
    kills = request.config.getoption("--kills", None) or DEFAULT_KILLS
    rng = np.random.default_rng(request.config.getoption("--first-seed", 0))
    options = write_data(tmp_path)
    seconds = run_undisturbed(options, tmp_path / "undisturbed")
    print(f"undisturbed: {seconds:.0f} s")
    assert len(results(tmp_path / "undisturbed")) > 50
    done, run = [], 0
    while len(done) < kills:
        run += 1
        killed = run_and_kill(options, tmp_path / f"run{run}", seconds, min(KILLS_A_RUN, kills - len(done)), rng)
        done += killed
        print(f"run {run}: killed {len(killed)} times")
        assert not (found := differences(tmp_path / f"run{run}", tmp_path / "undisturbed")), f"{found} after {killed}"
    print(f"{len(done)} kills in {run} runs: {dict(Counter(kill.stage for kill in done))}")
