"""A classic node's boot manager before a server in memory, and what a refusal looks like to it."""

from xmlrpc.client import Fault

import pytest

from bootserver.calls import REFUSAL
from tests.classic_boot_managers import BootManager, MemoryProxy

OTHER_KEY = "0123456789abcdef0123456789abcdef"
REFUSED = (103, REFUSAL)


def manager(server, name="node1", *, key=None):
    return BootManager(MemoryProxy(server.web), server.node(name).id, key or server.key(name).to_text())


def fault_of(call, *words):
    with pytest.raises(Fault) as raised:
        call(*words)
    return raised.value.faultCode, raised.value.faultString


def node_id_of(server, **form):
    """Return what getnodeid answers."""
    answer = server.web.post("/boot/getnodeid.php", data=form)
    assert answer.status_code == 200
    return answer.text
