"""Replays every kept input against its target, without atheris, and bounds what it may cost."""

import pytest

from tests.fuzz.targets import TARGETS, Target, lines_run

each_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


def inputs(target: Target) -> list[bytes]:
    return [b"", *target.seeds(), *(path.read_bytes() for path in target.corpus())]


@each_target
def test_what_was_kept_breaks_no_property(target: Target) -> None:
    for data in inputs(target):
        target.check(data)


@each_target
def test_work_grows_no_faster_than_the_input(target: Target) -> None:
    """Also for the input again and again up to the largest size: what repeats must not square."""
    for data in sorted(inputs(target), key=len)[-8:]:
        repeated = (data * (target.bytes_max // max(len(data), 1)))[: target.bytes_max]
        for form in (data, repeated):
            allowed = target.lines_base + target.lines_per_byte * len(form)
            assert lines_run(target.check, form).total() <= allowed
