"""Files laid over the node's root for one thing, and what was there before: put back when the thing goes.

All of a layer is written beside its places first and then renamed, so that a full disk changes nothing and a
power cut leaves each file old or new. What is replaced is kept by a link, with all its attributes. A layer
that was not finished is prepared and switched again, to the same or to something else; any order of that ends
well, because what was there first is kept once and forgotten last.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from configmanager.backends.placing import Entry, Places, PlaceTaken
from host.files import make_folder, sync_folder, write_atomic
from host.run import Runner
from wire.structure import MalformedMessage, structure_json, unstructure

log = logging.getLogger(__name__)

LAYERS = Path("var/lib/configmanager/layers")
_INDEX = "index.json"
_SYNC_SECONDS = 600.0


@dataclass(frozen=True)
class Place:
    """A path that a layer has. `kept`: something was there, and is kept; `stamp` is what was laid there."""

    folder: bool = False
    kept: bool = False
    stamp: tuple[int, ...] = ()


@dataclass(frozen=True)
class Index:
    """What a layer has. `subject` says whose it is, `digest` names what it is when it is finished; `began`
    says that places were switched since."""

    subject: str
    digest: str = ""
    began: bool = False
    places: dict[str, Place] = field(default_factory=dict)


class Layer:
    """A layer by its name. Every method raises OSError where the disk fails."""

    def __init__(self, run: Runner, root: Path, name: str) -> None:
        self._run = run
        self._root = root
        self._places = Places(root)
        self._folder = root / LAYERS / name
        self._pending: list[Entry] = []

    @property
    def index(self) -> Index | None:
        """What it has, None if it is not there."""
        return _index(self._folder)

    @property
    def pending(self) -> frozenset[str]:
        """Paths that switch() will change."""
        return frozenset(entry.path for entry in self._pending)

    @property
    def digest(self) -> str:
        """Name what was laid, "" if that was not finished or is not as it was left."""
        index = self.index
        if index is None:
            return ""
        for path, place in index.places.items():
            if place.stamp and self._places.stamp(path) != place.stamp:
                return ""
        return index.digest

    @property
    def began(self) -> bool:
        """Whether it was switched, and not finished then."""
        index = self.index
        return index is not None and index.began

    def prepare(self, subject: str, entries: Sequence[Entry], *, always: bool = False) -> None:
        """Write what differs (or all of it: `always`) beside its places; nothing that counts is changed.

        Raises PlaceTaken.
        """
        index = self.index or Index(subject)
        # What an earlier preparation kept, and nothing came of, may be another file by now.
        laid = {path: each for path, each in index.places.items() if each.stamp or each.folder or index.began}
        whole = _with_folders(entries)
        for entry in whole:
            if entry.path in laid and laid[entry.path].folder != entry.is_folder:
                raise PlaceTaken(f"/{entry.path}: a file does not become a folder, nor a folder a file")
        make_folder(self._folder)
        # What is kept may be a set-user-id program that nobody shall run any more.
        self._folder.parent.chmod(0o700)
        new = {entry.path: self._claim(entry) for entry in whole if entry.path not in laid}
        self._refuse_others({path for path, place in new.items() if place is not None and place.kept})
        places = {**laid, **{path: place for path, place in new.items() if place is not None}}
        self._sync([self._folder])
        self._save(replace(index, places=places))
        self._pending = []
        try:
            for entry in whole:
                if not entry.is_folder and (always or not self._places.has(entry)):
                    self._pending.append(entry)
                    self._places.write_beside(entry)
                elif entry.is_folder and entry.path in places:
                    self._places.make_folder(entry)
            self._sync(self._folders(self.pending))
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Take away what prepare() wrote."""
        for entry in self._pending:
            self._places.abandon(entry)
        self._pending = []

    def switch(self, entries: Sequence[Entry]) -> None:
        """Let what was prepared count, and put back what was where nothing is laid any more."""
        index = self.index or Index("")
        wanted = {entry.path for entry in _with_folders(entries)}
        self._save(replace(index, digest="", began=True))
        for entry in self._pending:
            self._places.switch(entry)
        gone = [path for path in index.places if path not in wanted]
        # The deepest first, so that folders are empty when it is their turn.
        for path in sorted(gone, key=lambda path: (index.places[path].folder, -path.count("/"))):
            if index.places[path].folder:
                self._places.remove_folder(path)
            else:
                self._places.put_back(path, self._kept(path) if index.places[path].kept else None)
        self._sync(self._folders([*self.pending, *gone]))
        places = {
            path: replace(place, stamp=() if place.folder else self._places.stamp(path))
            for path, place in index.places.items()
            if path in wanted
        }
        self._save(replace(index, digest="", began=True, places=places))
        for path in gone:
            self._kept(path).unlink(missing_ok=True)
        self._pending = []

    def finish(self, digest: str) -> None:
        """Say that what was switched is all there is to do."""
        self._save(replace(self.index or Index(""), digest=digest, began=False))

    def clear(self) -> None:
        """Put everything back as it was, and forget the layer; doing so again changes nothing."""
        if self.index is not None:
            self._pending = []
            self.switch([])
            (self._folder / _INDEX).unlink()
            sync_folder(self._folder)
        if self._folder.exists():
            shutil.rmtree(self._folder)

    def _claim(self, entry: Entry) -> Place | None:
        """Keep what is there; None for a folder that stays the node's own. Raises PlaceTaken."""
        try:
            return Place(folder=entry.is_folder, kept=self._places.keep(entry, self._kept(entry.path)))
        except FileExistsError:
            return None

    def _refuse_others(self, paths: set[str]) -> None:
        """Raise PlaceTaken where what is there was laid by another layer."""
        for name in names(self._root) if paths else ():
            folder = self._root / LAYERS / name
            index = _index(folder) if folder != self._folder else None
            if index is not None and (taken := sorted(paths & index.places.keys())):
                raise PlaceTaken(f"/{taken[0]}: it is {index.subject}'s")

    def _folders(self, paths: Iterable[str]) -> list[Path]:
        return [(self._root / path).parent for path in paths]

    def _sync(self, folders: Sequence[Path]) -> None:
        """Make all that was written durable, on each file system that is concerned."""
        each = {folder.stat().st_dev: folder for folder in {*folders} if folder.is_dir()}
        if each:
            self._run(["sync", "--file-system", *each.values()], timeout=_SYNC_SECONDS)

    def _save(self, index: Index) -> None:
        write_atomic(self._folder / _INDEX, json.dumps(unstructure(index)) + "\n", mode=0o600)

    def _kept(self, path: str) -> Path:
        return self._folder / hashlib.sha256(path.encode()).hexdigest()


def names(root: Path) -> list[str]:
    """Return the names of all layers."""
    return sorted(file.parent.name for file in (root / LAYERS).glob(f"*/{_INDEX}"))


def _index(folder: Path) -> Index | None:
    try:
        return structure_json((folder / _INDEX).read_bytes(), Index)
    except FileNotFoundError:
        return None
    except MalformedMessage as error:
        # What it laid counts as the node's own from now on.
        log.error("%s is damaged: %s", folder / _INDEX, error)
        return None


def _with_folders(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries with the folders that lead to them, those first."""
    found: dict[str, Entry] = {}
    for entry in entries:
        parts = entry.path.split("/")
        for depth in range(1, len(parts)):
            path = "/".join(parts[:depth])
            found.setdefault(path, Entry(path, stat.S_IFDIR | 0o755))
        found[entry.path] = entry
    return sorted(found.values(), key=lambda entry: (not entry.is_folder, entry.path))
