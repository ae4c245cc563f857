"""The wire: what it takes, what it refuses, and that the generated documents follow it."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling import wire, wire_types

READERS = [wire.decode_client_json, wire.decode_client_msgpack]


def test_the_generated_documents_are_not_stale() -> None:
    assert wire_types.stale() == [], "run: python -m signaling.wire_types"


def test_check_says_what_is_stale(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wire_types, "ROOT", tmp_path)
    monkeypatch.setattr(wire_types, "TYPES_FILE", tmp_path / "wire.d.ts")
    monkeypatch.setattr(wire_types, "ASYNCAPI_FILE", tmp_path / "docs" / "asyncapi.json")
    assert wire_types.main(["--check"]) == 1
    assert "stale: wire.d.ts" in capsys.readouterr().out
    assert wire_types.main([]) == 0
    assert wire_types.main(["--check"]) == 0


def test_every_message_is_in_the_documents() -> None:
    types, document = wire_types.typescript(), wire_types.asyncapi()
    for struct in (*wire_types.CLIENT_MESSAGES, *wire_types.SERVER_MESSAGES):
        assert f"export interface {struct.__name__} {{" in types
        assert struct.__name__ in document["components"]["schemas"]
        assert struct.__struct_config__.tag in document["channels"]["ws"]["messages"]


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = wire_types.asyncapi()
    text = json.dumps(document)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "')[1:]}:
        place = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nul",
        b"[]",
        b"{}",
        b'{"type":"no.such"}',
        b'{"type":"room.enter"}',
        b'{"type":"room.enter","expert":""}',
        b'{"type":"room.enter","expert":"' + b"x" * 33 + b'"}',
        b'{"type":"room.enter","expert":"luna","admin":true}',
        b'{"type":"room.enter","expert":"luna","id":0}',
        b'{"type":"room.enter","expert":"luna","id":2147483648}',
        b'{"type":"chat.send","text":"x","role":"expert"}',
        b'{"type":"chat.send","text":"' + b"x" * 4001 + b'"}',
        b'{"type":"private.request","accepted_units_per_s":-1}',
        b'{"type":"private.request","accepted_units_per_s":299,"spend_limit_units":0}',
        b'{"type":"private.switch","component":"private","on":true}',
        b'{"type":"media.publish","feed":"both","sdp":"v=0"}',
        b'{"type":"media.publish","feed":"stream","sdp":"' + b"x" * (32 * 1024 + 1) + b'"}',
        b'{"type":"room.leave"} trailing',
        b"\xff\xfe",
    ],
)
def test_what_is_not_in_the_document_is_refused(text: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        wire.decode_client_json(text)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_message_or_the_documented_error(data: bytes) -> None:
    for read in READERS:
        try:
            read(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue


@pytest.mark.parametrize(
    "data",
    [
        b"\xdd\xff\xff\xff\xff",  # an array of four milliards
        b"\xdf\xff\xff\xff\xff",  # a map as large
        b"\xdb\xff\xff\xff\xffx",  # a string of 4 GiB
        b"\xc9\xff\xff\xff\xff\x01",  # an extension type
        b"\x81\xa4type" + b"\x91" * 60_000,
    ],
)
def test_msgpack_bombs_are_refused(data: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, RecursionError)):
        wire.decode_client_msgpack(data)


def test_deep_json_is_refused() -> None:
    with pytest.raises((msgspec.DecodeError, RecursionError)):
        wire.decode_client_json(b'{"type":"room.leave","x":' + b"[" * 60_000)


def test_both_encodings_carry_the_same() -> None:
    message = wire.PrivateLowBalance(seq=3, session="s", seconds_left=60, cause="limit_day")
    assert wire.decode_server_json(wire.encode_json(message)) == message
    packed = wire.encode_msgpack(message)
    assert msgspec.msgpack.decode(packed, type=wire.PrivateLowBalance) == message
