"""An account of the node for each slice: `ssh SLICE@NODE` leads into the sliver, and nowhere else.

The account has no password, no home and no shell but sliver-shell, which asks sliver-shell-server to let it
into the sliver. sshd's settings for the group are in sshd_config.d/slivers.conf. Its users are those of
slot 0, which no sliver has. Tools: useradd(8), userdel(8), groupadd(8), pkill(1).
"""

from __future__ import annotations

from pathlib import Path

from configmanager.slots import Slot
from host.files import sync_folder, write_atomic
from host.run import Runner
from wire.errors import ConfigurationError
from wire.slivers import check_name

GROUP = "slivers"
KEYS = Path("etc/ssh/slivers")
SHELL = "/usr/bin/sliver-shell"
_GONE = 6


class NameTaken(ConfigurationError):
    """A slice has a name that no account of the node can have for it."""

    code = "slice-name-taken"
    title = "The slice's name is not free on the node"
    hint = "Give the slice another name: it is an account of the node's own system, or a number."


class Accounts:
    """The slices' accounts. `root` is "/" but in tests."""

    def __init__(self, run: Runner, root: Path) -> None:
        self._run = run
        self._root = root

    def is_there(self, name: str, slot: Slot) -> bool:
        """Whether the account is whole, its keys included."""
        whole = self._user(name) == slot.account and name in self._names("etc/shadow")
        return whole and self._keys(name).is_file()

    def check(self, name: str, slot: Slot | None) -> None:
        """Raise NameTaken if there is somebody else of that name. A new sliver may have no slot yet."""
        own = slot.account if slot is not None else None
        if self._user(name) not in (None, own) or name.isdigit():
            raise NameTaken(name)

    def ensure(self, name: str, slot: Slot, keys: str) -> None:
        """Make the account, and have it opened by these keys from now on. Raises NameTaken, CommandFailed."""
        self.check(name, slot)
        if self._user(name) is not None and name not in self._names("etc/shadow"):
            self._delete(name)
        if self._user(name) is None:
            self._run(["groupadd", "--force", "--system", GROUP])
            words = ["useradd", "--badname", "--no-log-init", "--no-user-group", "--gid", GROUP]
            place = ["--home-dir", "/", "--no-create-home", "--shell", SHELL, "--uid", str(slot.account)]
            self._run([*words, *place, "--", name])
        file = self._keys(name)
        if not file.is_file() or file.read_text() != keys:
            write_atomic(file, keys)

    def remove(self, name: str, slot: Slot) -> None:
        """Remove the account with its sessions; doing so again changes nothing. Raises CommandFailed."""
        if self._keys(name).exists():
            self._keys(name).unlink()
            sync_folder(self._root / KEYS)
        # Nobody enters any more; now whoever is in goes.
        self._run(["pkill", "--signal", "KILL", "--uid", str(slot.account)], ok=(0, 1))
        if self._user(name) == slot.account:
            self._delete(name)

    def _delete(self, name: str) -> None:
        # Sessions that were killed may take a moment to be gone; that is no reason to keep the account.
        self._run(["userdel", "--force", "--", name], ok=(0, _GONE))

    def _keys(self, name: str) -> Path:
        return self._root / KEYS / check_name(name)

    def _user(self, name: str) -> int | None:
        fields = self._names("etc/passwd").get(name)
        return int(fields[2]) if fields is not None else None

    def _names(self, path: str) -> dict[str, list[str]]:
        try:
            lines = (self._root / path).read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return {}
        return {line.partition(":")[0]: line.split(":") for line in lines if line}
