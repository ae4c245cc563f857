"""The heap of deadlines."""

from hypothesis import given
from hypothesis import strategies as st

from rooms.deadlines import Deadlines, Due, Key

A, B = Key(Due.SESSION, "a"), Key(Due.SESSION, "b")


def test_due_ones_come_earliest_first_and_once() -> None:
    deadlines = Deadlines()
    deadlines.set(A, 20)
    deadlines.set(B, 10)
    assert deadlines.next_ns == 10
    assert deadlines.pop_due(9) is None
    assert [deadlines.pop_due(20) for _ in range(3)] == [B, A, None]
    assert deadlines.next_ns is None


def test_moving_and_cancelling() -> None:
    deadlines = Deadlines()
    deadlines.set(A, 10)
    deadlines.set(A, 30)
    deadlines.set(B, 20)
    deadlines.cancel(B)
    deadlines.cancel(B)
    assert deadlines.next_ns == 30
    assert deadlines.pop_due(29) is None
    assert deadlines.pop_due(30) == A


def test_a_put_off_wish_keeps_its_first_instant() -> None:
    deadlines = Deadlines()
    deadlines.set_unless_set(A, 10)
    deadlines.set_unless_set(A, 99)
    assert deadlines.next_ns == 10


@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 50)), max_size=40))
def test_it_is_a_dictionary_sorted_by_time(steps: list[tuple[str, int | None]]) -> None:
    deadlines, model = Deadlines(), {}
    for name, at_ns in steps:
        key = Key(Due.PLACE, name)
        if at_ns is None:
            deadlines.cancel(key)
            model.pop(key, None)
        else:
            deadlines.set(key, at_ns)
            model[key] = at_ns
        assert deadlines.next_ns == min(model.values(), default=None)
    popped = []
    while (key := deadlines.pop_due(1_000)) is not None:
        popped.append(key)
    assert sorted(popped) == sorted(model)
    assert [model[k] for k in popped] == sorted(model.values())
