"""A report of one of the recorded machines, made by what makes them on a node, for tests that read one."""

from bootmanager.machine import State
from bootmanager.report import make_report
from host.console import Console
from host.events import Events
from host.options import Options
from host.ports import Host
from host.run import CommandMissing, Runner
from hwdetect.media import Candidate, Media
from steps.base import Facts
from tests.recorded_machines import recording_of
from wire.messages import ImageRef, NodeDetails, TargetState
from wire.nodeconf import NodeConfiguration
from wire.nodenet import NetworkSettings
from wire.session import NodeKey

KEY = NodeKey(b"\xfb\xff" + bytes(range(7, 37)))
CONFIGURATION = NodeConfiguration(7, KEY, "https://10.0.2.2:8080", NetworkSettings(), proxy="http://u:pw@p/")
TEXT = f'NODE_ID="7"\nNODE_KEY="{KEY.to_text()}"\n'
DETAILS = NodeDetails(7, "node1", TargetState.INST, "run1", 3, ImageRef("base", "b" * 64))


class NoCommands(Runner):
    """A medium that has no commands."""

    def __call__(self, argv, **_):
        raise CommandMissing(argv[0])


def facts_of(name, *more):
    media = Media(("/dev/sr0",), (Candidate("/dev/sdx1", "/dev/sdx", "plnode.txt", TEXT),))
    return Facts((recording_of(name), media, CONFIGURATION, *more))


def report_of(name, folder, *, details=DETAILS, run=None, cause=None, state=State.INST):
    """Return the archive; logs are what lies in the folder."""
    host = Host(run or NoCommands(), None, Events("test"), Console([]), Options(), folder)
    more = (details,) if details is not None else ()
    return make_report(host, facts_of(name, *more), state=state, cause=cause)
