"""A deployment that signs, its node, the dongle, and the way between, on which somebody may sit."""

import pytest

from bootserver.catalogue import current_image, publish
from bootserver.periods import DAY
from bootserver.rootkeys import load_root_keys
from bootserver.signing import Signing
from host.events import Events
from host.http import ONCE, AnswerTooLong, NotAtServer, ServerUnreachable
from images.cache import Cache
from images.trust import DOCUMENT, ImageTrust
from images.trust_errors import MetadataMalformed
from tests.unit.bootserver_deployment import Deployment
from tests.unit.image_trees import manifest_of
from wire.session import NodeKey
from wire.trust import METADATA_PATH, TrustedRoot

NOW = 1_800_000_000.0
KEY = NodeKey(b"k" * 32)


class Path:
    """The way to the server, on which somebody may sit: `forged` answers, None for "not there"."""

    base_url = "http://server"

    def __init__(self, web):
        self.web = web
        self.forged = {}
        self.asked = []
        self.up = True

    def get(self, path, *, limit, retry=ONCE):
        name = path.removeprefix(METADATA_PATH)
        self.asked.append(name)
        if not self.up:
            raise ServerUnreachable("gone")
        if name in self.forged:
            status, content = (404, b"") if self.forged[name] is None else (200, self.forged[name])
        else:
            answer = self.web.get(path)
            status, content = answer.status_code, answer.content
        if status == 404:
            raise NotAtServer(path)
        assert status == 200
        if len(content) > limit:
            raise AnswerTooLong(path)
        return content


class Site:
    """A deployment, its node, the dongle and the way between."""

    def __init__(self, folder, owner="deployment"):
        self.server = Deployment(folder / "state", owner)
        self.folder = self.server.state.metadata
        self.dongle = folder / "dongle"
        self.dongle.mkdir(parents=True)
        self.path = Path(self.server.web)
        self.sign_again(NOW)
        self.root = (self.folder / "1.root.json").read_bytes()

    def signing(self, session, now, keys=()):
        state = self.server.state
        return Signing(state.metadata, session, state.master, root_keys=keys, now=now)

    def sign_again(self, now):
        with self.server.state.database.write() as session:
            self.signing(session, now).sign_again(("targets", "snapshot", "timestamp"))

    def publish(self, name="base", content=b"1", now=NOW):
        manifest = manifest_of(name, content)
        self.server.state.blobs.put(manifest.to_bytes())
        with self.server.state.database.write() as session:
            self.signing(session, now).publish(manifest)
            publish(session, name, manifest.digest)
            return current_image(session, name)

    def root_keys(self, *numbers, folder="root-keys"):
        return load_root_keys([self.server.folder / folder / f"root-{number}.pem" for number in numbers])

    def rotate(self, role, now=NOW):
        with self.server.state.database.write() as session:
            self.signing(session, now).prepare(role)
            self.signing(session, now, self.root_keys(1, 2)).rotate(role)

    def trust(self, *, root=None, dongle=True, key=KEY):
        cache = Cache(self.dongle if dongle else None, Events("test"))
        return ImageTrust(TrustedRoot(self.root if root is None else root), cache, key)

    def refresh(self, now=NOW, **how):
        return self.trust(**how).refresh(self.path, now)

    def recording(self):
        """Return all metadata as they are served now."""
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def document(self):
        return self.dongle / "documents" / f"{DOCUMENT}.json"


def check_in_later(site, days):
    """The server is there for calls, but its metadata cannot be had."""
    site.path.forged = {"timestamp.json": b"junk"}
    with pytest.raises(MetadataMalformed):
        site.refresh(NOW + days * DAY)
    site.path.forged = {}
