"""What a proven node may change, and what not."""

import pytest

from bootserver import events, methods
from host.server import CallRefused
from tests.unit.bootserver_deployment import event
from wire.messages import TargetState


@pytest.fixture
def client(server):
    return server.client()


@pytest.mark.parametrize("state", ["new", "inst", "rins"])
def test_a_finished_installation_becomes_boot(server, client, state):
    server.set(boot_state=state)
    before = server.node()
    client.call("BootUpdateNode", {"boot_state": "boot", "run_id": before.run_id})
    after = server.node()
    assert (after.boot_state, after.run_id) == ("boot", before.run_id)
    assert after.generation == before.generation + 1


def test_saying_it_again_changes_nothing(server, client):
    change = {"boot_state": "boot", "run_id": server.node().run_id}
    client.call("BootUpdateNode", change)
    generation = server.node().generation
    client.call("BootUpdateNode", change)
    assert server.node().generation == generation


def test_an_older_run_cannot_say_that_a_newer_one_is_finished(server, client):
    older = server.node().run_id
    server.cli("node", "state", "node1", "rins")
    with pytest.raises(CallRefused, match="fault 108"):
        client.call("BootUpdateNode", {"boot_state": "boot", "run_id": older})
    assert server.node().boot_state == "rins"


@pytest.mark.parametrize(
    ("intent", "change"),
    [
        ("inst", {"boot_state": "boot"}),
        ("inst", {"boot_state": "dbg"}),
        ("inst", {"boot_state": "rins"}),
        ("boot", {"boot_state": "inst"}),
        ("dbg", {"boot_state": "boot"}),
        ("boot", {"boot_state": "dbg"}),
        ("inst", {"boot_state": True}),
    ],
)
def test_a_node_changes_no_other_intent(server, client, intent, change):
    server.set(boot_state=intent)
    run = {} if change == {"boot_state": "boot"} and intent == "inst" else {"run_id": server.node().run_id}
    with pytest.raises(CallRefused, match="fault 108"):
        client.call("BootUpdateNode", {**change, **run})
    assert server.node().boot_state == intent


@pytest.mark.parametrize("field", ["name", "sealed_key", "ssh_keys", "system_disk", "generation"])
def test_a_node_does_not_change_its_configuration(client, field):
    with pytest.raises(CallRefused, match=f"fault 102.*{field}"):
        client.call("BootUpdateNode", {field: "x"})


def test_a_refused_update_changes_nothing_at_all(server, client):
    with pytest.raises(CallRefused):
        client.call("BootUpdateNode", {"ssh_host_key": "ssh-ed25519 AA", "inventory": "not a struct"})
    assert server.node().ssh_host_keys == []


def test_host_keys_and_inventory_are_kept(server, client):
    client.call("BootUpdateNode", {"ssh_host_keys": ["a 1\n", "b 2", ""], "inventory": {"disks": [2**41]}})
    assert server.node().ssh_host_keys == ["a 1", "b 2"]
    assert server.node().inventory == {"disks": [2**41]}
    client.call("BootUpdateNode", {"ssh_host_key": "c 3"})
    assert server.node().ssh_host_keys == ["c 3"]


@pytest.mark.parametrize(
    "change",
    [
        {"ssh_host_keys": "x"},
        {"ssh_host_keys": [1]},
        {"ssh_host_keys": ["x"] * (methods.HOST_KEYS + 1)},
        {"ssh_host_key": "x" * (methods.HOST_KEY_CHARACTERS + 1)},
        {"inventory": []},
        {"inventory": {"a": "x" * methods.INVENTORY_BYTES}},
        {"inventory": {"a": b"bytes"}},
    ],
)
def test_sizes_and_types_are_bounded(client, change):
    with pytest.raises(CallRefused, match="fault 102"):
        client.call("BootUpdateNode", change)


@pytest.mark.parametrize("level", ["boot", "safeboot", "failboot", "reinstall"])
def test_the_run_level_is_observed_and_no_intent(server, client, level):
    client.call("ReportRunlevel", {"run_level": level})
    assert (server.node().run_level, server.node().boot_state) == (level, "inst")


def told(server):
    return server.operator.get("/api/nodes/node1/events").json()


def test_events_are_kept_in_their_order(server, client):
    assert client.call("BootReportEvents", [event(1), event(2), event(3)]) == 3
    assert [row["seq"] for row in told(server)] == [1, 2, 3]


