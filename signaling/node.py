"""The name under which this process owns its sessions in the store: its own, and kept."""

from __future__ import annotations

import re
import secrets

from signaling.config import Config, ConfigError
from signaling.tokens import kept_text

NODE_FILE = "node"
NODE_BYTES = 8
"""Random enough that two data directories never share a name."""
_NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def node_of(config: Config) -> str:
    """The configured name, or one made at the first start and kept in the data directory.

    Kept, so that a process that starts again after a crash settles its own sessions at once. Only
    one server runs on a data directory, so nobody else has it. ConfigError when the file is
    something else.
    """
    if config.store.node:
        return config.store.node
    file = config.data_dir / NODE_FILE
    try:
        name = kept_text(file, lambda: f"node-{secrets.token_hex(NODE_BYTES)}")
    except UnicodeDecodeError:
        name = ""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{file} holds no name of a node: remove it")
    return name
