"""One fuzzing process: instruments what is fuzzed, then hands the target to libFuzzer."""

import sys

import atheris

with atheris.instrument_imports(include=["media", "billing_meter"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """`python -m tests.fuzz.one TARGET` and libFuzzer's own arguments."""
    target = TARGETS[sys.argv[1]]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
