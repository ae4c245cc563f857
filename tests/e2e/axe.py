"""Looks at a page as it stands for what would keep somebody out: axe, and a window too narrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.async_api import Page

from tests.e2e.harness import Person

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
WINDOW_HEIGHT = 844
TALL = 3_000


async def axe_findings(page: Page) -> list[str]:
    """Everything axe calls wrong on the page as it stands, whatever its impact."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE)  # through the debugger, which the page's security policy allows
    result: dict[str, Any] = await page.evaluate(
        "(rules) => axe.run(document, {runOnly: rules, resultTypes: ['violations']})", RULES
    )
    return [
        f"{found['id']} ({found['impact']}): {node['html'][:160]}"
        for found in result["violations"]
        for node in found["nodes"]
    ]


async def check(visitor: Person, what: str, *widths: int) -> None:
    """axe finds nothing and nothing sticks out sideways, in windows of these widths or as it is.

    The window is made tall meanwhile: what the fixed header covers while one scrolls is no fault.
    """
    page = visitor.page
    own_width = (page.viewport_size or {"width": 0})["width"]
    for width in widths or (own_width,):
        await page.set_viewport_size({"width": width, "height": TALL})
        findings = await axe_findings(page)
        await page.set_viewport_size({"width": width, "height": WINDOW_HEIGHT})
        assert findings == [], f"{what}, {width} px: " + "\n".join(findings)
        wide, window = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= window, f"{what} is {wide} px wide in a window of {window} px"
    if own_width != width:
        await page.set_viewport_size({"width": own_width, "height": WINDOW_HEIGHT})
