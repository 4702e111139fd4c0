"""The life of one boot: which plans run in which order, and what leads to debug mode and out of it."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from bootmanager import program as module
from bootmanager.debug import Released
from bootmanager.machine import State
from bootmanager.program import Program
from bootmanager.standing import Standing
from host.boot import Chain, ChainHow
from host.console import Console
from host.events import Events
from host.http import AnswerTooLong, NotAtServer, ServerUnreachable, ServerUntrusted
from host.mark import Mark, NotInstalled
from host.options import Options
from host.ports import Host
from host.report import ServerSink
from host.run import CommandFailed, Runner
from host.server import AuthenticationRefused, CallRefused, ServerClient, ServerNotAuthentic, ServerTrouble
from hwdetect.inventory import Inventory
from images.cache import Cache
from images.neighbours import Neighbours
from images.trust_errors import OfflineTooLong
from steps.base import Effect, Step, holds
from steps.update_medium import Untouched
from wire.messages import NO_DISK_ORDER, DiskOrder, DiskRecord, ImageRef, NodeDetails, TargetState
from wire.nodeconf import NodeConfiguration
from wire.nodenet import NetworkSettings
from wire.session import NodeKey
from wire.structure import MalformedMessage, unstructure

NO_CACHE = Cache(None, Events("test"))
CONFIGURATION = NodeConfiguration(7, NodeKey(bytes(32)), "http://x", NetworkSettings())


class Node:
    """A program whose plans are replaced by what the test says; records what ran."""

    def __init__(
        self,
        monkeypatch,
        *,
        wanted="boot",
        forced="auto",
        installed_for=None,
        failures=(),
        order=NO_DISK_ORDER,
        records=(),
        newer=False,
        folder=Path("/nowhere"),
    ):
        self.wanted, self.failures = wanted, list(failures)
        self.order, self.records = order, records
        self.ran, self.causes, self.told, self.left = [], [], [], []
        # For each look for a newer medium, whether one might be started then.
        self.looked, self.newer = [], newer
        self.calls, self.known = [], 0
        # Facts go by their class, so the fake is a ServerClient whose one method is replaced.
        self.client = ServerClient.__new__(ServerClient)
        self.client.call = lambda method, *params: self.calls.append((method, *params))
        monkeypatch.setattr(module, "steps_for", lambda state, _: (self.step(state),))
        monkeypatch.setattr(module, "steps_named", lambda names, _: (self.looking(),))
        monkeypatch.setattr(module, "remember", lambda facts: self.known)
        monkeypatch.setattr(module, "describe", lambda inventory: "inventory")
        monkeypatch.setattr(module, "leave", lambda run, how: self.left.append(how))
        monkeypatch.setattr(module, "read_mark", lambda run: self.mark(installed_for))
        monkeypatch.setattr(module.DebugMode, "listen", lambda debug: None)
        monkeypatch.setattr(module.DebugMode, "stay", lambda debug, cause, was: self.stay(cause, was))
        self.wish, self.wishes = "auto", []
        monkeypatch.setattr(module.PeakMemory, "start", lambda memory: None)
        self.reported = []
        monkeypatch.setattr(
            module.FailureReport,
            "begin",
            lambda _, facts, was, cause: self.reported.append((cause.code, was)),
        )
        monkeypatch.setattr(module, "FLUSH_SECONDS", 0)
        monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
        events = Events("bootmanager", (self.told.append,))
        host = Host(Runner(), None, events, Console([]), Options(state=forced), folder)
        self.program = Program(host, ServerSink())

    def mark(self, node_id):
        if node_id is None:
            raise NotInstalled("nothing there")
        return Mark("r1", node_id, (), "")

    def stay(self, cause, was):
        self.causes.append((cause.code if cause else "", was))
        if len(self.causes) > 5:
            raise AssertionError("debug mode again and again")
        if not self.failures:
            self.wanted = "boot"
        return Released("released", self.wishes.pop(0) if self.wishes else self.wish)

    def step(self, state):
        node = self

        class Plan(Step):
            name = f"plan-{state}"
            title = "All of a state's steps"
            effect = Effect.READS

            def observe(self, context):
                if node.failures and node.failures[0][0] == state:
                    _, error, facts = node.failures.pop(0)
                    if facts:
                        node.program._engine.facts = node.program._engine.facts.plus(*facts)
                    raise error
                node.ran.append(str(state))
                return holds(*node.facts(state))

        return Plan()

    def looking(self):
        node = self

        class Look(Step):
            name, title, effect = "medium", "Look for a newer medium", Effect.READS

            def observe(self, context):
                node.looked.append(Untouched in context.facts)
                return holds(*([Chain(ChainHow.MEDIUM)] if node.newer else []))

        return Look()

    def facts(self, state):
        if state is State.AUTO:
            inventory = Inventory.__new__(Inventory)
            return (CONFIGURATION, NO_CACHE, self.client, self.details(), inventory)
        return {State.BOOT: (Chain(ChainHow.KEXEC),), State.OTHER: (Chain(ChainHow.DISK),)}.get(state, ())

    def details(self):
        return NodeDetails(
            7,
            "n1",
            TargetState(self.wanted),
            "r1",
            3,
            ImageRef("base", "ab"),
            disk_image=self.order,
            disk_records=self.records,
        )

    def run(self):
        self.program.run()
        return self.ran


def make(monkeypatch, **how):
    return Node(monkeypatch, **how)


@pytest.mark.parametrize(
    ("wanted", "plans"),
    [
        ("boot", ["auto", "boot"]),
        ("inst", ["auto", "inst", "boot"]),
        ("rins", ["auto", "rins", "boot"]),
        # The first "inst" is the plan, looked at and shown before the technician is asked.
        ("new", ["auto", "inst", "new", "inst", "boot"]),
        ("dbg", ["auto", "auto", "boot"]),
    ],
)
def test_each_target_state(monkeypatch, wanted, plans):
    node = make(monkeypatch, wanted=wanted)
    assert node.run() == plans
    assert node.left == [ChainHow.KEXEC]


def test_a_forced_state_wins_over_the_intent(monkeypatch):
    assert make(monkeypatch, wanted="boot", forced="rins").run() == ["auto", "rins", "boot"]


def test_the_operators_debug_mode_is_no_failure(monkeypatch):
    node = make(monkeypatch, wanted="dbg")
    node.run()
    assert (node.causes, node.reported) == ([("", State.DBG)], [])
    assert ("ReportRunlevel", {"run_level": "safeboot"}) in node.calls


@pytest.mark.parametrize("state", [State.AUTO, State.NEW, State.INST, State.RINS, State.BOOT])
def test_every_failure_leads_to_debug_mode_and_out_of_it(monkeypatch, state):
    wanted = "inst" if state in (State.AUTO, State.BOOT) else str(state)
    node = make(monkeypatch, wanted=wanted, failures=[(state, NotInstalled("why"), ())])
    node.run()
    assert node.causes == node.reported == [("not-installed", state)]
    errors = [event.data for event in node.told if event.event == "error"]
    assert [error["code"] for error in errors] == ["not-installed"]
    assert errors[0]["state"] == state
    assert node.left == [ChainHow.KEXEC]


def test_a_disk_that_fails_leads_there_too_with_the_name_of_the_step(monkeypatch):
    error = OSError(errno.EIO, "Input/output error", "/dev/sda")
    node = make(monkeypatch, wanted="inst", failures=[(State.INST, error, ())])
    node.run()
    assert node.causes == [("disk-write-failed", State.INST)]
    (failed,) = [event.data for event in node.told if event.event == "step.failed"]
    detail = "/dev/sda: Input/output error"
    assert failed == {"step": "plan-inst", "code": "disk-write-failed", "detail": detail}


@pytest.mark.parametrize(
    "error",
    [
        CallRefused("fault 108"),
        ServerTrouble("fault 111"),
        NotAtServer("http://x/PLCAPI/"),
        MalformedMessage("a page"),
        AnswerTooLong("x"),
    ],
    ids=lambda error: error.code,
)
def test_a_run_level_that_cannot_be_told_does_not_keep_it_out_of_debug_mode(monkeypatch, error):
    node = make(monkeypatch, wanted="inst", failures=[(State.INST, NotInstalled("why"), ())])

    def refuse(method, *params):
        raise error

    node.client.call = refuse
    node.run()
    assert node.causes == [("not-installed", State.INST)]
    untold = {event.data["code"] for event in node.told if event.event == "runlevel.unreported"}
    assert untold == {error.code}


@pytest.mark.parametrize(("known", "told"), [(3, False), (4, True)])
def test_a_server_that_went_back_counts_and_is_told_of(monkeypatch, known, told):
    node = make(monkeypatch)
    node.known = known
    assert node.run() == ["auto", "boot"]
    heard = [event.data for event in node.told if event.event == "configuration.older"]
    assert heard == ([{"generation": 3, "known": 4}] if told else [])


def away(facts=(CONFIGURATION,), error=ServerUnreachable("refused")):  # noqa: B008 - it is only raised
    return [(State.AUTO, error, facts)] * 4


def test_without_its_server_an_installed_node_boots(monkeypatch):
    node = make(monkeypatch, installed_for=7, failures=away())
    assert node.run() == ["boot"]
    assert node.causes == []


@pytest.mark.parametrize(
    "error",
    [
        ServerUntrusted("https://x: self-signed certificate"),
        ServerNotAuthentic("a portal's page"),
        NotAtServer("http://x/PLCAPI/"),
        AnswerTooLong("http://x/PLCAPI/"),
    ],
    ids=lambda error: error.code,
)
def test_junk_in_place_of_the_server_stops_no_installed_node(monkeypatch, error):
    """Whoever sits on the path may take the server away, but not the node."""
    failure = (State.AUTO, error, (CONFIGURATION,))
    node = make(monkeypatch, installed_for=7, failures=[failure])
    assert node.run() == ["boot"]
    assert node.causes == []


def test_a_server_with_a_full_disk_stops_no_installed_node(monkeypatch):
    node = make(monkeypatch, installed_for=7, failures=away(error=ServerTrouble("fault 106: disk is full")))
    assert node.run() == ["boot"]
    assert node.causes == []


@pytest.mark.parametrize(
    ("installed_for", "forced", "facts"),
    [
        (None, "auto", (CONFIGURATION,)),
        (8, "auto", (CONFIGURATION,)),
        (7, "rins", (CONFIGURATION,)),
        (7, "auto", ()),
    ],
    ids=["nothing installed", "another node's disk", "a reinstallation is wanted", "not known who we are"],
)
def test_without_its_server_other_nodes_wait_in_debug_mode(monkeypatch, installed_for, forced, facts):
    node = make(monkeypatch, installed_for=installed_for, forced=forced, failures=away(facts))
    node.run()
    assert node.causes == [("server-unreachable", State.AUTO)]


@pytest.mark.parametrize(
    "error",
    [AuthenticationRefused("no"), MalformedMessage("signed"), CallRefused("fault 108")],
    ids=lambda error: error.code,
)
def test_what_the_server_itself_says_keeps_a_node_from_booting_alone(monkeypatch, error):
    node = make(monkeypatch, installed_for=7, failures=[(State.AUTO, error, (CONFIGURATION,))])
    node.run()
    assert node.causes == [(error.code, State.AUTO)]


def known(intent):
    """What the dongle remembers of the server's last answer."""
    return NodeDetails(7, "n1", TargetState(intent), "r9", 3, ImageRef("base", "ab"))


