"""What the node shall run, kept on its disk, so that slivers come back without the server.

A SQLite file: the change of one sliver of a thousand is one row, and each change is whole and on the disk,
or did not happen. The newer word on a sliver counts. A comprehensive word (a reply to GetSlivers) drops
slivers that are not in it, but for those of which there is a newer word of their own.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from configmanager.reply import Known, read, together
from host.files import sync_folder
from wire.errors import JournalError, VerificationError
from wire.messages import ImageRef
from wire.slivers import NodeSlivers, Sliver
from wire.structure import MalformedMessage, structure, unstructure

log = logging.getLogger(__name__)

FILE = Path("/var/lib/configmanager/records.sqlite")
# A reply is on its way for minutes at most. What claims to be later than it by more was said by a clock that
# ran ahead, and would count until that time is really there.
AHEAD_SECONDS = 3600
# `configmanager status` reads while the daemon writes.
BUSY_SECONDS = 10.0
_TABLES = (
    "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # `time` is that of the sliver's own word, 0 for one that came with a comprehensive word.
    "CREATE TABLE IF NOT EXISTS slivers"
    " (name TEXT PRIMARY KEY, time INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID",
)


class DiskTrouble(JournalError):
    """The node's own disk fails, or is full."""

    code = "disk-trouble"
    title = "The node's files cannot be read or written"
    hint = "The disk is full, read-only or dying: `df /var /var/lib/slivers`, then the kernel's messages."


class StaleConfiguration(VerificationError):
    """The server told something older than what it told before."""

    code = "stale-configuration"
    title = "The server's configuration is older than the node's"
    hint = (
        "Check the server's clock, and whether its database is an old copy; the node keeps what it has. "
        "`configmanager apply --older` takes the server's word all the same."
    )


class WrongNode(VerificationError):
    """A configuration is another node's."""

    code = "wrong-node"
    title = "A configuration is for another node"
    hint = "Check which key medium is plugged in, and the node's entry at the server."


