"""Fixtures of all tests: the second database, made and started once for each worker."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest

from tests import postgres

# A busy machine is slow, which is nobody's fault: no example is judged by a clock.
hypothesis.settings.register_profile("parlour", deadline=None)
hypothesis.settings.load_profile("parlour")


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    """A PostgreSQL of this test run's own."""
    if not postgres.installed():
        pytest.skip(postgres.MISSING)
    with postgres.running_cluster() as made:
        yield made


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a PostgreSQL server is slow: a check for every commit has a minute."""
    for item in items:
        chosen = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if "cluster" in getattr(item, "fixturenames", ()) or "postgresql" in chosen:
            item.add_marker(pytest.mark.slow)
