"""Reads transport-wide feedback, by the draft and apart from our writer."""

import struct


def read(body: bytes) -> tuple[int, int, list[int | None]]:
    """(base, count, ticks or None for each packet) of one feedback packet, by the draft's §3.1."""
    base, count = struct.unpack_from("!HH", body)
    ticks = int.from_bytes(body[4:7], "big") * 256
    position, statuses = 8, []
    while len(statuses) < count:
        chunk = int.from_bytes(body[position : position + 2], "big")
        position += 2
        if not chunk & 0x8000:
            run = chunk & 0x1FFF
            assert run
            statuses += [chunk >> 13] * run
        elif chunk & 0x4000:
            statuses += [chunk >> shift & 3 for shift in range(12, -1, -2)]
        else:
            statuses += [chunk >> shift & 1 for shift in range(13, -1, -1)]
    assert not any(statuses[count:])
    arrivals: list[int | None] = []
    for status in statuses[:count]:
        if status == 0:
            arrivals.append(None)
            continue
        size = {1: 1, 2: 2}[status]
        ticks += int.from_bytes(body[position : position + size], "big", signed=size == 2)
        position += size
        arrivals.append(ticks)
    assert position == len(body)
    return base, count, arrivals
