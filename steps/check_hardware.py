"""Check that the machine has what a node needs at least."""

from __future__ import annotations

from hwdetect.inventory import Inventory
from steps.base import Context, Effect, Observation, Step, holds
from wire.errors import UnsupportedHardware
from wire.messages import NodeDetails

MIB = 1024 * 1024


class InsufficientMemory(UnsupportedHardware):
    """The machine has less memory than the node needs."""

    code = "insufficient-memory"
    title = "The machine has too little memory"
    hint = "Add memory, or lower the node's minimum at the server."


class NoNetworkInterface(UnsupportedHardware):
    """No network interface has a driver."""

    code = "no-network-interface"
    title = "The machine has no network interface that works"
    hint = "Put in a network card that the boot medium's kernel knows."


class CheckHardware(Step):
    """The machine has the minimum of memory and a network interface.

    Whether a disk is large enough is judged where disks are chosen.
    """

    name = "check_hardware"
    title = "Check minimum hardware"
    effect = Effect.READS
    needs = (Inventory, NodeDetails)

    def observe(self, context: Context) -> Observation:
        check(context.facts[Inventory], context.facts[NodeDetails].minimum.memory_mib)
        return holds()


def check(inventory: Inventory, memory_mib: int) -> None:
    """Raise InsufficientMemory or NoNetworkInterface where something is lacking."""
    if inventory.memory_bytes < memory_mib * MIB:
        raise InsufficientMemory(f"{inventory.memory_bytes // MIB} MiB, {memory_mib} MiB are needed")
    if not inventory.nics:
        raise NoNetworkInterface("none was found")
