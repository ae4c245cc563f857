"""The house rules that a machine can check."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PACKAGES = ("signaling", "rooms", "billing_meter", "media", "clients", "bench")
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60
SEAM = "media/aiortc_seam.py"
CLIENT_SEAM = "clients/_aiortc_seam.py"

MODULES = sorted(
    path
    for package in PACKAGES
    for path in (REPO / package).rglob("*.py")
    if "__pycache__" not in path.parts and "node_modules" not in path.parts
)
TESTS = sorted(path for path in (REPO / "tests").rglob("*.py") if "e2e" not in path.parts)
SLEEPS_ALLOWED = {
    "tests/billing_meter/kill_nine_victim.py": (2, "a victim that lives in real time to be killed"),
    "tests/billing_meter/test_kill_nine.py": (1, "the instant of death is the point"),
    "tests/media/callers.py": (1, "the frame rate of a camera"),
    "tests/media/test_seam.py": (1, "OpenSSL repeats a flight by its own clock"),
    "tests/signaling/test_serve.py": (1, "the event is in another process"),
    "tests/turns.py": (1, "of no length: a turn of the loop"),
}
"""How many sleeps a file may have, and why. End-to-end tests are about real time."""
SCRIPTS = sorted(
    path for path in (REPO / "clients" / "web" / "js").rglob("*.js") if "vendor" not in path.parts
)


def named(path: Path) -> str:
    return str(path.relative_to(REPO))


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_says_what_it_is_for_and_stays_short(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "the first line says the file's one purpose"
    if "migrations" not in path.parts:
        assert len(text.splitlines()) <= FILE_LINES_MAX
    long_ones = {
        node.name: length
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
        and "migrations" not in path.parts
    }
    assert not long_ones, "a function is about a screen at most"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_nothing_is_left_for_later(path: Path) -> None:
    words = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error")
    text = path.read_text()
    assert [word for word in words if re.search(rf"\b{word}\b", text)] == []


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_private_names_of_aiortc_stay_in_their_seam(path: Path) -> None:
    if named(path) in (SEAM, CLIENT_SEAM):
        return
    found = [
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and node.value.id in {"aiortc", "pylibsrtp", "RTCDtlsTransport", "RTCPeerConnection"}
    ]
    assert found == []


@pytest.mark.parametrize("path", TESTS, ids=named)
def test_tests_wait_for_events_and_do_not_sleep(path: Path) -> None:
    """A turn of the loop, in which no time passes, is `tests.turns.turn`."""
    allowed, _reason = SLEEPS_ALLOWED.get(named(path), (0, ""))
    sleeps = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "sleep"
    ]
    assert len(sleeps) == allowed, sleeps


@pytest.mark.parametrize("path", SCRIPTS, ids=named)
def test_the_page_never_parses_text_as_markup(path: Path) -> None:
    banned = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(")
    text = path.read_text()
    assert [word for word in banned if word in text] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=named)
def test_a_script_says_what_it_is_for(path: Path) -> None:
    assert path.read_text().lstrip().startswith(("//", "/*"))