@pytest.mark.parametrize(
    ("intent", "forced", "plans"),
    [("rins", "auto", "rins"), ("inst", "auto", "inst"), ("boot", "rins", "rins"), ("dbg", "inst", "inst")],
)
def test_without_its_server_a_node_installs_what_was_last_asked(monkeypatch, intent, forced, plans):
    node = make(monkeypatch, forced=forced, failures=away())
    monkeypatch.setattr(module, "remembered", lambda facts, run: known(intent))
    assert node.run() == [plans, "boot"]
    assert node.causes == []
    assert node.program._engine.facts[NodeDetails].run_id == "r9"


def test_a_disk_that_boots_is_not_installed_without_the_server(monkeypatch):
    node = make(monkeypatch, installed_for=7, failures=away())
    monkeypatch.setattr(module, "remembered", lambda facts, run: known("rins"))
    assert node.run() == ["boot"]


@pytest.mark.parametrize("intent", ["boot", "dbg", "new"])
def test_without_its_server_nothing_is_installed_that_was_not_asked_for(monkeypatch, intent):
    node = make(monkeypatch, failures=away())
    monkeypatch.setattr(module, "remembered", lambda facts, run: known(intent))
    node.run()
    assert node.causes == [("server-unreachable", State.AUTO)]


def test_metadata_that_are_too_old_end_in_debug_mode(monkeypatch):
    failures = [*away(), (State.RINS, OfflineTooLong("31 days"), ())]
    node = make(monkeypatch, failures=failures)
    monkeypatch.setattr(module, "remembered", lambda facts, run: known("rins"))
    node.run()
    assert node.causes == [("offline-too-long", State.RINS)]


