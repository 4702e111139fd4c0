"""Accounts of the node that lead to one place: `ssh SLICE@NODE` into the sliver, a delegate's to the API.

An account has no password, no home and no shell but its kind's, which sshd's settings for its group
(sshd_config.d) name too. A slice's is sliver-shell, which asks sliver-shell-server to let it into the sliver.
Their users are those of slot 0, which no sliver has. Tools: useradd(8), userdel(8), groupadd(8), pkill(1).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from configmanager.kept import ReadFiles
from host.files import sync_folder, write_atomic
from host.run import Runner
from wire.errors import ConfigurationError
from wire.slivers import check_name

KEYS = Path("etc/ssh")
_GONE = 6


@dataclass(frozen=True)
class Kind:
    """Accounts of one group, whose keys lie in a folder of its name."""

    group: str
    shell: str


SLICES = Kind("slivers", "/usr/bin/sliver-shell")


class NameTaken(ConfigurationError):
    """A slice or delegate has a name that no account of the node can have for it."""

    code = "slice-name-taken"
    title = "The slice's or delegate's name is not free on the node"
    hint = "Give it another name: this is an account or group of the node's own, or a number."


class Accounts:
    """The accounts of one kind. `root` is "/" but in tests."""

    def __init__(self, run: Runner, root: Path, kind: Kind = SLICES) -> None:
        self._run = run
        self._kind = kind
        self._root = root
        self._files = ReadFiles(_entries)

    def whole(self) -> dict[str, int]:
        """Return the users of all accounts of the node that have keys of this kind, and all else."""
        folder = self._root / KEYS / self._kind.group
        keys = {entry.name for entry in os.scandir(folder) if entry.is_file()} if folder.is_dir() else set()
        users, shadow = self._names("etc/passwd"), self._names("etc/shadow")
        return {name: int(users[name][2]) for name in keys & users.keys() & shadow.keys()}

    def check(self, name: str, user: int | None) -> None:
        """Raise NameTaken if there is somebody else of that name. Who is new may have no number yet."""
        # userdel(8) takes a group of the account's name for the account's own, and away from all others.
        if self._user(name) not in (None, user) or name.isdigit() or name == self._kind.group:
            raise NameTaken(name)

    def ensure(self, name: str, user: int, keys: str) -> None:
        """Make the account, and have it opened by these keys from now on. Raises NameTaken, CommandFailed."""
        self.check(name, user)
        if self._user(name) is not None and name not in self._names("etc/shadow"):
            self._delete(name)
        if self._user(name) is None:
            if self._kind.group not in self._names("etc/group"):
                self._run(["groupadd", "--force", "--system", self._kind.group])
            words = ["useradd", "--badname", "--no-log-init", "--no-user-group"]
            words += ["--gid", self._kind.group, "--shell", self._kind.shell]
            place = ["--home-dir", "/", "--no-create-home", "--uid", str(user)]
            self._run([*words, *place, "--", name])
        file = self._keys(name)
        if not file.is_file() or file.read_text() != keys:
            write_atomic(file, keys)

    def remove(self, name: str, user: int) -> None:
        """Remove the account with its sessions; doing so again changes nothing. Raises CommandFailed."""
        if self._keys(name).exists():
            self._keys(name).unlink()
            sync_folder(self._keys(name).parent)
        # Nobody enters any more; now whoever is in goes.
        self._run(["pkill", "--signal", "KILL", "--uid", str(user)], ok=(0, 1))
        if self._user(name) == user:
            self._delete(name)

    def _delete(self, name: str) -> None:
        # Sessions that were killed may take a moment to be gone; that is no reason to keep the account.
        self._run(["userdel", "--force", "--", name], ok=(0, _GONE))

    def _keys(self, name: str) -> Path:
        return self._root / KEYS / self._kind.group / check_name(name)

    def _user(self, name: str) -> int | None:
        fields = self._names("etc/passwd").get(name)
        return int(fields[2]) if fields is not None else None

    def _names(self, path: str) -> dict[str, list[str]]:
        try:
            return self._files.get(self._root / path)
        except FileNotFoundError:
            return {}


def _entries(text: str) -> dict[str, list[str]]:
    return {line.partition(":")[0]: line.split(":") for line in text.splitlines() if line}
