"""What scenarios get: built images, the accelerator that works here, and sites with a machine.

Logs of each test lie under .build/vm/<test>/, also when it passed.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.vm.harness.accelerator import accelerator
from tests.vm.harness.artifacts import BUILD, RUN_VARIABLE, Artifacts, artifacts, forget_run
from tests.vm.harness.installed import MainJob, installed_site
from tests.vm.harness.installed import main_job as done_main_job
from tests.vm.harness.site import Site, make_site

MakeSite = Callable[..., Site]
HERE = Path(__file__).parent
LONGEST = ["test_main_job", "test_power", "test_hardware"]


def pytest_configure() -> None:
    """Give the run a name before the workers start, who inherit it."""
    os.environ.setdefault(RUN_VARIABLE, uuid.uuid4().hex[:12])


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Throw away what was kept for this run, when all workers are done."""
    if not hasattr(session.config, "workerinput"):
        forget_run()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test here, so that `-m "not vm"` leaves them out, and sort them for two workers."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.vm)
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> tuple[int, int]:
    """Return when a test begins: those of the one installation, those without, those that wait for it."""
    fixtures = getattr(item, "fixturenames", ())
    group = 0 if "main_job" in fixtures else 2 if "installed" in fixtures else 1
    known = item.path.stem in LONGEST
    return group, LONGEST.index(item.path.stem) if known else len(LONGEST)


@pytest.fixture(scope="session")
def built() -> Artifacts:
    """The images, built now if they are not up to date."""
    return artifacts()


@pytest.fixture(scope="session")
def accel() -> str:
    """kvm or tcg."""
    return accelerator(BUILD)


@pytest.fixture(scope="session")
def main_job(built: Artifacts, accel: str) -> MainJob:
    """The one real installation of this test run, as it went."""
    return done_main_job(built, accel)


@pytest.fixture
def new_site(built: Artifacts, accel: str, request: pytest.FixtureRequest) -> Iterator[MakeSite]:
    """Make a site: server on, machine off with blank disks. All power is cut at the end of the test."""
    yield from _sites(lambda name, **how: make_site(name, built, accel, **how), request)


@pytest.fixture
def installed(built: Artifacts, accel: str, request: pytest.FixtureRequest) -> Iterator[MakeSite]:
    """Make a site whose node was installed before (once for all tests); server on, machine off."""
    yield from _sites(lambda name, **how: installed_site(name, built, accel, **how), request)


def _sites(make: MakeSite, request: pytest.FixtureRequest) -> Iterator[MakeSite]:
    name = re.sub(r"[^A-Za-z0-9_]+", "-", request.node.name.removeprefix("test_")).strip("-")
    made: list[Site] = []

    def one(**how: object) -> Site:
        made.append(make(f"{name}-{len(made) + 1}" if made else name, **how))
        return made[-1]

    yield one
    for site in made:
        site.close()
