"""The command line with its imports done: waits for a line, then is `parlour` with its arguments.

Four fifths of a server's start are imports. A test that starts hundreds has the next one warm.
"""

import sys

import uvloop  # noqa: F401

from signaling import app, demo  # noqa: F401
from signaling.cli import cli

sys.stdin.readline()
cli(sys.argv[1:])
