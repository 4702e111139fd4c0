"""A desk for debug mode's menu, with a machine that only notes which commands it is given."""

import threading

from bootmanager import standing
from bootmanager.asking import WAITING
from bootmanager.menu_desk import Desk
from bootmanager.standing import Standing
from host.alone import alone
from host.console import Console
from host.events import Events
from host.options import Options
from host.ports import Host
from host.run import Completed
from hwdetect.disks import DiskHoldsData

FAILED = Standing(
    stay=1,
    was="inst",
    node="7 node7.example.org",
    addresses=("enp1s0 52:54:00:12:34:56 up 10.0.2.15/24", "enp2s0 52:54:00:12:34:57 down"),
    step="choose_disks",
    code=DiskHoldsData.code,
    title=DiskHoldsData.title,
    detail="/dev/sda ata ST1000NM0033 serial Z1W0ABCD 931.5 GiB [foreign]: sda1: ext4, 931.5 GiB"
    " -- it holds data that is not ours",
    hint=DiskHoldsData.hint,
    ssh="ssh root@10.0.2.15",
    host_key="256 SHA256:Ux1dGYjVh2mzCqvYwsyDmmrLPVfsvGgRkTrqvOVVHqU (ED25519)",
    network='NET_DEVICE="enp1s0"\nIP_METHOD="dhcp"\n',
)


class Busy:
    """Somebody who is at work on the machine until a person has been told to wait, or for two seconds."""

    def __init__(self, folder):
        self._begun, self._told = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, args=[folder])

    def __enter__(self):
        self._thread.start()
        self._begun.wait()
        return self

    def __exit__(self, *_):
        self._told.set()
        self._thread.join()

    def hears(self, text):
        if text == WAITING:
            self._told.set()

    def _work(self, folder):
        with alone(folder):
            self._begun.set()
            self._told.wait(2)


class NotingRunner:
    """Runs nothing; says what the test tells it to."""

    def __init__(self, said=None):
        self.ran, self._said = [], said or {}

    def __call__(self, argv, **how):
        words = [str(word) for word in argv]
        self.ran.append(words)
        status, text = self._said.get(words[0], (0, "[]"))
        return Completed(tuple(words), status, text, "", 0.0)


def desk(folder, *, trusted=False, password="", said=None):
    """Return a desk and the events that were told."""
    FAILED.save(folder)
    told = []
    events = Events("t", (lambda event: told.append((event.event, event.data)),))
    host = Host(NotingRunner(said), None, events, Console([]), Options(), folder)
    return Desk(host, trusted, lambda: password, lambda client: None), told


def end(folder, why="The node goes on: the operator asked for boot."):
    """Let the stay be over."""
    Standing(1, "inst", ended=why).save(folder)


def ended(folder):
    return standing.ended(folder, 1)
