"""Lakes and pages that the tests of the dashboard share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from health_lake import HealthLake, build
from page_server import Served, noon, serving


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> HealthLake:
    """A lake in which everything is well; tests of a module share it and leave it as it is."""
    return build(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def page(made: HealthLake) -> Iterator[Served]:
    """Its page, at noon of its day."""
    with serving(made.settings, clock=noon) as served:
        yield served
