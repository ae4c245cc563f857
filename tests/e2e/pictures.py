"""Pictures of pages for people to look at, where `PARLOUR_PICTURES` names a directory for them."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.async_api import Page

from tests.e2e.axe import check
from tests.e2e.harness import Person

PICTURES = os.environ.get("PARLOUR_PICTURES")
WIDTHS_PX = (1280, 390)
"""A laptop's window and a phone's."""
HEIGHT_PX = 900


async def picture(visitor: Person, name: str, *, checked: bool = False) -> None:
    """The whole page at both widths; `checked` looks at each with axe as well, asked or not."""
    for width in WIDTHS_PX if PICTURES is not None or checked else ():
        await visitor.page.set_viewport_size({"width": width, "height": HEIGHT_PX})
        if checked:
            await check(visitor, f"{name} at {width}")
        await snapshot(visitor.page, f"{name}-{width}")
    await visitor.page.set_viewport_size({"width": WIDTHS_PX[0], "height": HEIGHT_PX})


async def snapshot(page: Page, name: str) -> None:
    """The whole page as it stands, if pictures are asked for."""
    if PICTURES is not None:
        await page.screenshot(path=str(Path(PICTURES) / f"{name}.png"), full_page=True)
