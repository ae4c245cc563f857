"""A short run of each target under libFuzzer: a fixed number of inputs, a fixed seed."""

import pytest

from tests.fuzz.__main__ import MISSING, available, fuzz
from tests.fuzz.targets import TARGETS, Target

RUNS = {
    "stun": 20_000,
    "rtp": 20_000,
    "rtcp": 10_000,
    "payload": 20_000,
    "sdp": 2_000,
    "sdpfrag": 5_000,
    "framing": 10_000,
    "twcc": 5_000,
    "marks": 5_000,
    "stripe": 5_000,
    "typed": 5_000,
    "forward": 200,  # each is a whole scene with eight SRTP sessions
}


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_nothing_is_found_in_a_few_seconds(target: Target) -> None:
    if not available():
        pytest.fail(MISSING)
    outcome = fuzz(target, f"-runs={RUNS[target.name]}", "-seed=1")
    print(outcome.line())
    assert not outcome.found, outcome.text[-4_000:]
    assert outcome.executions >= RUNS[target.name]
    assert outcome.coverage > 0, "nothing of what it fuzzes is instrumented: it searches blindly"
