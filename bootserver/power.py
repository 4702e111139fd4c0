"""Who controls a node's power, kept with the node: address, user, sealed password, known certificate."""

from __future__ import annotations

from sqlalchemy.orm import Session

from bootserver.bmc import Bmc
from bootserver.events import tell
from bootserver.ipmi import Ipmi
from bootserver.redfish import Redfish
from bootserver.tables import Node, Power
from host.run import Runner
from wire.errors import ConfigurationError
from wire.sealing import MasterKey

_IPMI = "ipmi"
_REDFISH = "redfish"


class NoPowerControl(ConfigurationError):
    """Nothing is known that controls the node's power."""

    code = "no-power-control"
    title = "Nothing controls this node's power"
    hint = "Say what does: bootserver node power NAME set --redfish https://HOST --user USER."


def keep(session: Session, master: MasterKey, node: Node, bmc: Redfish | Ipmi) -> None:
    """Let that controller be the node's from now on."""
    kept = session.get(Power, node.id) or Power(node_id=node.id)
    kept.kind = _REDFISH if isinstance(bmc, Redfish) else _IPMI
    kept.address, kept.user = bmc.address, bmc.user
    kept.fingerprint = bmc.fingerprint if isinstance(bmc, Redfish) else ""
    kept.sealed_password = master.seal(bmc.password.encode(), purpose(node.id))
    session.add(kept)
    tell(session, node, "power.set", by=f"{kept.kind} {kept.address}")


def forget(session: Session, node: Node) -> None:
    """Let the node have none. Raises NoPowerControl."""
    session.delete(_kept(node))
    tell(session, node, "power.unset")


def bmc_of(master: MasterKey, node: Node) -> Bmc:
    """Return the node's controller. Raises NoPowerControl, CannotUnseal."""
    kept = _kept(node)
    password = master.unseal(kept.sealed_password, purpose(node.id)).decode()
    if kept.kind == _REDFISH:
        return Redfish(kept.address, kept.user, password, kept.fingerprint)
    return Ipmi(kept.address, kept.user, password, Runner())


def purpose(node_id: int) -> str:
    """Return what the password of a node's controller is sealed for."""
    return f"power of node {node_id}"


def _kept(node: Node) -> Power:
    if node.power is None:
        raise NoPowerControl(node.name)
    return node.power