def test_events_told_again_are_kept_once(server, client):
    client.call("BootReportEvents", [event(1), event(2)])
    assert client.call("BootReportEvents", [event(1), event(2), event(2), event(3)]) == 1
    assert [row["seq"] for row in told(server)] == [1, 2, 3]


def test_the_same_number_after_a_restart_is_another_event(server, client):
    client.call("BootReportEvents", [event(1)])
    other = [
        {**event(1), "uptime": 9.0},
        {**event(1), "boot": "other"},
        {**event(1), "program": "configmanager"},
    ]
    assert client.call("BootReportEvents", other) == 3


def test_two_nodes_may_tell_the_same(server, client):
    server.add("node2")
    assert client.call("BootReportEvents", [event(1)]) == 1
    assert server.client("node2").call("BootReportEvents", [event(1)]) == 1


@pytest.mark.parametrize(
    "events",
    [
        "x",
        [1],
        [{}],
        [{"event": "x"}],
        [event(1) | {"seq": "1"}],
        [event(1) | {"event": "x" * 65}],
        [event(1) | {"event": 5}],
        [event(1) | {"detail": "x" * methods.EVENT_BYTES}],
        [event(n) for n in range(methods.EVENTS_PER_CALL + 1)],
    ],
    ids=range(9),
)
def test_strange_events_are_refused_as_a_whole(server, client, events):
    with pytest.raises(CallRefused, match="fault 102"):
        client.call("BootReportEvents", [event(99), *events] if isinstance(events, list) else events)
    assert told(server) == []


def test_old_events_make_room(server, client, monkeypatch):
    monkeypatch.setattr(events, "EVENTS_KEPT", 10)
    server.add("node2")
    server.client("node2").call("BootReportEvents", [event(1)])
    client.call("BootReportEvents", [event(n) for n in range(15)])
    client.call("BootReportEvents", [event(n) for n in range(15, 20)])
    assert [row["seq"] for row in told(server)] == list(range(10, 20))
    assert len(server.operator.get("/api/nodes/node2/events").json()) == 1


def test_slivers_of_a_node(server, client, tmp_path):
    (tmp_path / "key").write_text("ssh-ed25519 AAAA someone\n")
    (tmp_path / "init").write_text("#!/bin/sh\necho up\n")
    (tmp_path / "unit").write_text("[Service]\nExecStart=/bin/true\n")
    server.cli(
        *("slice", "add", "web", "--image", "sliver", "--key", tmp_path / "key"),
        *("--initscript", tmp_path / "init", "--attribute", "ports=tcp:8080:80"),
    )
    server.cli("slice", "add-node", "web", "node1")
    server.cli("service", "add", "node1", "metrics", "--unit", tmp_path / "unit")
    reply = client.call("GetSlivers")
    (sliver,) = reply["slivers"]
    assert sliver["name"] == "web"
    assert sliver["keys"] == [{"key_type": "ssh", "key": "ssh-ed25519 AAAA someone"}]
    assert sliver["attributes"] == [{"tagname": "ports", "value": "tcp:8080:80"}]
    assert sliver["initscript"] == "#!/bin/sh\necho up\n"
    assert reply["images"] == [{"name": "sliver", "manifest": "5" * 64}]
    assert [service["name"] for service in reply["services"]] == ["metrics"]
    assert client.call("BootGetNodeDetails")["images"] == reply["images"], "to be at hand after the install"


def test_an_expired_slice_is_no_longer_on_the_node(server, client):
    server.cli("slice", "add", "web", "--image", "sliver")
    server.cli("slice", "add-node", "web", "node1")
    assert client.call("GetSlivers")["slivers"]
    with server.state.database.write() as session:
        from bootserver import slices

        slices.find(session, "web").expires = 5
    assert client.call("GetSlivers")["slivers"] == []


def test_an_unpublished_sliver_image_does_not_hide_the_others(server, client):
    for name, image in (("one", "sliver"), ("two", "missing")):
        server.cli("slice", "add", name, "--image", image)
        server.cli("slice", "add-node", name, "node1")
    reply = client.call("GetSlivers")
    assert [sliver["name"] for sliver in reply["slivers"]] == ["one", "two"]
    assert [image["name"] for image in reply["images"]] == ["sliver"]


@pytest.mark.parametrize("state", list(TargetState))
def test_the_run_changes_with_every_wish_to_install_and_only_then(server, state):
    before = server.node()
    server.cli("node", "state", "node1", str(state))
    after = server.node()
    assert after.boot_state == state
    assert (after.run_id != before.run_id) == (state in ("new", "inst", "rins"))
    assert after.generation > before.generation
