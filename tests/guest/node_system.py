"""What bootmanager lays over the base filesystem of a node, laid over the guest's: units and programs."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = Path("/usr/lib/python3/dist-packages")
# By the programs of a node that tests run.
USED = ("wire", "host", "images", "configmanager")
_SCRIPT = "#!/usr/bin/python3\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"


def lay_over() -> None:
    """Make this system what an installed node is, for units and accounts that call its programs."""
    run("cp", "--archive", "--no-preserve=ownership", f"{ROOT}/build/project/node/.", "/")
    Path("/usr/lib/systemd/system/multi-user.target.wants/configmanager.service").unlink()
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    packages = [line for line in setup["options"]["packages"].split() if line.isalpha()]
    for package in packages:
        shutil.copytree(ROOT / package, PACKAGES / package, dirs_exist_ok=True)
    # As a node has it; who comes by ssh could not keep what Python compiles.
    compiled = [str(PACKAGES / package) for package in packages if package in USED]
    run("env", "--unset=PYTHONPYCACHEPREFIX", "python3", "-m", "compileall", "-q", *compiled)
    scripts = setup["options.entry_points"]["console_scripts"]
    for line in scripts.strip().splitlines():
        name, _, place = line.replace(" ", "").partition("=")
        module, _, function = place.partition(":")
        script = Path("/usr/bin") / name
        script.write_text(_SCRIPT.format(module=module, function=function))
        script.chmod(0o755)
    run("systemctl", "daemon-reload")
    run("sysctl", "--quiet", "--load=/usr/lib/sysctl.d/50-slivers.conf")
    run("systemd-tmpfiles", "--create", "node-api.conf", "vsys.conf")
    run("systemctl", "reload", "ssh.service")
    run("systemctl", "start", "sliver-shell.socket")


def run(*words: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command of the guest's; what it says is text."""
    return subprocess.run(words, check=ok, capture_output=True, text=True, timeout=300)
