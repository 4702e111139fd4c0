"""A node with a boot medium plugged in, a dongle, and a server that may have published a newer medium."""

from dataclasses import replace
from pathlib import Path

from host.console import Console
from host.events import Events
from host.options import Options
from host.ports import Host
from host.run import CommandFailed, Completed
from host.server import ServerClient
from hwdetect.media import Media
from images.cache import Cache
from images.make import make_image
from images.medium_trial import Trials
from steps import update_medium as module
from steps.base import Context, Facts
from steps.update_medium import Untouched, UpdateMedium
from tests.unit.image_trees import ROOT, Tree
from tests.unit.signed_site import KEY, NOW, Site
from wire.medium import IMAGE, Medium
from wire.messages import NodeDetails, TargetState
from wire.nodeconf import NodeConfiguration
from wire.nodenet import NetworkSettings
from wire.trust import TrustedRoot

MIB = 2**20
ARGUMENTS = "boot=live live-media=/dev/disk/by-uuid/1 console=ttyS0 bm.events=/dev/ttyS1"
CONFIGURATION = NodeConfiguration(1, KEY, "http://server", NetworkSettings())


class Node(Site):
    """A node with the medium `own` plugged in, started again and again; `loaded` is what kexec was given."""

    def __init__(self, folder, monkeypatch):
        super().__init__(folder)
        self.own = Medium(1000, "old")
        self.free, self.refused = 1024 * MIB, {}
        self.loaded, self.told, self.ran, self.fetched = None, [], [], []
        self.base = self.publish("base")
        (folder / "cmdline").write_text(ARGUMENTS + "\n")
        monkeypatch.setattr(module, "KERNEL_COMMAND_LINE", folder / "cmdline")
        monkeypatch.setattr(module, "own_medium", lambda: self.own)
        monkeypatch.setattr(module, "available", lambda: self.free)
        monkeypatch.setattr(module, "http_of", lambda _: self.path)
        monkeypatch.setattr(module, "source_of", lambda *_: self)

    def offer(self, made, content=b"layers"):
        """Publish a medium."""
        blobs, tree = self.server.state.blobs, Tree(ROOT)
        manifest = make_image(IMAGE, tree.add("vmlinuz", b"kernel").add("initrd", content), blobs)
        with self.server.state.database.write() as session:
            self.signing(session, NOW).publish(manifest, made)
        return manifest

    def get(self, digest, limit, halt):
        """Be the source of blobs."""
        self.fetched.append(digest)
        return self.server.state.blobs.get(digest)

    def run(self, argv, *, timeout=60.0):
        words = [str(word) for word in argv]
        self.ran.append(words[0])
        if words[0] in self.refused:
            raise CommandFailed(words, 1, self.refused[words[0]])
        if words[0] == "kexec":
            ramdisk, arguments = (word.partition("=")[2] for word in words[3:5])
            files = (Path(words[5]).read_bytes(), Path(ramdisk).read_bytes())
            self.loaded = (*words[1:3], *files, arguments, self.trial())
        return Completed(tuple(words), 0, "", "", 0.0)

    def cache(self, **how):
        return Cache(how.pop("folder", self.dongle), Events("t"), **how)

    def trial(self, made=2000):
        return Trials(self.cache(), KEY).of(made)

    def context(self, facts=(), *, cache=None, options=Options(), root=None, budget_mib=64):  # noqa: B008
        events = Events("test", (lambda event: self.told.append((event.event, event.data)),))
        client = ServerClient.__new__(ServerClient)
        client.server_now = lambda: NOW
        known = (
            Media(boot=("/dev/sda",)),
            Untouched(),
            CONFIGURATION,
            NodeDetails(1, "n", TargetState.BOOT, "r", 1, self.base, cache_budget_mib=budget_mib),
            TrustedRoot(self.root if root is None else root),
            cache or Cache(self.dongle, events),
            client,
        )
        return Context(Host(self.run, None, events, Console([]), options), Facts(known).plus(*facts))

    def boot(self, made=None, *, without=(), **how):
        """Do what the engine does, in a boot of the medium plugged in or that of `made`; what starts then?"""
        self.told.clear()
        self.fetched.clear()
        self.loaded = None
        before, self.own = self.own, replace(self.own, made=made or self.own.made)
        context = self.context(**how)
        kept = tuple(context.facts[kind] for kind in context.facts.kinds() if kind not in (*without, object))
        context = Context(context.host, Facts(kept))
        step = UpdateMedium()
        found = step.observe(context)
        if not found.holds:
            assert found.changes
            step.run(context)
            found = step.observe(context)
        assert found.holds
        self.own = before
        return found.facts

    @property
    def kept(self):
        """Why the node goes on with what it has."""
        return [data["code"] for name, data in self.told if name == "medium.kept"]
