"""Debian 13's package sources, derived from the package sources of the machine that builds.

No mirror is named anywhere: what this machine installs from is asked of apt (so that mirrors, snapshots,
proxies and local copies all work), its release is exchanged for Debian 13, and what does not answer for
Debian 13 is left out.
"""

from __future__ import annotations

import email.utils
import re
import subprocess
from pathlib import Path

SUITE = "trixie"
# The component of Debian's archive that has firmware which is not free software.
FIRMWARE = "non-free-firmware"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_HELPER = "/usr/lib/apt/apt-helper"
# Settings of the machine that decide whether its mirror can be used at all.
_INHERITED = re.compile(
    r'^Acquire::(Check-Valid-Until|Check-Date|Retries|ForceIPv[46]|https?::[\w:.-]*) ".+";$'
)


class SourcesError(Exception):
    """No usable source of Debian 13 packages was found."""


def candidates(mirror: str | None) -> list[tuple[str, str]]:
    """Pairs of (archive URI, suite) that may hold Debian 13, the main archive first; asks no network.

    :param mirror: an archive URI to use in place of the machine's own sources
    :raises SourcesError: the machine has no Debian source
    """
    if mirror:
        return [(mirror.rstrip("/"), SUITE), (mirror.rstrip("/"), f"{SUITE}-updates")]
    listed = subprocess.run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(REPO_URI)|$(RELEASE)|$(COMPONENT)",
            "Created-By: Packages",
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    release = (
        dict(
            line.split("=", 1)
            for line in Path("/etc/os-release").read_text("utf-8").splitlines()
            if "=" in line
        )
        .get("VERSION_CODENAME", "")
        .strip('"')
    )
    suites = {
        release: SUITE,
        f"{release}-updates": f"{SUITE}-updates",
        f"{release}-security": f"{SUITE}-security",
        SUITE: SUITE,
    }
    found = []
    for line in listed.splitlines():
        uri, suite, component = line.split("|")
        if component == "main" and suite in suites:
            pair = (uri.rstrip("/"), suites[suite])
            if pair not in found:
                found.append(pair)
    if not any(suite == SUITE for _, suite in found):
        raise SourcesError("this machine has no Debian package source; name one with MIRROR=<archive URI>")
    return sorted(found, key=lambda pair: (pair[1] != SUITE, pair[1]))


def apt_options() -> list[str]:
    """Settings of this machine's apt that the recipes' apt must have too, in apt.conf syntax."""
    dump = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout
    return [line for line in dump.splitlines() if _INHERITED.match(line)]


def probe(pairs: list[tuple[str, str]], components: list[str], scratch: Path) -> tuple[str, int]:
    """Keep the sources that answer; returns (sources.list text, newest release date in Unix seconds).

    The date becomes SOURCE_DATE_EPOCH: no file out of these packages is younger.

    :raises SourcesError: the main archive does not answer for Debian 13, or lacks one of the components
    """
    lines: list[str] = []
    newest = 0
    for uri, suite in pairs:
        release = scratch / f"InRelease.{suite}"
        answer = subprocess.run(
            [_HELPER, "download-file", f"{uri}/dists/{suite}/InRelease", str(release)],
            capture_output=True,
            text=True,
        )
        if answer.returncode != 0:
            if suite == SUITE:
                raise SourcesError(
                    f"the package source of this machine has no Debian 13 ({suite}): {answer.stderr}"
                )
            continue
        said = dict(re.findall(r"^(Date|Components): (.+)$", release.read_text("utf-8"), re.MULTILINE))
        if "Date" in said:
            newest = max(newest, int(email.utils.parsedate_to_datetime(said["Date"]).timestamp()))
        # An archive of security updates says updates/main.
        offered = {word.rpartition("/")[2] for word in said.get("Components", "main").split()}
        there = [component for component in components if component in offered]
        if suite == SUITE and there != components:
            lacking = " and no ".join(sorted(set(components) - offered))
            raise SourcesError(
                f"{uri} has no {lacking} of Debian 13, which FIRMWARE=FILE needs;"
                " name an archive that has it with MIRROR=<archive URI>, or leave FIRMWARE out"
            )
        lines.append(f"deb [signed-by={KEYRING}] {uri} {suite} {' '.join(there)}\n")
    return "".join(lines), newest
