"""Connections that proved nothing yet: few per network, few in all, and not for long."""

from media.strangers import (
    STRANGER_NS,
    STRANGERS_MAX,
    STRANGERS_PER_NETWORK_MAX,
    Strangers,
)


def key(number: int) -> bytes:
    return number.to_bytes(4)


def ipv4(number: int) -> bytes:
    return b"\x0a" + number.to_bytes(3)


def test_the_oldest_of_a_network_makes_room_for_its_next() -> None:
    strangers = Strangers()
    assert strangers.add(key(0), ipv4(7), 0) is None
    for number in range(1, STRANGERS_PER_NETWORK_MAX + 1):
        assert strangers.add(key(number), ipv4(1), number) is None
    assert strangers.add(key(99), ipv4(1), 99) == key(1)
    assert key(0) in strangers
    assert len(strangers) == STRANGERS_PER_NETWORK_MAX + 1


def test_the_oldest_of_all_makes_room_when_the_house_is_full() -> None:
    strangers = Strangers()
    for number in range(STRANGERS_MAX):
        assert strangers.add(key(number), ipv4(number), number) is None
    assert strangers.add(key(9_999), ipv4(9_999), 9_999) == key(0)
    assert len(strangers) == STRANGERS_MAX


def test_who_proved_itself_counts_no_more() -> None:
    strangers = Strangers()
    for number in range(10 * STRANGERS_PER_NETWORK_MAX):
        assert strangers.add(key(number), ipv4(1), 0) is None
        strangers.remove(key(number))
        strangers.remove(key(number))
    assert len(strangers) == 0
    assert not strangers._networks


def test_an_ipv6_network_counts_as_one() -> None:
    strangers = Strangers()
    network = bytes.fromhex("20010db800000001")
    for number in range(STRANGERS_PER_NETWORK_MAX):
        strangers.add(key(number), network + number.to_bytes(8), number)
    assert strangers.add(key(999), network + bytes(8), 999) == key(0)
    assert strangers.add(key(1_000), bytes.fromhex("20010db800000002") + bytes(8), 999) is None


def test_time_is_up_after_ten_seconds() -> None:
    strangers = Strangers()
    strangers.add(key(1), ipv4(1), 0)
    strangers.add(key(2), ipv4(1), 5)
    assert strangers.overdue(STRANGER_NS - 1) == []
    assert strangers.overdue(STRANGER_NS + 4) == [key(1)]
    assert key(1) not in strangers
    assert strangers.overdue(STRANGER_NS + 5) == [key(2)]
    assert len(strangers) == 0
