"""A node without processes: systemctl as a table of units, images as folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configmanager.backends.base import Node
from configmanager.slots import Slots
from host.events import Event, Events
from host.run import CommandFailed, CommandTimedOut, Completed, Runner
from images.plan import OldTree
from wire.messages import ImageRef


class FakeRunner(Runner):
    """Knows systemctl, journalctl, sync, rm and accounts below `root`; keeps every argv.

    Units in `broken` do not start, those in `slow` not in time, and those in `stuck` do not stop. `since` is
    when units ended, in seconds of the monotonic clock. The packet filter knows all slivers. Commands in
    `refused` fail, and `commands` has all that were run in units of their own.
    """

    def __init__(self, root: Path) -> None:
        self.argvs: list[list[str]] = []
        self.active: dict[str, str] = {}
        self.broken: set[str] = set()
        self.slow: set[str] = set()
        self.stuck: set[str] = set()
        self.refused: set[str] = set()
        self.commands: list[str] = []
        self.since = 1.0
        self._root = root
        self._slots = Slots(root)

    def __call__(self, argv: Sequence[Any], **_: Any) -> Completed:
        words = [str(word) for word in argv]
        self.argvs.append(words)
        stdout = ""
        if words[0] == "systemctl":
            stdout = self._systemctl(words)
        elif words[0] == "rm":
            _remove(Path(words[-1]))
        elif words[0] == "systemd-run":
            self.commands.append(words[-1])
            if words[-1] in self.refused:
                raise CommandFailed(words, 1, "")
        elif words[0] == "journalctl":
            stdout = "out of luck\n"
        elif words[:1] == ["nft"]:
            stdout = "".join(f'"{slot.interface}" . {slot.address}\n' for slot in self._slots.all().values())
        elif words[0] == "useradd":
            number = words[words.index("--uid") + 1]
            self._change_accounts(words[-1], f"{words[-1]}:x:{number}:1::/:/bin/false\n")
        elif words[0] == "userdel":
            self._change_accounts(words[-1], "")
        return Completed(tuple(words), 0, stdout, "", 0.0)

    def _change_accounts(self, name: str, line: str) -> None:
        for file in ("passwd", "shadow"):
            path = self._root / "etc" / file
            path.parent.mkdir(exist_ok=True)
            old = path.read_text().splitlines(keepends=True) if path.exists() else []
            path.write_text("".join([*(each for each in old if not each.startswith(f"{name}:")), line]))

    def _systemctl(self, words: list[str]) -> str:
        verb = next(word for word in words[1:] if not word.startswith("-"))
        units = words[words.index("--") + 1 :] if "--" in words else []
        if verb == "show":
            return "\n".join(
                f"Type=notify\nResult=success\nId={unit}\nActiveState={self.active.get(unit, 'inactive')}\n"
                f"InactiveEnterTimestampMonotonic={int(self.since * 1e6) if unit in self.active else 0}\n"
                for unit in units
            )
        for unit in units:
            if verb == "start" and unit in self.broken:
                # systemd tries again by itself, up to its limit.
                self.active[unit] = "activating"
                raise CommandFailed(words, 1, "")
            if verb == "start" and unit in self.slow:
                self.active[unit] = "activating"
                raise CommandTimedOut("systemctl")
            if verb == "stop" and unit in self.stuck:
                continue
            if verb in ("start", "stop"):
                self.active[unit] = "active" if verb == "start" else "inactive"
        return ""

    def verbs(self) -> list[str]:
        """What was changed by systemctl, as "verb unit"."""
        quiet = [[word for word in words if not word.startswith("-")] for words in self.argvs]
        return [" ".join(words[1:]) for words in quiet if words[0] == "systemctl" and words[1] != "show"]


class FakeNode:
    """A node below `root`."""

    def __init__(self, root: Path) -> None:
        self.runner = FakeRunner(root)
        self.told: list[Event] = []
        self.unpacked: list[str] = []
        self.offered: list[str] = []
        self.fail_unpack: Exception | None = None
        self.node = Node(self.runner, Events("test", (self.told.append,)), self._unpack, root)
        self.root = root

    def _unpack(self, ref: ImageRef, target: Path, trees: Sequence[OldTree]) -> None:
        assert target.is_dir()
        assert all(tree.folder.is_dir() for tree in trees)
        self.offered = [tree.folder.name for tree in trees]
        assert not any(target.iterdir())
        (target / "etc").mkdir()
        if self.fail_unpack is not None:
            raise self.fail_unpack
        (target / "usr").mkdir()
        (target / "home").mkdir()
        (target / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
        (target / "etc/shadow").write_text("root:*:1::::::\n")
        self.unpacked.append(ref.name)

    @property
    def events(self) -> list[str]:
        """Names of the events told."""
        return [event.event for event in self.told]


def _remove(path: Path) -> None:
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            _remove(entry)
        else:
            entry.unlink()
    path.rmdir()