def test_a_failure_ends_the_sharing_of_images(monkeypatch):
    closed = []
    monkeypatch.setattr(Neighbours, "close", lambda near: closed.append(near))
    near = Neighbours.__new__(Neighbours)
    node = make(monkeypatch, wanted="inst", failures=[(State.INST, NotInstalled("why"), (near,))])
    node.run()
    assert closed == [near]


# --- a newer boot medium ---


def test_a_newer_medium_is_started_before_anything_is_done(monkeypatch):
    node = make(monkeypatch, wanted="rins", newer=True)
    assert node.run() == ["auto"]
    assert node.left == [ChainHow.MEDIUM]
    assert [event.data["how"] for event in node.told if event.event == "chain.started"] == ["medium"]
    assert node.told[-2].data["reason"] == "a newer boot medium starts in place of this one"
    assert not [call for call in node.calls if call[0] == "ReportRunlevel"]


def test_a_node_that_nobody_has_touched_looks_for_one(monkeypatch):
    node = make(monkeypatch)
    assert node.run() == ["auto", "boot"]
    assert node.looked == [True]


def test_who_chose_a_state_at_the_menu_gets_the_medium_that_is_plugged_in(monkeypatch):
    node = make(monkeypatch, forced="rins")
    node.run()
    assert node.looked == [False]


