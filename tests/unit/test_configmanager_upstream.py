"""The server as the manager sees it: what is asked, what is believed, when it is waited at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from configmanager import upstream as module
from configmanager.node_images import Images
from configmanager.takeover import Link
from configmanager.upstream import Upstream, plain_of
from configmanager.watch import Waiting, Watch
from host.events import Events
from host.http import ServerUnreachable
from host.journal import Journal
from host.refusals import Refusals
from host.report import ServerSink
from host.run import Runner
from host.server import AuthenticationRefused
from wire.changes import ChangesKey
from wire.errors import BootError
from wire.handoff import Handoff
from wire.messages import RunLevel
from wire.nodeconf import NodeConfiguration, parse
from wire.structure import MalformedMessage

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
SERVER = "http://server:8080"


class Client:
    """Answers calls; an error is raised."""

    server_time = 0

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[Any, ...]] = []

    def open(self) -> None:
        """Learn no time."""

    def call(self, *words: Any) -> Any:
        self.calls.append(words)
        answer = self.answers.pop(0)
        if isinstance(answer, BootError):
            raise answer
        return answer


class Noted(Watch):
    """Notes what would be waited for."""

    def __init__(self) -> None:
        super().__init__(lambda: None)
        self.set_to: list[Waiting | None] = []

    def set(self, waiting: Waiting | None) -> None:
        self.set_to.append(waiting)


class Scene:
    """An upstream whose server is `client`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.configuration: NodeConfiguration = parse(
            f'NODE_ID="7"\nNODE_KEY="{KEY}"\nBOOT_SERVER="{SERVER}"\nHOST_NAME="node1"\nIP_METHOD="dhcp"\n',
            "plnode.txt",
        )
        self.client = Client()
        self.connected = 0
        self.watch = Noted()
        monkeypatch.setattr(module, "connect", self._connect)
        events, sink = Events("test"), ServerSink()
        # Nothing is sent in a unit test.
        monkeypatch.setattr(sink, "connect", lambda client: None)
        left = Handoff("run", 7, "node1", SERVER)
        refusals = Refusals(Journal(folder / "journal.jsonl"))
        images = Images(Runner(), events, folder)
        self.upstream = Upstream(Runner(), events, left, sink, images, refusals, self.watch)

    def _connect(self, *_: object) -> Link:
        self.connected += 1
        return Link(self.client, self.configuration, "10.0.2.15")  # type: ignore[arg-type]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def test_one_text_is_asked_for_and_either_form_is_read(scene: Scene) -> None:
    scene.client.answers = [json.dumps({"timestamp": 1}), {"timestamp": 2}]
    assert scene.upstream.fetch() == {"timestamp": 1}
    assert scene.upstream.fetch() == {"timestamp": 2}
    assert scene.client.calls == [("GetSlivers", {"form": "json"})] * 2
    assert scene.connected == 1


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a": 1} {}'])
def test_what_is_no_json_is_a_malformed_message(text: str) -> None:
    with pytest.raises(MalformedMessage):
        plain_of(text)


def test_it_is_waited_at_the_server_that_answered_and_no_other(scene: Scene) -> None:
    scene.upstream.watch(3)
    assert scene.watch.set_to == [], "no server was found yet"
    scene.client.answers = [{}]
    scene.upstream.fetch()
    scene.upstream.watch(0)
    assert scene.watch.set_to == [None], "this server does not tell of changes"
    scene.upstream.watch(3)
    waiting = scene.watch.set_to[-1]
    assert waiting is not None
    assert (waiting.http.base_url, waiting.generation) == (SERVER, 3)  # type: ignore[attr-defined]
    assert waiting.key == ChangesKey.derive(scene.configuration.key, 7)


@pytest.mark.parametrize("error", [ServerUnreachable("off"), AuthenticationRefused("no")])
def test_after_a_failure_everything_is_found_anew_and_nothing_is_waited_for(
    scene: Scene, error: BootError
) -> None:
    scene.client.answers = [{}, error, {}]
    scene.upstream.fetch()
    scene.upstream.watch(3)
    with pytest.raises(type(error)):
        scene.upstream.fetch()
    assert scene.watch.set_to[-1] is None
    scene.upstream.watch(3)
    assert scene.watch.set_to[-1] is None
    scene.upstream.fetch()
    assert scene.connected == 2


def test_the_run_level_is_told(scene: Scene) -> None:
    scene.client.answers = [1]
    scene.upstream.report(RunLevel.BOOT)
    assert scene.client.calls == [("ReportRunlevel", {"run_level": "boot"})]
