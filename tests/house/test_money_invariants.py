"""docs/MONEY.md names a test for each of its twenty invariants, and each of these tests exists."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
DOCUMENT = REPO / "docs" / "MONEY.md"
INVARIANTS = [f"I{n}" for n in range(1, 21)]
ROW = re.compile(r"^\| (I\d+) \| (.+?) \| (.+) \|$", re.MULTILINE)
NAME = re.compile(r"`([\w/]+\.py)::(\w+)`")


@functools.cache
def names_in(file: str) -> set[str]:
    """The functions of a file below tests/."""
    tree = ast.parse((REPO / "tests" / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def faults(text: str) -> list[str]:
    """What is wrong with a table of invariants."""
    rows = {found[1]: found[3] for found in ROW.finditer(text)}
    wrong = [f"{name} is missing" for name in INVARIANTS if name not in rows]
    for invariant, cell in rows.items():
        named = NAME.findall(cell)
        if not named:
            wrong.append(f"{invariant} names no test")
        for file, test in named:
            if not (REPO / "tests" / file).is_file():
                wrong.append(f"{invariant}: there is no tests/{file}")
            elif not test.startswith("test_") or test not in names_in(file):
                wrong.append(f"{invariant}: {file} has no {test}")
    return wrong


def test_every_invariant_names_tests_that_exist() -> None:
    assert faults(DOCUMENT.read_text(encoding="utf-8")) == []


def test_a_table_that_is_wrong_is_found() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    first = next(ROW.finditer(text))
    here = "`house/test_money_invariants.py::test_not_there`"
    for cell, says in (
        ("somebody looks at it", "I1 names no test"),
        ("`house/nowhere.py::test_x`", "I1: there is no tests/house/nowhere.py"),
        (here, "I1: house/test_money_invariants.py has no test_not_there"),
    ):
        assert faults(text.replace(first[0], f"| I1 | {first[2]} | {cell} |")) == [says]
    assert faults(text.replace(first[0], "")) == ["I1 is missing"]