def test_after_debug_mode_no_other_medium_is_started(monkeypatch):
    """What was set there is in memory only: a state, the network, somebody's shell."""
    node = make(monkeypatch, wanted="inst", failures=[(State.INST, NotInstalled("why"), ())])
    node.run()
    assert node.looked == [True, False]


def test_a_program_that_was_started_again_knows_of_debug_mode_before(monkeypatch, tmp_path):
    Standing(1, "auto").save(tmp_path)
    node = make(monkeypatch, folder=tmp_path)
    node.run()
    assert node.looked == [False]


def test_without_its_server_no_other_medium_is_started(monkeypatch):
    """It could not be told from one that does not report."""
    node = make(monkeypatch, installed_for=7, failures=away(), newer=True)
    assert node.run() == ["boot"]
    assert node.looked == []


# --- another system ---

ORDER = DiskOrder("o1", ImageRef("appliance", "cd"))
WHOLE = DiskRecord("o1", ORDER.image, "S-1", "", 8192, "0badcafe", "", whole=True)
WRITING = replace(WHOLE, whole=False)


@pytest.mark.parametrize(
    ("wanted", "order", "records", "plans"),
    [
        ("boot", ORDER, (), ["auto", "image", "other"]),
        ("boot", ORDER, (WRITING,), ["auto", "image", "other"]),
        ("boot", ORDER, (WHOLE,), ["auto", "other"]),
        ("boot", replace(ORDER, id="o2"), (WHOLE,), ["auto", "image", "other"]),
        # Taken back: what is on the disk decides, and that is no finished installation.
        ("boot", NO_DISK_ORDER, (WHOLE,), ["auto", "boot"]),
        ("rins", NO_DISK_ORDER, (WHOLE,), ["auto", "rins", "boot"]),
        # Ordered for a node that is not one yet.
        ("inst", ORDER, (), ["auto", "inst", "boot"]),
    ],
)
def test_another_system_is_written_once_and_started_each_time(monkeypatch, wanted, order, records, plans):
    node = make(monkeypatch, wanted=wanted, order=order, records=records)
    assert node.run() == plans
    assert node.left == [ChainHow.DISK if plans[-1] == "other" else ChainHow.KEXEC]


