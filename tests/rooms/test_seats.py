"""Seats of people who watched a moment ago."""

from rooms.limits import SEAT_KEPT_NS
from rooms.roles import VisitorKind
from rooms.seats import Seats

MIA = (VisitorKind.MEMBER, "mia")
BEN = (VisitorKind.MEMBER, "ben")
EVE = (VisitorKind.GUEST, "mia")


def test_a_seat_is_kept_for_a_while_for_this_person_alone() -> None:
    seats = Seats()
    seats.keep(MIA, 0)
    assert seats.has(MIA, SEAT_KEPT_NS - 1)
    assert not seats.has(EVE, 0)
    assert not seats.has(MIA, SEAT_KEPT_NS)


def test_a_seat_is_worth_one_viewer() -> None:
    seats = Seats()
    seats.keep(MIA, 0)
    seats.take(MIA)
    seats.take(BEN)
    assert not seats.has(MIA, 0)


def test_what_is_remembered_is_bounded_in_time_and_number() -> None:
    seats = Seats(seats_max=2)
    for number, person in enumerate((MIA, BEN, EVE)):
        seats.keep(person, number)
    assert len(seats) == 2
    assert not seats.has(MIA, 3)
    seats.keep(BEN, 5)  # given up again: the newest now
    seats.keep(MIA, 6)
    assert not seats.has(EVE, 6)
    assert seats.has(BEN, 6)
    seats.keep(EVE, 6 + SEAT_KEPT_NS)
    assert len(seats) == 1
