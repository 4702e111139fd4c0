"""A manager that ends at each point of making or removing delegates or folders of FIFOs."""

import pytest

from tests.unit.test_configmanager_backend_kills import (
    fake,
    points,
    test_a_killed_managers_work_is_finished,
    test_nobody_else_becomes_a_delegate_meanwhile,
    test_what_serves_the_fifos_runs_after_a_kill,
)

# pytest runs what it finds by name in this module.
__all__ = [
    "fake",
    "points",
    "test_a_killed_managers_work_is_finished",
    "test_nobody_else_becomes_a_delegate_meanwhile",
    "test_what_serves_the_fifos_runs_after_a_kill",
]


@pytest.fixture
def every():
    return 1
