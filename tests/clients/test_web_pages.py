"""The pages' scripts under Node, the vendored files' hashes, and rules that keep the CSP strict."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
WEB = REPO / "clients" / "web"
NODE_TESTS = sorted((Path(__file__).parent / "pages").glob("*.test.mjs"))


def test_scripts_pass_their_node_tests() -> None:
    node = shutil.which("node")
    assert node is not None, "Node.js is needed: apt-get install nodejs"
    assert NODE_TESTS
    done = subprocess.run(
        [node, "--test", *map(str, NODE_TESTS)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_vendored_files_are_those_named_in_the_readme() -> None:
    readme = (WEB / "vendor" / "README.md").read_text()
    named = dict(re.findall(r"^\| `([\w.-]+)` .*`([0-9a-f]{64})`", readme, re.MULTILINE))
    assert set(named) == {
        "preact.mjs",
        "hooks.mjs",
        "htm.mjs",
        "inter-latin-wght-normal.woff2",
    }
    for name, digest in named.items():
        assert hashlib.sha256((WEB / "vendor" / name).read_bytes()).hexdigest() == digest, name


def scripts() -> list[Path]:
    """Our own scripts, not the vendored ones."""
    return sorted((WEB / "js").rglob("*.js"))


@pytest.mark.parametrize("script", scripts(), ids=lambda path: str(path.relative_to(WEB)))
def test_scripts_keep_to_relative_imports_and_never_write_markup(script: Path) -> None:
    text = script.read_text()
    for specifier in re.findall(r"""(?:from|import)\s*\(?\s*["']([^"']+)["']""", text):
        assert specifier.startswith("."), f"{specifier} needs an import map"
        if "import(" not in specifier:
            assert (script.parent / specifier).resolve().suffix in {".js", ".mjs", ".ts"}
    # The content security policy forbids what these would need, or they are ways around it.
    assert not re.search(r"\b(innerHTML|outerHTML|insertAdjacentHTML|dangerouslySet\w+)\b", text)
    assert not re.search(r"\beval\(|new Function\(|https?://(?!www\.w3\.org)", text)


def test_every_colour_of_the_pages_is_a_token() -> None:
    for sheet in ("base", "frame", "home", "account", "wallet", "help", "staff", "earnings"):
        text = (WEB / "css" / f"{sheet}.css").read_text()
        bare = [c for c in re.findall(r"#[0-9a-f]{3,8}\b", text) if c not in {"#fff", "#000"}]
        assert bare == [], sheet


def test_style_sheets_exist_that_are_imported() -> None:
    for name in re.findall(r'@import "\./([^"]+)"', (WEB / "css" / "app.css").read_text()):
        assert (WEB / "css" / name).is_file(), name
