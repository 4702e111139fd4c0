"""A node with a kernel that remembers what it was told: nft's table, tc's classes, quotas of projects."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from configmanager.backends import quota
from configmanager.backends.network_classes import HANDLE
from configmanager.backends.network_kernel import FORWARDING
from host.mounts import Mount
from host.run import Completed
from tests.unit.configmanager_fakes import FakeRunner

_ADDRESSES = re.compile(r"add element inet slivers addresses \{ (.*) \}")
_ELEMENTS = re.compile(r"add element inet slivers (\S+) \{ (.*) \}")
_COUNTERS = re.compile(r"add counter inet slivers (\S+)")
_REPORT = "Project,BlockUsed,BlockHardLimit,FileUsed,FileHardLimit\n"


class FakeKernel(FakeRunner):
    """`table` is nft's last transaction, "" when that removed it; `classes` of each link are by handle.

    `projects` of folders go by their inodes, `rooms` by projects.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.root = root
        self.table = ""
        self.links = ["up0"]
        self.classes: dict[str, dict[str, str]] = {}
        self.queues: dict[str, set[str]] = {}
        self.projects: dict[int, int] = {}
        self.rooms: dict[int, tuple[int, int]] = {}
        (root / FORWARDING).parent.mkdir(parents=True)
        (root / FORWARDING).write_text("0\n")

    @property
    def forwards(self) -> bool:
        """Whether it passes packets on."""
        return (self.root / FORWARDING).read_text() == "1\n"

    def __call__(self, argv: Sequence[Any], *, input: bytes | None = None, **more: Any) -> Completed:
        words = [str(word) for word in argv]
        known = getattr(self, f"_kernels_{words[0]}", lambda *_: None)
        stdout = known(words, (input or b"").decode())
        if stdout is None:
            return super().__call__(argv, **more)
        self.argvs.append(words)
        return Completed(tuple(words), 0, stdout, "", 0.0)

    def keep_quotas(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have the slivers' volume mounted with quotas."""
        mount = Mount("/dev/volume", self.root / "var/lib/slivers", "ext4", (quota.OPTION,))
        monkeypatch.setattr(quota, "mount_table", lambda: (mount,))
        monkeypatch.setattr(quota, "project_of", lambda path: self.projects.get(os.stat(path).st_ino, 0))  # noqa: PTH116

    def _kernels_nft(self, words: list[str], text: str) -> str:
        if text:
            self.table = text if "chain" in text else ""
        if words[-1] == "addresses":
            return "".join(_ADDRESSES.findall(self.table))
        return _as_listed(self.table) if words[-2:] == ["inet", "slivers"] else ""

    def _kernels_ip(self, *_: object) -> str:
        return json.dumps([{"dev": link} for link in self.links])

    def _kernels_tc(self, words: list[str], text: str) -> str:
        for line in text.splitlines():
            said = line.split()
            if said[0] == "qdisc" and "root" in said:
                self.classes[said[3]], self.queues[said[3]] = {}, set()
            elif said[0] == "qdisc":
                assert said[5] not in self.queues[said[3]], "Invalid argument: flows of a queue that is there"
                self.queues[said[3]].add(said[5])
            elif said[:2] == ["class", "replace"]:
                self.classes[said[3]][said[7]] = f"class htb {said[7]} {' '.join(said[9:])}"
            elif said[:2] == ["class", "delete"]:
                del self.classes[said[3]][said[5]]
                self.queues[said[3]].discard(said[5])
        if words[1:3] == ["qdisc", "delete"]:
            self.classes.pop(words[4], None)
        if words[1:] == ["qdisc", "show"]:
            trees = "".join(f"qdisc htb {HANDLE} dev {link} root\n" for link in self.classes)
            queues = [(link, leaf) for link in self.classes for leaf in sorted(self.queues[link])]
            return trees + "".join(f"qdisc fq_codel 1: dev {link} parent {leaf}\n" for link, leaf in queues)
        return "".join(f"{line}\n" for line in self.classes.get(words[-1], {}).values())

    def _kernels_setquota(self, words: list[str], _: str) -> None:
        project, _, kib, _, inodes, _ = words[2:]
        self.rooms[int(project)] = (int(kib), int(inodes))

    def _kernels_repquota(self, *_: object) -> str:
        rows = (f"#{number},0,{kib},0,{inodes}\n" for number, (kib, inodes) in self.rooms.items())
        return _REPORT + "".join(rows)

    def _kernels_chattr(self, words: list[str], _: str) -> None:
        if "-R" not in words:
            self.projects[Path(words[-1]).stat().st_ino] = int(words[2])


@lru_cache(1)
def _as_listed(transaction: str) -> str:
    """What nft lists of a table after a transaction."""
    if not transaction:
        return ""
    sets = _ELEMENTS.sub(r"\tmap \1 {\n\t\telements = { \2 }\n\t}", transaction).replace(
        ", ", ",\n\t\t\t     "
    )
    return "table inet slivers {\n" + _COUNTERS.sub(r"\tcounter \1 {\n\t\tpackets 0 bytes 0\n\t}", sets)
