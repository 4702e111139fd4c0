"""The classic client before a server: this project's own in memory, or one that has less."""

from xmlrpc.client import Fault

from host.classic_client import ClassicClient
from host.http import NotAtServer
from wire import xmlrpc
from wire.messages import NodeDetails
from wire.nodeconf import parse
from wire.structure import structure

KEY = "0123456789abcdef0123456789abcdef"
MANIFEST = "a" * 64


def configuration(protocol="plcapi", key=KEY, node_id=1):
    return parse(
        f'NODE_ID="{node_id}"\nNODE_KEY="{key}"\nBOOT_SERVER="http://plc"\nHOST_NAME="Node1"\n'
        f'PROTOCOL="{protocol}"\nBASE_IMAGE="base@{MANIFEST}"\n',
        "the medium",
    )


class Web:
    """Stands where HttpClient stands, before an application in memory."""

    base_url = "http://plc"

    def __init__(self, web):
        self.web, self.sent = web, []

    def post(self, path, body, *, content_type, limit):
        self.sent.append((path, body))
        answer = self.web.post(path, content=body, headers={"Content-Type": content_type})
        if answer.status_code == 404:
            raise NotAtServer(path)
        assert answer.status_code == 200, answer.text
        return answer.content


class OldServer:
    """A PLCAPI of which only the answers are known: what it does not have is fault 100."""

    base_url = "http://plc"

    def __init__(self, **answers):
        self.answers, self.calls, self.logs = answers, [], []

    def post(self, path, body, *, content_type, limit):
        if path != "/PLCAPI/":
            self.logs.append(body)
            if "upload" in self.answers:
                raise self.answers["upload"]
            return b""
        method, (auth, *params) = xmlrpc.load_call(body)
        self.calls.append((method, auth, params))
        answer = self.answers.get(method, Fault(100, f"Invalid method {method}"))
        answer = answer(auth, params) if callable(answer) else answer
        if isinstance(answer, Fault):
            return xmlrpc.dump_fault(answer.faultCode, answer.faultString)
        return xmlrpc.dump_reply(answer)

    def called(self, method):
        return [params for name, _, params in self.calls if name == method]


def record(boot_state="boot", **more):
    return {"hostname": "node1.example.org", "boot_state": boot_state, "model": "", **more}


def client(server, protocol="plcapi", memory=None):
    return ClassicClient(server, configuration(protocol), "10.0.0.7", memory)


def details(of):
    return structure(of.call("BootGetNodeDetails"), NodeDetails)