def test_the_server_is_told_before_the_machine_is_handed_over(monkeypatch):
    node = make(monkeypatch, order=ORDER)
    node.run()
    levels = [fields["run_level"] for method, fields in node.calls if method == "ReportRunlevel"]
    assert levels == ["reinstall", "diskimage"]


def test_a_record_that_the_server_lacks_is_told_at_the_next_boot(monkeypatch):
    node = make(monkeypatch, order=ORDER, records=(WRITING,))
    monkeypatch.setattr(module.DiskRecords, "of", lambda records, order: WHOLE)
    assert node.run() == ["auto", "other"]
    told = [fields["disk_record"] for method, fields in node.calls if method == "BootUpdateNode"]
    assert told == [unstructure(WHOLE)]


@pytest.mark.parametrize("state", [State.IMAGE, State.OTHER])
def test_a_failure_on_the_way_to_another_system_leads_to_debug_mode(monkeypatch, state):
    failures = [(state, NotInstalled("why"), ())]
    node = make(monkeypatch, order=ORDER, failures=failures)
    node.run()
    assert node.causes == node.reported == [("not-installed", state)]


@pytest.mark.parametrize(
    ("records", "installed_for", "plans"),
    [
        ((WHOLE,), None, ["other"]),
        # An image of a node's disk may look like an installation.
        ((WHOLE,), 7, ["other"]),
        ((WRITING,), None, ["image", "other"]),
        ((), None, ["image", "other"]),
        # Nothing was given up for the image so far.
        ((), 7, ["boot"]),
    ],
)
def test_without_its_server_another_system_is_started(monkeypatch, records, installed_for, plans):
    node = make(
        monkeypatch, installed_for=installed_for, failures=away((CONFIGURATION, NO_CACHE)), order=ORDER
    )
    node.records = records
    monkeypatch.setattr(module, "remembered", lambda facts, run: node.details())
    assert node.run() == plans
    assert node.causes == []


def test_a_state_that_a_person_names_counts_once(monkeypatch):
    node = make(monkeypatch, wanted="dbg")
    node.wish = "rins"
    assert node.run() == ["auto", "auto", "rins", "boot"]


@pytest.mark.parametrize("state", ["dbg", "rins"])
def test_a_forced_state_stays_forced_when_the_server_answers_again(monkeypatch, state):
    """Who chose debug mode to save data would find the disks written once the network is up."""
    node = make(monkeypatch, wanted="inst", forced=state, failures=away())
    node.wishes = [None, "boot"]
    assert node.run() == ["auto", *(["rins", "boot"] if state == "rins" else ["auto", "boot"])]
    assert node.causes[0] == ("server-unreachable", State.AUTO)


def test_a_forced_installation_is_not_made_twice(monkeypatch):
    node = make(monkeypatch, forced="rins", failures=[(State.BOOT, NotInstalled("why"), ())])
    node.wishes = [None]
    assert node.run() == ["auto", "rins", "auto", "boot"]


def test_what_cannot_be_started_leads_to_debug_mode_too(monkeypatch):
    node = make(monkeypatch)
    started, unloaded = [CommandFailed(["systemctl", "kexec"], 1, "timed out"), None], []
    unload = [CommandFailed(["kexec", "--unload"], 1, "busy")]

    def leave(run, how):
        if (error := started.pop(0)) is not None:
            raise error

    def unload_kernel(run):
        unloaded.append(node.program._machine.state)
        raise unload.pop()

    monkeypatch.setattr(module, "leave", leave)
    monkeypatch.setattr(module, "unload_kernel", unload_kernel)
    assert node.run() == ["auto", "boot", "auto", "boot"]
    assert node.causes == [("command-failed", State.CHAINED)]
    # Else the next state would take it for the one that it wants to start.
    assert unloaded == [State.DBG]
    assert started == []
