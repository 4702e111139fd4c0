"""Putting the API together and opening its doors."""

from __future__ import annotations

from configmanager.api.answer import Answers
from configmanager.api.node import NodeSide
from configmanager.api.sensors import Sensors
from configmanager.api.server import ApiServer, Doors
from host.run import Runner
from wire.errors import TransientError


class ApiUnavailable(TransientError):
    """The API's socket or port cannot be had."""

    code = "api-unavailable"
    title = "The node's API is not to be had"
    hint = "Something else has port 812: `ss -tlnp`. Then `systemctl restart configmanager`."


def serve(node: NodeSide, run: Runner) -> ApiServer:
    """Answer calls from now on, in threads of their own. Raises ApiUnavailable."""
    try:
        server = ApiServer(Doors(Answers(node).answer, node.caller, Sensors(run, node.root).text))
    except OSError as error:
        raise ApiUnavailable(str(error)) from None
    server.start()
    return server
