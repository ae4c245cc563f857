"""What comes from outside has bounds that fit the columns; bytes that are no text are refused."""

from __future__ import annotations

import asyncio
import json

import msgspec
import msgspec.inspect as types
import pytest

from billing_meter import tariff
from billing_meter.limits_store import LIMIT_UNITS_MAX
from billing_meter.tariff import Component
from signaling import wire, wire_types
from signaling.app import ROUTES
from signaling.wire_parts import RATE_UNITS_PER_S_MAX, SPEND_UNITS_MAX

COLUMN_MAX = 2**63 - 1
BODIES = [route.body for route in ROUTES if isinstance(route.body, type)]


def unbounded(kind: types.Type, path: str) -> list[str]:
    """The integers inside a type that may be larger than a column takes."""
    match kind:
        case types.IntType():
            low, high = kind.ge if kind.ge is not None else kind.gt, kind.le or kind.lt
            fits = low is not None and high is not None and high <= COLUMN_MAX
            return [] if fits else [path]
        case types.StructType():
            return [
                found for f in kind.fields for found in unbounded(f.type, f"{path}.{f.encode_name}")
            ]
        case types.UnionType():
            return [found for part in kind.types for found in unbounded(part, path)]
        case types.ListType() | types.SetType() | types.VarTupleType():
            return unbounded(kind.item_type, f"{path}[]")
        case types.DictType():
            return unbounded(kind.value_type, f"{path}{{}}")
    return []


def test_every_integer_from_outside_has_bounds() -> None:
    structs = [*wire_types.CLIENT_MESSAGES, *BODIES]
    assert len(BODIES) > 10
    found = [unbounded(types.type_info(struct), struct.__name__) for struct in structs]
    assert [path for paths in found for path in paths] == []


def test_the_wires_bounds_are_not_below_those_of_the_money() -> None:
    assert SPEND_UNITS_MAX >= LIMIT_UNITS_MAX
    assert len(Component) * tariff.RATE_UNITS_PER_S_MAX <= RATE_UNITS_PER_S_MAX


@pytest.mark.parametrize("units", [SPEND_UNITS_MAX + 1, 2**63, 2**64, 10**30])
def test_a_spend_limit_that_no_column_takes_is_no_message(units: int) -> None:
    request = {"type": "private.request", "accepted_units_per_s": 299, "spend_limit_units": units}
    with pytest.raises(msgspec.DecodeError):
        wire.decode_client_json(json.dumps(request).encode())


async def raw(door, request: bytes, headers: dict[bytes, bytes], body: bytes = b"") -> bytes:
    """One request as it is; the status line and the last bytes of the answer."""
    sent = {
        b"Host": f"127.0.0.1:{door.server.port}".encode(),
        b"Origin": door.origin.encode(),
        b"Connection": b"close",
        b"Content-Length": str(len(body)).encode(),
        b"Content-Type": b"application/json",
    } | headers
    reader, writer = await asyncio.open_connection("127.0.0.1", door.server.port)
    lines = [request + b" HTTP/1.1", *(name + b": " + value for name, value in sent.items())]
    writer.write(b"\r\n".join([*lines, b"", body]))
    answer = await reader.read()
    writer.close()
    return answer.split(b"\r\n")[0][9:12] + b" " + answer[-120:]


async def test_a_key_that_is_no_text_is_refused(door) -> None:
    account = await door.member("mia")
    client = await door.signed_in("mia")
    cookies = "; ".join(f"{c.key}={c.value}" for c in client.session.cookie_jar).encode()
    order = json.dumps({"package": "credits-27", "method": "card"}).encode()
    for key in (b"\xff\xfe", b"\xed\xa0\x80", b"a\tb", b"\xc2\x85"):
        headers = {b"Cookie": cookies, b"Idempotency-Key": key}
        answer = await raw(door, b"POST /api/v1/orders", headers, order)
        assert answer.startswith(b"400 "), answer
        assert b"key_invalid" in answer
    assert await door.services.orders.list(account.account_id) == []


async def test_credentials_that_are_no_text_are_nobodys(door) -> None:
    for headers in (
        {b"Authorization": b"Bearer \xff\xfe"},
        {b"Cookie": b"parlour_session=\xff\xfe"},
        {b"Authorization": b"Bearer \xed\xa0\x80.\xff.a", b"Cookie": b"\xff=\xff"},
    ):
        answer = await raw(door, b"GET /api/v1/wallet", headers)
        assert answer.startswith(b"401 "), answer
