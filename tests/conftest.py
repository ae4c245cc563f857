"""Fixtures of all tests: the second database, made and started once for each worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import postgres


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    """A PostgreSQL of this test run's own."""
    if not postgres.installed():
        pytest.skip(postgres.MISSING)
    with postgres.running_cluster() as made:
        yield made
