"""Another installation of this node: bootmanager makes it at the next boot."""

from __future__ import annotations

from typing import ClassVar

from configmanager.backends.base import Action, Backend, Item, Reboot, Verb
from wire.slivers import NodeSlivers


class Reinstall(Backend):
    """Nothing of its own on the node: the difference to a wanted installation is a reboot.

    A node that reboots and comes back as it was, because its firmware does not start the boot medium, asks
    again so often as reboots are allowed for one configuration, and says then that they lead nowhere.
    """

    name: ClassVar[str] = "reinstall"
    claims: ClassVar[frozenset[str]] = frozenset()

    def observe(self) -> tuple[Item, ...]:
        return ()

    def plan(self, desired: NodeSlivers, observed: tuple[Item, ...]) -> tuple[Action, ...]:
        if not desired.reinstall:
            return ()
        reason = "is wanted: the next boot makes this node's root file system anew"
        return (Action(Verb.CREATE, f"run {desired.reinstall}", reason),)

    def apply(self, desired: NodeSlivers, action: Action) -> Reboot:
        return Reboot("the operator wants this node installed again")

    def teardown(self, name: str) -> None:
        """Do nothing: there is nothing to take away."""
