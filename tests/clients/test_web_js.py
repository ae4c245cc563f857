"""The room's and studio's scripts under Node, and every script of the client under TypeScript."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
TOOLING = REPO / "clients" / "web-tooling"
NODE_TESTS = sorted(Path(__file__).parent.glob("*.test.mjs"))
NODE_WAIT_S = 50
INSTALL_WAIT_S = 240


def program(name: str, package: str) -> str:
    """Where a program is; a missing one fails the test and names what to install."""
    found = shutil.which(name)
    assert found is not None, f"{name} is needed: apt-get install {package}"
    return found


def run(*command: str, cwd: Path = REPO, timeout_s: float = NODE_WAIT_S) -> None:
    """Run to success, or show all that was said."""
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_scripts_pass_their_node_tests() -> None:
    assert len(NODE_TESTS) >= 6
    run(program("node", "nodejs"), "--test", *map(str, NODE_TESTS))


def test_tooling_is_pinned_without_addresses() -> None:
    manifest = json.loads((TOOLING / "package.json").read_text())
    lock = json.loads((TOOLING / "package-lock.json").read_text())
    for version in manifest["devDependencies"].values():
        assert version[0].isdigit(), "an exact version"
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    for name, entry in packages.items():
        assert "resolved" not in entry, name
        assert entry["integrity"].startswith("sha512-"), name


def installed_tsc() -> Path:
    """The pinned compiler, installed beside its manifest when it is not there yet.

    Under a lock: tests of other processes want it at the same time, and must not start a compiler
    that is still being written (ETXTBSY).
    """
    there = TOOLING / "node_modules" / "typescript" / "package.json"
    with (TOOLING / "package.json").open() as manifest:
        fcntl.flock(manifest, fcntl.LOCK_EX)
        wanted = json.load(manifest)["devDependencies"]["typescript"]
        if not there.is_file() or json.loads(there.read_text())["version"] != wanted:
            command = (program("npm", "npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund")
            run(*command, cwd=TOOLING, timeout_s=INSTALL_WAIT_S)
    return TOOLING / "node_modules" / "typescript" / "bin" / "tsc"


@pytest.mark.slow
@pytest.mark.timeout(INSTALL_WAIT_S + 60)
@pytest.mark.parametrize("project", ["tsconfig.core.json", "tsconfig.json"])
def test_types_hold(project: str) -> None:
    run(program("node", "nodejs"), str(installed_tsc()), "-p", str(TOOLING / project))


@pytest.mark.slow
@pytest.mark.timeout(INSTALL_WAIT_S + 60)
def test_the_reducer_must_know_every_server_message(tmp_path: Path) -> None:
    """A message more on the wire, and the checker refuses the reducer that does not know it."""
    tsc = installed_tsc()
    web = tmp_path / "web"
    shutil.copytree(REPO / "clients" / "web", web)
    declared = web / "wire.d.ts"
    union = "export type ServerMessage ="
    extra = 'export interface Surprise {\n  type: "surprise";\n  seq?: number;\n}\n'
    text = declared.read_text()
    head, found, members = text.partition(union)
    assert found
    one_more = f"{extra}{union} Surprise | {members.lstrip().removeprefix('|')}"
    declared.write_text(head + one_more)
    tooling = tmp_path / "web-tooling"
    shutil.copytree(TOOLING, tooling, ignore=shutil.ignore_patterns("node_modules"))
    done = subprocess.run(
        [program("node", "nodejs"), str(tsc), "-p", "tsconfig.core.json"],
        cwd=tooling,
        capture_output=True,
        text=True,
        timeout=NODE_WAIT_S,
        check=False,
        env=os.environ | {"NO_COLOR": "1"},
    )
    assert done.returncode != 0
    assert "state.js" in done.stdout
