"""The run of a classic server's node, which only the node remembers."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from host.classic_run import STATES, ClassicRun, ForgetfulMemory
from host.events import Events
from images.cache import Cache
from images.documents import Documents
from images.run_memory import RunRecord
from tests.unit.classic.plcapi import OldServer, client, configuration, details, record
from wire.messages import TargetState


def test_a_run_is_the_same_until_something_else_is_wanted():
    server = OldServer(BootUpdateNode=1, BootNotifyOwners=1)
    memory = ForgetfulMemory()

    def said(state):
        server.answers["BootGetNodeDetails"] = record(state)
        # Each time a new connection, as after a power cut.
        return details(client(server, memory=memory))

    first = said("rins")
    assert said("rins") == first
    client(server, memory=memory).call("BootUpdateNode", {"boot_state": "boot", "run_id": first.run_id})
    stubborn = said("rins")
    assert stubborn == first, "a server that forgets the report must not install the node over and over"
    done = said("boot")
    assert (done.run_id, done.generation) == (first.run_id, first.generation + 1)
    second = said("rins")
    assert second.run_id != first.run_id
    assert second.generation == done.generation + 1
    third = said("inst")
    assert third.run_id != second.run_id, "another installation was asked for"


@given(st.lists(st.sampled_from(sorted(STATES)), min_size=1))
def test_generations_never_go_back_and_tell_every_change(states):
    run = ClassicRun()
    for state in states:
        before, run = run, run.after(state, state)
        assert run.generation == before.generation + (run.seen != before.seen)
        assert run.run_id == before.run_id or run.generation > before.generation
        assert run.is_open == (STATES[state] in (TargetState.NEW, TargetState.INST, TargetState.RINS))
        assert run.run_id or not run.is_open


def test_a_run_is_remembered_on_the_dongle_and_in_memory(tmp_path):
    key = configuration().key

    def memory(ram, dongle):
        cache = Cache(tmp_path / dongle if dongle else None, Events("t"))
        return RunRecord(Documents(cache, key), tmp_path / ram)

    (tmp_path / "dongle").mkdir()
    run = ClassicRun().after("rins", "x")
    memory("ram", "dongle").save(run)
    assert memory("ram", "").load() == run, "a dongle that was pulled out"
    assert memory("other-boot", "dongle").load() == run, "a power cut"
    assert memory("other-boot", "").load() == ClassicRun()
    (tmp_path / "ram/classic-run.json").write_text("{}junk")
    assert memory("ram", "").load() == ClassicRun()
    newer = replace(run, generation=run.generation + 1)
    memory("ram", "").save(newer)
    assert memory("ram", "dongle").load() == newer, "the newer copy counts"
