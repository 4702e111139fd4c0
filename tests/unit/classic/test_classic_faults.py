"""Bad classic calls get the faults of the field."""

import pytest

from tests.unit.classic.nodes import REFUSED, fault_of, manager
from wire import xmlrpc


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("NoSuchMethod",), 100),
        (("system.listMethods",), 100),
        (("AuthCheck", 1), 101),
        (("BootUpdateNode",), 101),
        (("BootNotifyOwners", "newdisks"), 101),
        (("BootUpdateNode", "boot"), 102),
        (("BootUpdateNode", {"boot_state": "flying"}), 102),
        (("BootUpdateNode", {"boot_state": ["boot"]}), 102),
        (("BootUpdateNode", {"primary_network": {"mac": 5}}), 102),
        (("BootUpdateNode", {"primary_network": []}), 102),
        (("BootUpdateNode", {"ssh_host_key": "x" * 5000}), 102),
        (("BootNotifyOwners", 1, 0, 0, 0), 102),
        (("ReportRunlevel", {}), 102),
        (("ReportRunlevel", "boot"), 102),
        (("GetNodes", None, ["key"]), 102),
        (("GetNodes", {"key": "x"}), 102),
        (("GetNodes", True), 102),
        (("GetNodeFlavour", 99), 102),
    ],
)
def test_faults_have_the_codes_of_the_field(marked, words, code):
    node = manager(marked)
    body = xmlrpc.dump_call(words[0], [node.auth(*words[1:]), *words[1:]])
    assert fault_of(node.proxy.post, body)[0] == code


@pytest.mark.parametrize(
    "auth",
    [
        {"AuthMethod": "hmac"},
        {"AuthMethod": "hmac", "node_id": "1", "value": ""},
        {"AuthMethod": "hmac", "node_id": True, "value": ""},
        {"AuthMethod": "hmac", "node_id": 0, "value": ""},
        {"AuthMethod": "hmac", "node_id": 1, "value": 5},
        {"AuthMethod": "hmac", "node_id": 1, "value": "", "node_ip": 5},
        {"AuthMethod": "session"},
        {"AuthMethod": "session", "session": 5},
    ],
)
def test_a_malformed_auth_struct_is_a_bad_argument(marked, auth):
    assert fault_of(manager(marked).proxy.AuthCheck, auth)[0] == 102


@pytest.mark.parametrize(
    "method", ["password", "gpg", "anonymous", "capability", "hmac_dummybox", "HMAC", ""]
)
def test_other_ways_of_the_originals_to_authenticate_do_not_exist(marked, method):
    auth = {**manager(marked).auth(), "AuthMethod": method, "Username": "x", "AuthString": "x"}
    assert fault_of(manager(marked).proxy.AuthCheck, auth) == REFUSED


def test_a_fault_in_the_database_is_told_as_such(marked, monkeypatch):
    from bootserver import classic_methods, methods
    from bootserver.database import DatabaseUnusable

    def broken(visit):
        raise DatabaseUnusable("locked")

    monkeypatch.setitem(classic_methods.METHODS, "AuthCheck", methods.Method(broken, 0, 0))
    assert fault_of(manager(marked).hmac, "AuthCheck")[0] == 106


def test_a_programming_error_is_told_without_its_text(marked, monkeypatch, caplog):
    from bootserver import classic_methods, methods

    def broken(visit):
        raise RuntimeError("inner detail")

    monkeypatch.setitem(classic_methods.METHODS, "AuthCheck", methods.Method(broken, 0, 0))
    code, text = fault_of(manager(marked).hmac, "AuthCheck")
    assert code == 111
    assert "inner detail" not in text
    assert "inner detail" in caplog.text
