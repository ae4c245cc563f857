"""What the commands share: options, the way errors come out, and how results are printed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from signaling.config import Config, load

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Configuration file (TOML).", metavar="FILE")
]
DataOption = Annotated[Path | None, typer.Option("--data", help="Data directory.", metavar="DIR")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


class CommandError(Exception):
    """A command that cannot be done as asked; one line for people, exit code 2."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def settings(config: Path | None, data: Path | None) -> Config:
    """The configuration of a command that needs the store."""
    flags: dict[str, dict[str, object]] = {"server": {"data": str(data)}} if data else {}
    return load(config, os.environ, flags)


def show(result: Mapping[str, object], as_json: bool) -> None:
    """Print a result: JSON for programs, `name: value` lines for people."""
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
        return
    width = max((len(name) for name in result), default=0)
    for name, value in result.items():
        print(f"{name.replace('_', ' '):{width}}  {value}")
