"""From the body of a call to that of its answer: who may, with what arguments, how often, what goes wrong."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any

from configmanager.api.callers import Caller, Who
from configmanager.api.calls import CALLS, KINDS, SLIVER, BadArgument, Call, Code, Denied, may_act
from configmanager.api.node import NodeSide
from wire.errors import BootError, ConfigurationError, VerificationError
from wire.slivers import Sliver
from wire.structure import MalformedMessage
from wire.xmlrpc import Fault, dump_fault, dump_reply, load_call

log = logging.getLogger(__name__)

# A body takes up to 72 MiB while it is read into values; every slice may send one.
READ_AT_A_TIME = 2
# Calls that change something, of one caller but the operator.
MOST_ACTS = 10
ACTS_SECONDS = 60.0


class Answers:
    """Answers calls; safe from any thread."""

    def __init__(self, node: NodeSide) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._reading = threading.Semaphore(READ_AT_A_TIME)
        self._acts: dict[Caller, deque[float]] = {}

    def answer(self, caller: Caller, body: bytes) -> bytes:
        """Return the body of the reply or of a fault."""
        try:
            with self._reading:
                method, arguments = load_call(body)
            return dump_reply(self.call(caller, method, arguments))
        except Fault as fault:
            return dump_fault(int(fault.faultCode), fault.faultString)
        except MalformedMessage as error:
            return dump_fault(int(Code.ARGUMENT), error.detail)

    def call(self, caller: Caller, method: str, arguments: list[Any]) -> Any:
        """Return the result of a call. Raises Fault."""
        call = CALLS.get(method)
        if call is None:
            raise Fault(Code.METHOD, f"There is no call {method[:64]!r}; Help lists them")
        if caller.who not in call.who:
            raise Denied(f"{call.name} is for {', '.join(sorted(call.who))}")
        checked = self._checked(caller, call, arguments)
        if call.acts:
            self._count(caller)
            self._tell(caller, call, checked)
        try:
            return call.work(self._node, caller, *checked)
        except BootError as error:
            raise _fault(caller, error) from None
        except OSError as error:
            log.error("%s: %s", call.name, error)
            raise Fault(Code.INTERNAL, "The node's files cannot be read or written") from None

    def _checked(self, caller: Caller, call: Call, arguments: list[Any]) -> list[Any]:
        """Return the arguments with the sliver in the place of its name."""
        if len(arguments) != len(call.parameters):
            wanted = f"{call.name} takes {len(call.parameters)}: {', '.join(call.parameters)}"
            raise Fault(Code.COUNT, f"{wanted}, {len(arguments)} given")
        for name, value in zip(call.parameters, arguments, strict=True):
            if type(value) is not KINDS[name]:
                raise BadArgument(f"{name} is {type(value).__name__}, not {KINDS[name].__name__}")
        if call.parameters[:1] != (SLIVER,):
            return arguments
        said = self._node.manager.said()
        sliver = said.sliver(arguments[0]) if said is not None else None
        if sliver is None:
            if caller.who is Who.OPERATOR:
                raise BadArgument(f"there is no sliver {arguments[0][:64]!r}")
            # To others it looks like somebody else's.
            raise Denied(f"{caller} does not act for this slice")
        may_act(caller, sliver)
        return [sliver, *arguments[1:]]

    def _count(self, caller: Caller) -> None:
        if caller.who is Who.OPERATOR:
            return
        now = time.monotonic()
        with self._lock:
            self._acts = {each: times for each, times in self._acts.items() if times[-1] > now - ACTS_SECONDS}
            times = self._acts.setdefault(caller, deque(maxlen=MOST_ACTS))
            if len(times) == MOST_ACTS and times[0] > now - ACTS_SECONDS:
                raise Denied(f"{MOST_ACTS} calls that change something in {ACTS_SECONDS:.0f} s are enough")
            times.append(now)

    def _tell(self, caller: Caller, call: Call, arguments: list[Any]) -> None:
        name = next((item.name for item in arguments if isinstance(item, Sliver)), "")
        self._node.events.tell("api.call", call=call.name, name=name, caller=str(caller))


def _fault(caller: Caller, error: BootError) -> Fault:
    """Say what went wrong; what commands said is the operator's to read."""
    log.warning("%s was answered: %s", caller, error)
    expected = isinstance(error, ConfigurationError | VerificationError)
    text = str(error) if expected or caller.who is Who.OPERATOR else f"{error.title} [{error.code}]"
    return Fault(Code.ARGUMENT if expected else Code.INTERNAL, text)