class Records:
    """The words that count, in memory and on the disk. Safe from any thread.

    `refused` tells by "sliver NAME", "conf_file PATH" ... why the server's last word on it does not count.
    """

    def __init__(self, file: Path = FILE) -> None:
        """Raises DiskTrouble."""
        self._file = file
        self._turn = threading.Lock()
        self._whole: NodeSlivers | None = None
        self._slivers: dict[str, Known] = {}
        self._own_times: dict[str, int] = {}
        self.refused: dict[str, str] = {}
        self._kept_time = 0.0
        self._damaged = False
        if file.exists():
            self._load()

    @property
    def newest_time(self) -> float:
        """The time of the server's last word, or the later one that was kept since, in Unix seconds."""
        return max(self._kept_time, self._whole.timestamp if self._whole else 0)

    def load(self) -> NodeSlivers | None:
        """Return the configuration that counts, None if there is none."""
        return self._whole

    def store(self, reply: object, *, older: bool = False) -> NodeSlivers:
        """Keep a reply to GetSlivers, given as plain data; returns what counts from now on.

        A person may want it though it is `older`. Raises MalformedMessage, StaleConfiguration, WrongNode,
        DiskTrouble; nothing is changed then.
        """
        with self._turn:
            return self._store(reply, older)

    def _store(self, reply: object, older: bool) -> NodeSlivers:
        known = self._whole
        reading = read(reply, self._slivers, known)
        head = reading.head
        if known is not None and known.node_id != head.node_id:
            raise WrongNode(f"node {head.node_id}, this is node {known.node_id}")
        if known is not None and _is_older(head, known) and not older:
            raise StaleConfiguration(
                f"its timestamp is {head.timestamp}, its generation {head.generation}; "
                f"known are {known.timestamp} and {known.generation}"
            )
        latest = head.timestamp + AHEAD_SECONDS
        newer = {name: time for name, time in self._own_times.items() if head.timestamp < time <= latest}
        slivers = reading.slivers | {name: self._slivers[name] for name in newer}
        if newer and known is not None:
            named = {self._slivers[name].sliver.image for name in newer}
            kept = [image for image in known.images if image.name in named and not head.image(image.name)]
            head = replace(head, images=(*head.images, *kept))
        self._replace(head, slivers, newer, reading.refused, kept_time=0.0)
        return self._whole or head

    def deliver(self, item: Mapping[str, Any], time: int, images: Sequence[ImageRef] = ()) -> bool:
        """Keep a word on one sliver alone, said at `time`; returns whether it is newer than what is known.

        `images` are those that it names. Raises MalformedMessage, DiskTrouble.
        """
        sliver = structure(item, Sliver)
        with self._turn:
            whole = self._whole
            if whole is None or time <= max(whole.timestamp, self._own_times.get(sliver.name, 0)):
                return False
            known = {image.name: image for image in (*whole.images, *images)}
            head = replace(whole, images=tuple(known.values()))
            slivers = self._slivers | {sliver.name: Known(item, sliver)}
            own_times = self._own_times | {sliver.name: time}
            self._replace(head, slivers, own_times, self.refused, self._kept_time)
        return True

    def keep_time(self, now: float) -> None:
        """Keep the time, so that a reboot does not take it back. Raises DiskTrouble."""
        with self._turn, self._changing() as database:
            _set(database, "newest_time", now)
            self._kept_time = now

    def _replace(
        self,
        head: NodeSlivers,
        slivers: dict[str, Known],
        own_times: dict[str, int],
        refused: dict[str, str],
        kept_time: float,
    ) -> None:
        whole = together(head, slivers)
        # In a file that is new every row is.
        known = self._slivers if self._usable() else {}
        with self._changing() as database:
            _set(database, "head", unstructure(replace(whole, slivers=())))
            _set(database, "refused", refused)
            _set(database, "slivers", len(slivers))
            _set(database, "newest_time", kept_time)
            gone = [(name,) for name in self._slivers if name not in slivers]
            database.executemany("DELETE FROM slivers WHERE name = ?", gone)
            database.executemany(
                "INSERT OR REPLACE INTO slivers VALUES (?, ?, ?)",
                [
                    (name, own_times.get(name, 0), json.dumps(each.plain))
                    for name, each in slivers.items()
                    if each is not known.get(name) or own_times.get(name, 0) != self._own_times.get(name, 0)
                ],
            )
        self._whole, self._slivers, self._own_times, self.refused = whole, slivers, own_times, refused
        self._kept_time = kept_time

    def _load(self) -> None:
        try:
            with self._opened() as database:
                if database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                    raise sqlite3.DatabaseError("it is damaged")
                if len(database.execute("SELECT 1 FROM sqlite_master").fetchall()) < len(_TABLES):
                    return  # A power cut came before the first word.
                facts = {name: json.loads(value) for name, value in database.execute("SELECT * FROM facts")}
                rows = database.execute("SELECT name, time, body FROM slivers").fetchall()
            self._kept_time = float(facts.get("newest_time", 0.0))
            if "head" not in facts:
                return
            if facts["slivers"] != len(rows):
                raise ValueError(f"{len(rows)} slivers, {facts['slivers']} were written")
            plain = {name: json.loads(body) for name, _, body in rows}
            slivers = {name: Known(item, structure(item, Sliver)) for name, item in plain.items()}
            self._whole = together(structure(facts["head"], NodeSlivers), slivers)
            self._slivers, self.refused = slivers, facts["refused"]
            self._own_times = {name: time for name, time, _ in rows if time}
        except sqlite3.OperationalError as error:
            raise DiskTrouble(f"{self._file}: {error}") from None
        except (
            sqlite3.DatabaseError,
            ValueError,
            KeyError,
            TypeError,
            RecursionError,
            MalformedMessage,
        ) as error:
            # Written by other code or damaged; the server's next reply begins anew. Whoever only reads
            # must not take it away from a daemon that writes.
            log.error("%s cannot be read: %s", self._file, error)
            self._damaged = True

    def _usable(self) -> bool:
        return self._file.exists() and not self._damaged

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Give a transaction that is on the disk when the block ends, or undone. Raises DiskTrouble."""
        try:
            if self._damaged:
                self._file.replace(self._file.with_suffix(".damaged"))
                self._damaged = False
            new = not self._file.exists()
            if new:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                # Initscripts may hold what only the slice should know.
                self._file.touch(mode=0o600)
            with self._opened() as database, database:
                for table in _TABLES:
                    database.execute(table)
                yield database
            if new:
                sync_folder(self._file.parent)
        except (OSError, sqlite3.Error) as error:
            raise DiskTrouble(f"{self._file}: {error}") from None

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._file, timeout=BUSY_SECONDS)) as database:
            # FULL would leave the removal of the journal, which is the commit, to the next write.
            database.execute("PRAGMA synchronous=EXTRA")
            yield database


def _is_older(head: NodeSlivers, known: NodeSlivers) -> bool:
    """Say whether a reply is older by its time, and its generation does not prove the opposite.

    A server whose clock ran ahead once, and is right now, has told a time that nobody reaches for long; the
    number of its changes never goes back, and is the same while nothing was changed.
    """
    return head.timestamp < known.timestamp and (not head.generation or head.generation < known.generation)


def _set(database: sqlite3.Connection, name: str, value: object) -> None:
    database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))


def unexpired(record: NodeSlivers, now: float) -> NodeSlivers:
    """Return the configuration without the slivers whose time is over at `now` (Unix seconds).

    A clock that lags behind the record itself is wrong, so the record's time counts then.
    """
    moment = max(now, record.timestamp)
    slivers = tuple(item for item in record.slivers if item.expires > moment)
    return record if len(slivers) == len(record.slivers) else replace(record, slivers=slivers)
