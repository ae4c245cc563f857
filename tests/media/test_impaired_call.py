"""Video over lossy networks, both ways, deterministic: what share of the frames can be decoded."""

from collections.abc import Iterator

import pytest

from bench.impaired_link import CLEAN, Impairment
from tests.media.farends import SECOND_NS, World
from tests.media.impaired_call import Call

FRAMES_MIN_PERCENT = 99.0
LATE_MS_MAX = 800
"""A player that smooths over the worst per cent of repairs would show pictures this late."""
PER_S = 30


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def told(call: Call, first: int, last: int) -> float:
    share = call.decoded_percent(first, last)
    decoder, encoder = call.decoder, call.encoder
    print(
        f"seed {call.seed}: {share:.2f} % of {last - first + 1} frames,"
        f" {encoder.keyframes} keyframes, {encoder.repairs} repairs from the publisher,"
        f" {decoder.repaired} to the viewer, {decoder.plis} asked for by the viewer,"
        f" delay p50 {call.delay_ms(50)} ms, p99 {call.delay_ms(99)} ms"
    )
    return share


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    "network",
    [
        Impairment(loss_percent=5, delay_ms=20),
        Impairment(loss_percent=5, delay_ms=40, jitter_ms=20, reorder_percent=1),
        Impairment(loss_percent=5, delay_ms=100, duplicate_percent=1),
    ],
    ids=["near", "jittery", "far"],
)
def test_five_percent_loss_everywhere_leaves_99_percent_of_the_frames(
    world: World, network: Impairment, seed: int
) -> None:
    call = Call(world, seed, first_sequence=65_000, out_sequence=64_000)
    call.run(1)
    call.impair(network, network)
    call.run(20)
    last = call.encoder.frames
    call.impair(CLEAN, CLEAN)
    call.run(1)
    assert told(call, PER_S, last) >= FRAMES_MIN_PERCENT
    assert call.delay_ms(99) <= LATE_MS_MAX


@pytest.mark.parametrize("seed", [4, 5])
def test_after_twenty_percent_loss_the_picture_is_back_within_two_seconds(
    world: World, seed: int
) -> None:
    call = Call(world, seed)
    call.run(1)
    heavy = Impairment(loss_percent=20, delay_ms=30)
    call.impair(heavy, heavy)
    call.run(10)
    call.impair(CLEAN, CLEAN)
    ended_ns, first = call.wires.now_ns, call.encoder.frames + 1
    call.run(4)
    told(call, 1, first - 1)
    back = [frame for frame in call.decoder.decoded if frame >= first]
    assert call.decoder.decoded[back[0]] - ended_ns < 2 * SECOND_NS
    two_s = first + 2 * PER_S
    assert told(call, two_s, call.encoder.frames - 3) == 100


def test_a_clean_network_needs_no_repairs(world: World) -> None:
    call = Call(world, 6)
    call.impair(Impairment(delay_ms=30), Impairment(delay_ms=30))
    call.run(5)
    assert told(call, 1, call.encoder.frames - 3) == 100
    assert call.encoder.repairs == call.decoder.repaired == call.decoder.plis == 0
    assert call.encoder.keyframes <= 2
    assert call.delay_ms(100) <= 61
