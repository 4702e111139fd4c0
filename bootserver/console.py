"""Console passwords, as hashes (wire.password): one of the deployment, and nodes that have their own."""

from __future__ import annotations

from sqlalchemy.orm import Session

from bootserver.generations import changed
from bootserver.tables import Node, Setting

_KEY = "console_password"


def password_of(session: Session, node: Node) -> str:
    """Return the hash that counts at a node's console, "" for none."""
    return node.console_password or _of_all(session).value


def set_for_all(session: Session, hashed: str, nodes: list[Node]) -> None:
    """Set the deployment's, "" for none; `nodes` are all that there are, who are told."""
    setting = _of_all(session)
    setting.value = hashed
    session.add(setting)
    changed(*nodes)


def set_for_node(node: Node, hashed: str) -> None:
    """Set a node's own, "" to let the deployment's count."""
    node.console_password = hashed
    changed(node)


def _of_all(session: Session) -> Setting:
    return session.get(Setting, _KEY) or Setting(key=_KEY, value="")
