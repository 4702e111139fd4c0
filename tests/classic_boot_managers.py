"""The boot managers of 2007 and of the later years, written from a description of what they did.

They know nothing of this project: Python's own XML-RPC and HMAC, and the classic scheme by its definition.
"""

import hashlib
import hmac
import xmlrpc.client


def serialize(params):
    values = []
    for param in params:
        if isinstance(param, list | tuple):
            values += serialize(param)
        elif isinstance(param, dict):
            values += serialize(param.values())
        else:
            values.append(str(param))
    return values


def value_of(key, params):
    text = "[" + "".join(sorted(serialize(params))) + "]"
    return hmac.new(key.encode(), text.encode(), hashlib.sha1).hexdigest()


class BootManager:
    """Calls by `proxy`, something like xmlrpc.client.ServerProxy."""

    def __init__(self, proxy, node_id, key, node_ip="10.0.0.7"):
        self.proxy, self.node_id, self.key, self.node_ip = proxy, node_id, key, node_ip
        self.session = None

    def auth(self, *params):
        return {
            "AuthMethod": "hmac",
            "node_id": self.node_id,
            "node_ip": self.node_ip,
            "value": value_of(self.key, params),
        }

    def hmac(self, method, *params):
        return getattr(self.proxy, method)(self.auth(*params), *params)

    def in_session(self, method, *params):
        return getattr(self.proxy, method)({"AuthMethod": "session", "session": self.session}, *params)


def boot_of_2007(manager, states):
    """Install and boot as in 2007; `states` gets what the server said."""
    assert manager.hmac("BootCheckAuthentication") == 1
    details = manager.hmac("BootGetNodeDetails")
    assert set(details) == {"hostname", "boot_state", "model", "networks", "session"}
    primary = [network for network in details["networks"] if network["is_primary"] == 1]
    assert len(primary) == 1
    states.append(details["boot_state"])
    network = {
        "method": "dhcp",
        "mac": "52:54:00:AB:CD:EF",
        "gateway": "10.0.0.1",
        "network": "10.0.0.0",
        "broadcast": "10.0.0.255",
        "netmask": "255.255.255.0",
        "dns1": "10.0.0.2",
        "dns2": "",
    }
    assert manager.hmac("BootUpdateNode", {"primary_network": network}) == 1
    if details["boot_state"] in ("new", "inst"):
        assert manager.hmac("BootUpdateNode", {"boot_state": "rins"}) == 1
    if details["boot_state"] in ("new", "inst", "rins"):
        assert manager.hmac("BootUpdateNode", {"boot_state": "boot"}) == 1
        assert manager.hmac("BootUpdateNode", {"ssh_host_key": "ssh-rsa AAAA+/= root@node1"}) == 1
        assert manager.hmac("BootNotifyOwners", "installfinished", 0, 1, 0) == 1
        states.append(manager.hmac("BootGetNodeDetails")["boot_state"])


def boot_of_later_years(manager, states):
    """Install and boot as later: a session by an HMAC without parameters, and everything else in it."""
    manager.session = manager.hmac("GetSession")
    assert manager.in_session("AuthCheck") == 1
    assert manager.in_session("GetSession") == manager.session
    fields = ["boot_state", "nodegroup_ids", "interface_ids", "model", "site_id"]
    (node,) = manager.in_session("GetNodes", manager.node_id, fields)
    assert sorted(node) == sorted(fields)
    states.append(node["boot_state"])
    interfaces = manager.in_session("GetInterfaces", node["interface_ids"])
    assert [interface["is_primary"] for interface in interfaces] == [True]
    assert manager.in_session("BootUpdateNode", {}) == 1
    assert manager.in_session("ReportRunlevel", {"run_level": "reinstall"}) == 1
    flavour = manager.in_session("GetNodeFlavour", manager.node_id)
    names = {"arch", "fcdistro", "pldistro", "virt", "nodefamily", "extensions", "plain"}
    assert set(flavour) == names
    assert manager.in_session("GetNodeTags", {"node_id": manager.node_id, "tagname": "x"}) == []
    if node["boot_state"] in ("install", "reinstall"):
        assert manager.in_session("BootUpdateNode", {"boot_state": "reinstall"}) == 1
        assert manager.in_session("BootUpdateNode", {"boot_state": "boot"}) == 1
        assert manager.in_session("BootNotifyOwners", "installfinished", 1, 1, 0) == 1
    assert manager.in_session("ReportRunlevel", {"run_level": "boot"}) == 1
    (node,) = manager.in_session("GetNodes", [manager.node_id], ["boot_state"])
    states.append(node["boot_state"])
    return flavour


class MemoryProxy:
    """A ServerProxy without a network; keeps every body that it sent."""

    def __init__(self, web):
        self._web = web
        self.sent = []

    def __getattr__(self, method):
        def call(*params):
            return self.post(xmlrpc.client.dumps(params, method).encode())

        return call

    def post(self, body):
        self.sent.append(body)
        answer = self._web.post("/PLCAPI/", content=body)
        assert answer.status_code == 200
        # Without use_builtin_types and nil, as the older clients are.
        assert b"<nil" not in answer.content
        (result,), _ = xmlrpc.client.loads(answer.content)
        return result
