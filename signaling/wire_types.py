"""Writes what others read of the wire: TypeScript declarations, JSON Schema, AsyncAPI.

`python -m signaling.wire_types` writes `clients/web/wire.d.ts` and `docs/asyncapi.json`; with
`--check` it only says which of them are stale and exits 1.
"""

from __future__ import annotations

import inspect
import json
import sys
import types
import typing
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from signaling import wire, wire_figures, wire_parts, wire_wallet

ROOT = Path(__file__).resolve().parent.parent
TYPES_FILE = ROOT / "clients" / "web" / "wire.d.ts"
ASYNCAPI_FILE = ROOT / "docs" / "asyncapi.json"
PROTOCOL_VERSION = "1"
MODULES = frozenset(module.__name__ for module in (wire, wire_figures, wire_parts, wire_wallet))
"""Where messages and their parts are defined."""

Json = dict[str, Any]

ALIASES: dict[str, Any] = {
    name: getattr(wire, name)
    for name in (
        "Language",
        "Feed",
        "Surcharge",
        "ComponentName",
        "Role",
        "PresenceState",
        "Phase",
        "EndReason",
        "QualityLevel",
        "Direction",
        "MediaKind",
        "Transport",
        "WalletPart",
    )
}
CLIENT_MESSAGES: tuple[type[msgspec.Struct], ...] = get_args(wire.ClientMessage)
SERVER_MESSAGES: tuple[type[msgspec.Struct], ...] = get_args(wire.ServerMessage)


# --- TypeScript ---------------------------------------------------------------------------


def typescript() -> str:
    """The declarations that the browser's JSDoc imports."""
    parts = [
        "// Generated from signaling/wire.py by `python -m signaling.wire_types`. Do not edit.",
        "",
        *(f"export type {name} = {_literal(alias)};" for name, alias in ALIASES.items()),
        "",
        *(_interface(struct) for struct in (*_shared_structs(), *CLIENT_MESSAGES)),
        _union("ClientMessage", CLIENT_MESSAGES),
        *(_interface(struct) for struct in SERVER_MESSAGES),
        _union("ServerMessage", SERVER_MESSAGES),
    ]
    return "\n".join(parts) + "\n"


def _shared_structs() -> list[type[msgspec.Struct]]:
    """Structs inside messages, in the order of the file."""
    not_inside: set[type[msgspec.Struct]] = {wire.ClientStruct, wire.ServerStruct}
    not_inside |= {*CLIENT_MESSAGES, *SERVER_MESSAGES}
    return [
        thing
        for thing in vars(wire).values()
        if isinstance(thing, type)
        and issubclass(thing, msgspec.Struct)
        and thing.__module__ in MODULES
        and thing not in not_inside
    ]


def _interface(struct: type[msgspec.Struct]) -> str:
    doc = inspect.cleandoc(struct.__doc__ or "").replace("\n", "\n * ").replace(" * \n", " *\n")
    lines = [f"/** {doc} */" if "\n" not in doc else f"/**\n * {doc}\n */"]
    lines.append(f"export interface {struct.__name__} {{")
    tag = struct.__struct_config__.tag
    if tag is not None:
        lines.append(f'  type: "{tag}";')
    hints = get_type_hints(struct)
    for field in msgspec.structs.fields(struct):
        # Messages leave defaults out; parts of messages never do. `seq` is never its default.
        absent = struct.__struct_config__.omit_defaults and not field.required
        mark = "?" if absent and field.name != "seq" else ""
        lines.append(f"  {field.name}{mark}: {_type(hints[field.name])};")
    return "\n".join([*lines, "}", ""])


def _union(name: str, members: tuple[type[msgspec.Struct], ...]) -> str:
    return "\n".join([f"export type {name} =", *(f"  | {m.__name__}" for m in members)]) + ";\n"


def _type(hint: Any) -> str:
    """A Python annotation as TypeScript."""
    for name, alias in ALIASES.items():
        if hint is alias or hint == alias:
            return name
    simple = {str: "string", int: "number", bool: "boolean", type(None): "null", float: "number"}
    if hint in simple:
        return simple[hint]
    origin, args = get_origin(hint), get_args(hint)
    if origin is typing.Literal:
        return _literal(hint)
    if origin in (types.UnionType, typing.Union):
        return " | ".join(_type(arg) for arg in args)
    if origin is list:
        return f"Array<{_type(args[0])}>"
    if origin is dict:
        return f"Record<{_type(args[0])}, {_type(args[1])}>"
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint.__name__
    raise TypeError(f"no TypeScript for {hint!r}")


def _literal(alias: Any) -> str:
    return " | ".join(json.dumps(value) for value in get_args(alias))


# --- JSON Schema and AsyncAPI -------------------------------------------------------------


def json_schema() -> Json:
    """JSON Schema of every message: `ClientMessage`, `ServerMessage` and their parts."""
    _, components = msgspec.json.schema_components(
        [wire.ClientMessage, wire.ServerMessage], ref_template="#/components/schemas/{name}"
    )
    return dict(sorted(components.items()))


def asyncapi() -> Json:
    """The WebSocket as an AsyncAPI 3 document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Parlour WebSocket",
            "version": PROTOCOL_VERSION,
            "description": "See docs/PROTOCOL.md. Sub-protocols: "
            f"{wire.SUBPROTOCOL_JSON} and {wire.SUBPROTOCOL_MSGPACK}.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "ws": {
                "address": "/ws",
                "messages": {
                    _tag(struct): {"$ref": f"#/components/messages/{_tag(struct)}"}
                    for struct in (*CLIENT_MESSAGES, *SERVER_MESSAGES)
                },
            }
        },
        "operations": {
            "fromClient": _operation("receive", CLIENT_MESSAGES),
            "fromServer": _operation("send", SERVER_MESSAGES),
        },
        "components": {
            "messages": {
                _tag(struct): {
                    "name": _tag(struct),
                    "summary": inspect.cleandoc(struct.__doc__ or ""),
                    "payload": {"$ref": f"#/components/schemas/{struct.__name__}"},
                }
                for struct in (*CLIENT_MESSAGES, *SERVER_MESSAGES)
            },
            "schemas": json_schema(),
        },
    }


def _operation(action: str, structs: tuple[type[msgspec.Struct], ...]) -> Json:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/ws"},
        "messages": [{"$ref": f"#/channels/ws/messages/{_tag(struct)}"} for struct in structs],
    }


def _tag(struct: type[msgspec.Struct]) -> str:
    return str(struct.__struct_config__.tag)


# --- files --------------------------------------------------------------------------------


def documents() -> dict[Path, str]:
    """Every generated file and what it should contain."""
    return {
        TYPES_FILE: typescript(),
        ASYNCAPI_FILE: json.dumps(asyncapi(), indent=2, ensure_ascii=False) + "\n",
    }


def stale() -> list[Path]:
    """Files that are missing or differ from the wire."""
    return [
        path
        for path, text in documents().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def main(arguments: list[str]) -> int:
    """Write the files, or check them."""
    if arguments == ["--check"]:
        for path in stale():
            print(f"stale: {path.relative_to(ROOT)}")
        return 1 if stale() else 0
    for path in stale():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(documents()[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
