"""What is on the node's disk, compared with the image that it came from."""

import json

import pytest

from tests.vm.conftest import MakeSite
from tests.vm.harness import limits
from tests.vm.harness.expect import assert_node_is_up

# What bootmanager's steps write, or remove, of what the image has.
WRITTEN = ("boot", "etc/", "root/.ssh", "usr/bin/configmanager", "var/")


@pytest.mark.slow
def test_the_installed_tree_is_the_image_and_a_changed_file_is_found(installed: MakeSite) -> None:
    site = installed()
    site.power_on()
    assert_node_is_up(site)
    done = site.shell.run("configmanager verify --format json", timeout=limits.NODE_UP)
    assert done.returncode == 1, done.stderr
    found = {row["path"]: row["differs"] for row in json.loads(done.stdout)}
    assert [path for path in found if not path.startswith(WRITTEN)] == []
    assert "usr/bin/tar" not in found
    site.shell.output("chmod 4755 /usr/bin/tar && echo more >> /usr/share/doc/tar/copyright")
    done = site.shell.run("configmanager verify --format json", timeout=limits.NODE_UP)
    now = {row["path"]: row["differs"] for row in json.loads(done.stdout)}
    assert now.keys() - found.keys() == {"usr/bin/tar", "usr/share/doc/tar/copyright"}
    assert now["usr/bin/tar"] == ["mode"]
