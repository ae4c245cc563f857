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
    "tests/billing_meter/kill_nine_victim.py": (1, "a victim that lives in real time to be killed"),
    "tests/billing_meter/test_kill_nine.py": (1, "the instant of death is the point"),
    "tests/media/test_seam.py": (1, "OpenSSL repeats a flight by its own clock"),
    "tests/turns.py": (1, "of no length: a turn of the loop"),
}
"""How many sleeps a file may have, and why. End-to-end tests are about real time."""
SCRIPTS = sorted(
    path for path in (REPO / "clients" / "web" / "js").rglob("*.js") if "vendor" not in path.parts
)


def named(path: Path) -> str:
    return str(path.relative_to(REPO))


@pytest.fixture(scope="module")
def trees() -> dict[Path, ast.Module]:
    """Every module, parsed once for all rules."""
    return {path: ast.parse(path.read_text()) for path in MODULES}


def test_a_module_says_what_it_is_for(trees: dict[Path, ast.Module]) -> None:
    silent = [named(path) for path, tree in trees.items() if not ast.get_docstring(tree)]
    assert silent == [], "the first line says the file's one purpose"


def test_modules_and_functions_are_short(trees: dict[Path, ast.Module]) -> None:
    """A function is about a screen at most."""
    long_ones = {
        f"{named(path)} {getattr(node, 'name', '')}": length
        for path, tree in trees.items()
        if "migrations" not in path.parts
        for node in ast.walk(tree)
        if (length := _length(path, node)) > _lines_max(node)
    }
    assert long_ones == {}


def _length(path: Path, node: ast.AST) -> int:
    match node:
        case ast.Module():
            return len(path.read_text().splitlines())
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return (node.end_lineno or node.lineno) - node.lineno + 1
    return 0


def _lines_max(node: ast.AST) -> int:
    return FILE_LINES_MAX if isinstance(node, ast.Module) else FUNCTION_LINES_MAX


def test_nothing_is_left_for_later() -> None:
    words = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error")
    promise = re.compile(rf"\b(?:{'|'.join(words)})\b")
    left = {named(path): found for path in MODULES if (found := promise.findall(path.read_text()))}
    assert left == {}


def test_private_names_of_aiortc_stay_in_their_seam(trees: dict[Path, ast.Module]) -> None:
    found = [
        f"{named(path)} {node.value.id}.{node.attr}"
        for path, tree in trees.items()
        if named(path) not in (SEAM, CLIENT_SEAM)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and node.value.id in {"aiortc", "pylibsrtp", "RTCDtlsTransport", "RTCPeerConnection"}
    ]
    assert found == []


def test_tests_wait_for_events_and_do_not_sleep() -> None:
    """A turn of the loop, in which no time passes, is `tests.turns.turn`."""
    sleeps = {
        named(path): count
        for path in TESTS
        if "sleep" in (text := path.read_text())
        and (
            count := sum(
                isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "sleep"
                for node in ast.walk(ast.parse(text))
            )
        )
    }
    assert sleeps == {name: allowed for name, (allowed, _reason) in SLEEPS_ALLOWED.items()}


def test_races_of_money_have_the_threads_of_the_product() -> None:
    """Without the marker SQLite answers at once, and what runs together would run in turn."""
    together = re.compile(r"\b(?:gather|create_task|TaskGroup|to_thread)\(")
    unmarked = [
        f"{named(path)}::{test.name}"
        for path in TESTS
        if path.parent.name == "billing_meter" and together.search(text := path.read_text())
        if not re.search(r"^pytestmark = .*mark\.threads", text, re.MULTILINE)
        for test in ast.parse(text).body
        if isinstance(test, ast.AsyncFunctionDef) and test.name.startswith("test_")
        if together.search(ast.unparse(test))
        and not any("mark.threads" in ast.unparse(mark) for mark in test.decorator_list)
    ]
    assert unmarked == []


def test_the_page_never_parses_text_as_markup() -> None:
    banned = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(")
    found = {
        named(path): words
        for path in SCRIPTS
        if (words := [word for word in banned if word in path.read_text()])
    }
    assert found == {}


def test_a_script_says_what_it_is_for() -> None:
    silent = [named(path) for path in SCRIPTS if not path.read_text().startswith(("//", "/*"))]
    assert silent == []
