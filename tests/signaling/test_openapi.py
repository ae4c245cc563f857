"""The API's description: complete, and the copy in docs is not stale."""

from __future__ import annotations

import json
import re

from signaling import openapi
from signaling.app import ROUTES


def test_the_copy_in_docs_is_fresh() -> None:
    assert openapi.FILE.read_text(encoding="utf-8") == openapi.text(ROUTES), (
        "run: python -m signaling.openapi"
    )


def test_every_reference_exists_and_operation_ids_are_unique() -> None:
    document = openapi.description(ROUTES)
    text = json.dumps(document)
    for name in set(re.findall(r'"#/components/schemas/(\w+)"', text)):
        assert name in document["components"]["schemas"]
    operations = [o for path in document["paths"].values() for o in path.values()]
    assert len({o["operationId"] for o in operations}) == len(operations) == len(ROUTES)
    assert all(o["description"] for o in operations)


async def test_the_server_serves_it(door) -> None:
    reply = await door.client().get("/api/v1/openapi.json")
    assert await reply.json() == openapi.description(ROUTES)
