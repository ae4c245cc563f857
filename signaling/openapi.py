"""The HTTP API's description (OpenAPI 3.1), made from the route table and the structs.

`docs/openapi.json` is this file's output; a test fails when it is stale. Write it anew with
`python -m signaling.openapi`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from signaling.problem import CONTENT_TYPE, ProblemDocument
from signaling.routing import Access, Route

VERSION = "0.1.0"
REF = "#/components/schemas/{name}"
FILE = Path(__file__).resolve().parent.parent / "docs" / "openapi.json"
SECURITY: dict[Access, list[dict[str, list[str]]]] = {
    Access.PUBLIC: [],
    Access.ACCOUNT: [{"session": []}, {"bearer": []}],
    Access.MEMBER: [{"session": []}, {"bearer": []}],
    Access.EXPERT: [{"session": []}, {"bearer": []}],
    Access.STAFF: [{"session": []}, {"bearer": []}],
    Access.STREAM_KEY: [{"streamKey": []}],
    Access.RESOURCE: [],
    Access.PROVIDER: [],
    Access.OPERATOR: [],
}
PATH_PARAMETER = re.compile(r"\{(\w+)(?::[^}]*)?\}")


def description(routes: Iterable[Route]) -> dict[str, Any]:
    """The OpenAPI document of these routes."""
    listed = list(routes)
    structs: list[type[Struct]] = [ProblemDocument]
    for route in listed:
        for kind in (route.body, route.reply):
            if isinstance(kind, type) and kind not in structs:
                structs.append(kind)
    _, schemas = msgspec.json.schema_components(structs, ref_template=REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in listed:
        path = PATH_PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Parlour",
            "version": VERSION,
            "description": (
                "Money is integer units, 6000 to the credit; prices are units per second."
                " Every error is an RFC 9457 problem document with a stable `code`."
            ),
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "parlour_session"},
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "streamKey": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def text(routes: Iterable[Route]) -> str:
    """The document as it is kept in `docs`."""
    return json.dumps(description(routes), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "description": (route.handler.__doc__ or "").strip(),
        "operationId": _operation_id(route),
        "responses": {str(route.status): _reply(route), **_refusals(route)},
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in PATH_PARAMETER.findall(route.path)
    ]
    parameters += [
        {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}
        for name in route.headers
    ]
    parameters += [
        {"name": name, "in": "query", "required": False, "schema": {"type": "string"}}
        for name in route.query
    ]
    if parameters:
        operation["parameters"] = parameters
    if SECURITY[route.access]:
        operation["security"] = SECURITY[route.access]
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": _content(route.body)}
    return operation


def _operation_id(route: Route) -> str:
    path = PATH_PARAMETER.sub(r"by_\1", route.path).replace("/", "_").replace("-", "_")
    return route.method.lower() + path


def _reply(route: Route) -> dict[str, Any]:
    reply: dict[str, Any] = {"description": route.summary}
    if route.reply is not None and route.status < 400:
        reply["content"] = _content(route.reply)
    return reply


def _refusals(route: Route) -> dict[str, Any]:
    codes: dict[str, list[str]] = {}
    for refusal in (*route.refusals, *_refusals_of_access(route.access)):
        status, code = refusal.split()
        codes.setdefault(status, []).append(code)
    return {
        status: {
            "description": ", ".join(f"`{name}`" for name in names),
            "content": {
                CONTENT_TYPE: {"schema": {"$ref": REF.format(name=ProblemDocument.__name__)}}
            },
        }
        for status, names in codes.items()
    }


def _refusals_of_access(access: Access) -> tuple[str, ...]:
    match access:
        case Access.ACCOUNT:
            return ("401 not_signed_in",)
        case Access.MEMBER:
            return ("401 not_signed_in", "403 members_only")
        case Access.EXPERT:
            return ("401 not_signed_in", "403 experts_only")
        case Access.STAFF:
            return ("401 not_signed_in", "403 staff_only")
        case (
            Access.PUBLIC | Access.STREAM_KEY | Access.RESOURCE | Access.PROVIDER | Access.OPERATOR
        ):
            return ()


def _content(kind: type[Struct] | str) -> dict[str, Any]:
    if isinstance(kind, str):
        media_type = "application/octet-stream" if kind == "file" else kind
        return {media_type: {"schema": {"type": "string"}}}
    return {"application/json": {"schema": {"$ref": REF.format(name=kind.__name__)}}}


if __name__ == "__main__":
    from signaling.app import ROUTES

    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text(ROUTES), encoding="utf-8")
