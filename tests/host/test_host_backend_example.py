"""The example of a backend in the docs, installed by pip as a distribution of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.host.server_process import ROOT

LOOK = """
import json
from host.events import Events
from host.run import Runner
from configmanager import plugins
from configmanager.backends.base import Node
backends = plugins.load(Node(Runner(), Events("test"), lambda *_: None))
print(json.dumps({backend.name: type(backend).__module__ for backend in backends}))
"""


def test_it_is_installed_and_found_by_its_entry_point(tmp_path):
    # pip builds in the folder that it is given.
    shutil.copytree(ROOT / "docs/examples/motd", tmp_path / "source")
    site = tmp_path / "site"
    words = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", site]
    subprocess.run([sys.executable, "-m", "pip", *words, tmp_path / "source"], check=True, cwd=tmp_path)
    environment = {**os.environ, "PYTHONPATH": f"{site}:{os.environ.get('PYTHONPATH') or ROOT}"}
    line = [sys.executable, "-c", LOOK]
    said = subprocess.run(line, check=True, cwd=ROOT, env=environment, capture_output=True, text=True).stdout
    found = json.loads(said)
    assert found["motd"] == "motd_backend"
    assert list(found).index("slivers") < list(found).index("motd")
    assert not Path("/etc/motd.d/slivers").exists()
