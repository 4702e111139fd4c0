"""A manager that ends at each point of a sliver's making, changing or removal; tests/unit has some points."""

import os

import pytest

from tests.unit.test_configmanager_sliver_kills import (
    fake,
    points,
    test_a_folder_that_vanished_leaves_no_image_behind,
    test_changing,
    test_handing_over_to_another_slice_of_the_name,
    test_making,
    test_making_anew_never_lays_what_was_written_over_another_image,
    test_removing,
)
from tests.unit.test_configmanager_sliver_passes import (
    kernel,
    test_a_number_is_free_only_when_nothing_goes_by_it,
    test_one_that_was_never_whole_leaves_nothing,
)

# pytest runs what it finds by name in this module.
__all__ = [
    "fake",
    "kernel",
    "points",
    "test_a_folder_that_vanished_leaves_no_image_behind",
    "test_a_number_is_free_only_when_nothing_goes_by_it",
    "test_changing",
    "test_handing_over_to_another_slice_of_the_name",
    "test_making",
    "test_making_anew_never_lays_what_was_written_over_another_image",
    "test_one_that_was_never_whole_leaves_nothing",
    "test_removing",
]


@pytest.fixture
def every():
    return 1


@pytest.fixture(autouse=True)
def nothing_is_synced(monkeypatch):
    # Nobody cuts the power here: what ends is the manager.
    monkeypatch.setattr(os, "fsync", lambda handle: None)
