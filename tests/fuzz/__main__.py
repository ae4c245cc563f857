"""`python -m tests.fuzz [TARGET …] --seconds N`: fuzzes targets in turn and prints what was done.

What is found goes to `tests/fuzz/corpus/TARGET/crash-…`, where the fast tests replay it from then
on. `--keep` also adds what reached new code, minimised.
"""

import argparse
import hashlib
import importlib.util
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.targets import CORPUS, TARGETS, Target, minimised

INPUT_TIMEOUT_S = 5
"""libFuzzer's bound for one input; the usual one takes a millisecond or less."""
MEMORY_MB_MAX = 2_048
MISSING = (
    "atheris is missing: it has wheels for Python 3.11 to 3.13 on x86-64 Linux only. "
    "The kept inputs are replayed without it by `pytest tests/fuzz`."
)


@dataclass(frozen=True)
class Outcome:
    """What one run did, by libFuzzer's own count."""

    target: str
    found: bool
    executions: int
    per_s: int
    coverage: int
    text: str

    def line(self) -> str:
        """For people."""
        return (
            f"{self.target:8} {'FOUND' if self.found else 'clean':6} {self.executions:>9} runs "
            f"{self.per_s:>7}/s  {self.coverage:>5} edges"
        )


def available() -> bool:
    """Whether this Python can fuzz."""
    return importlib.util.find_spec("atheris") is not None


def fuzz(target: Target, *arguments: str, keep: bool = False) -> Outcome:
    """Runs libFuzzer over the kept corpus and the seeds; new inputs are thrown away or kept."""
    with tempfile.TemporaryDirectory() as scratch:
        found, seeds = Path(scratch) / "found", Path(scratch) / "seeds"
        for folder in (found, seeds, kept := CORPUS / target.name):
            folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(target.seeds()):
            (seeds / str(number)).write_bytes(seed)
        ran = _libfuzzer(
            target,
            f"-max_len={target.bytes_max}",
            f"-timeout={INPUT_TIMEOUT_S}",
            f"-rss_limit_mb={MEMORY_MB_MAX}",
            f"-artifact_prefix={kept}/",
            "-print_final_stats=1",
            *arguments,
            *(str(folder) for folder in (found, kept, seeds)),
        )
        if keep and ran.returncode == 0:
            _keep(target, kept, [path.read_bytes() for path in found.iterdir()])
    edges = re.findall(r"cov: (\d+)", ran.stderr)
    return Outcome(
        target.name,
        ran.returncode != 0,
        _stat(ran.stderr, "number_of_executed_units"),
        _stat(ran.stderr, "average_exec_per_sec"),
        int(edges[-1]) if edges else 0,
        ran.stdout + ran.stderr,
    )


def _keep(target: Target, kept: Path, found: list[bytes]) -> None:
    """Replaces the kept inputs by the fewest that reach as much; what once crashed stays."""
    old = [path for path in target.corpus() if not path.name.startswith("crash-")]
    chosen = minimised(target, [*found, *(path.read_bytes() for path in old)])
    for path in old:
        path.unlink()
    for data in chosen:
        (kept / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)


def _libfuzzer(target: Target, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz.one", target.name, *arguments]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


def _stat(text: str, name: str) -> int:
    match = re.search(rf"stat::{name}:\s+(\d+)", text)
    return int(match[1]) if match else 0


def main() -> int:
    """Exit 1 when something was found, 2 when this Python cannot fuzz."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--keep", action="store_true", help="add what reached new code")
    chosen = parser.parse_args()
    unknown = set(chosen.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if not available():
        print(MISSING, file=sys.stderr)
        return 2
    failed = False
    for name in chosen.targets or TARGETS:
        limit = f"-max_total_time={chosen.seconds}"
        outcome = fuzz(TARGETS[name], limit, keep=chosen.keep)
        print(outcome.line(), flush=True)
        if outcome.found:
            print(outcome.text[-4_000:])
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
