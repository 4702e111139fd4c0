"""A key that is used from two places at once is noticed; a node's ordinary life is not."""

import pytest

from bootserver.sessions import Auth
from bootserver.turns import RETURNS_NO_DIFFERENCE, Turns
from host.server import ServerClient
from tests.unit.bootserver_deployment import event

HERE, THERE = ("10.0.0.5", "10.0.0.5"), ("10.9.9.9", "10.9.9.9")


class Watch:
    """Says what is noticed when sessions speak one after another, each by its letter."""

    def __init__(self):
        self.turns = Turns()
        self.places = {}

    def says(self, order, boots=None):
        found = []
        for letter in order:
            address, peer = self.places.get(letter, HERE)
            call = ("GetSlivers", [])
            if boots:
                call = ("BootReportEvents", [[event(1), event(2, boot=boots[letter])]])
            found.append(self.turns.spoke(Auth(1, address, letter, 1, ""), peer, *call))
        return [turn for turn, places in enumerate(found) if places]


@pytest.fixture
def watch():
    return Watch()


def test_one_session_after_another_is_a_nodes_life(watch):
    assert watch.says("AAABBBCCCDDDEEE") == []


def test_a_reboot_with_another_address_is_no_alarm(watch):
    watch.places = {"B": THERE}
    assert watch.says("AAABBB", boots={"A": "b1", "B": "b2"}) == []


def test_a_boot_that_comes_back_after_a_later_one_is_noticed_at_once(watch):
    assert watch.says("AABA", boots={"A": "b1", "B": "b2"}) == [3]


def test_sessions_of_one_boot_that_take_turns_are_not_noticed_at_once(watch):
    assert watch.says("ABABA", boots={"A": "b1", "B": "b1"}) == []


def test_a_session_from_elsewhere_between_two_calls_is_noticed_at_once(watch):
    watch.places = {"B": THERE}
    assert watch.says("AABA") == [3]


def test_another_session_for_each_call_does_not_hide_it(watch):
    watch.places = dict.fromkeys("BCD", ("10.0.0.5", "10.9.9.9"))
    assert watch.says("ABACADA") == [4, 6]


@pytest.mark.parametrize("there", [("10.0.0.6", "192.0.2.1"), ("10.0.0.5", "192.0.2.2")])
def test_one_difference_has_to_be_seen_twice(watch, there):
    """Behind one translator with another address; or the same address, as all private networks have it."""
    watch.places = {"A": ("10.0.0.5", "192.0.2.1"), "B": there}
    assert watch.says("ABA") == []
    assert watch.says("B") == []
    assert watch.says("A") == [0]


def test_another_address_by_dhcp_while_the_program_runs_is_no_alarm(watch):
    """Calls of the older session still name the address of before, and come from the new one."""
    assert watch.says("AA") == []
    watch.places = {"A": (HERE[0], THERE[1]), "B": THERE, "C": THERE, "D": THERE}
    assert watch.says("BABAB" + "CADA" + "DDD") == []


def test_a_technicians_command_beside_the_program_is_no_alarm(watch):
    assert watch.says("AABABAACACAADAA") == []


def test_two_programs_side_by_side_for_long_are_noticed_whatever_they_say_of_themselves(watch):
    assert watch.says("AB" * RETURNS_NO_DIFFERENCE) == []
    assert watch.says("AB") == [1]


def test_nodes_are_apart(watch):
    for _ in range(9):
        for node_id, session in ((1, "A"), (2, "B")):
            auth = Auth(node_id, HERE[0], session, 1, "")
            assert watch.turns.spoke(auth, HERE[1], "GetSlivers", []) is None


def test_a_node_of_many_sessions_is_remembered_within_bounds(watch):
    watch.says("ABCDEFGHIJ")
    assert len(watch.turns._nodes[1]) == 3


@pytest.mark.parametrize("params", [[], [[]], ["x"], [["x"]], [[{"boot": 5}]], [[{}]], [None]])
def test_strange_events_are_no_boot(watch, params):
    for session in "ABA":
        assert (
            watch.turns.spoke(Auth(1, HERE[0], session, 1, ""), HERE[1], "BootReportEvents", params) is None
        )


def thief(server, address="10.9.9.9"):
    client = server.client()
    return ServerClient(client.wire, server.node().id, server.key(), address)


def rows(server):
    return [
        row for row in server.operator.get("/api/nodes/node1/events").json() if row["event"] == "key.shared"
    ]


def steal(server):
    node, other = server.client(), thief(server)
    for _ in range(3):
        node.call("GetSlivers")
        other.call("GetSlivers")
    return node, other


def test_the_operator_sees_it_everywhere(server):
    assert "two places" not in server.operator.get("/").text
    node, _ = steal(server)
    (row,) = rows(server)
    assert row["program"] == "bootserver"
    assert "10.0.2.15" in row["places"]
    assert "10.9.9.9" in row["places"]
    assert "KEY IN TWO PLACES" in server.cli("node", "list")
    assert "10.9.9.9" in server.cli_json("node", "list")[0]["shared_key"]
    assert "10.9.9.9" in server.cli("node", "show", "node1")
    for page in ("/", "/nodes/node1"):
        assert "key in two places" in server.operator.get(page).text
    assert node.call("GetSlivers")["hostname"] == "node1", "the server cannot know which of them is the node"


def test_it_is_told_once_an_hour(server):
    steal(server)
    steal(server)
    assert len(rows(server)) == 1
    server.set(shared_key_at=server.node().shared_key_at - 3601)
    steal(server)
    assert len(rows(server)) == 2


def test_another_key_or_the_operators_word_takes_the_mark_away(server):
    for command in ("rotate-key", "accept-key"):
        steal(server)
        assert server.node().shared_key
        server.cli("node", command, "node1")
        assert server.node().shared_key == ""
    steal(server)
    assert server.node().shared_key, "and it comes again when it happens again"


def test_a_call_that_is_not_authentic_raises_no_alarm(server):
    node = server.client()
    for _ in range(4):
        node.call("GetSlivers")
        recorded = node.wire.sent[-1].replace(b"10.0.2.15", b"10.9.9.9")
        assert server.post(recorded).faultCode == 103
    assert server.node().shared_key == ""


def test_reboots_and_new_addresses_of_the_real_client_are_no_alarm(server):
    for number in range(5):
        node = thief(server, f"10.0.0.{number}")
        for seq in (1, 2):
            node.call("BootReportEvents", [event(seq, boot=f"boot-{number}")])
        node.call("GetSlivers")
    assert server.node().shared_key == ""
