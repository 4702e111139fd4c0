"""What a node shall run: the reply to GetSlivers, reduced to what is used.

Names of fields are those of the original node managers. Checked here, because names become folders,
units and interfaces on the node; configmanager/reply.py decides whether a broken rule concerns the whole
reply or one sliver. Times are Unix seconds by the server's clock.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from wire.conf_files import MAXIMUM_COMMAND, ConfFile
from wire.messages import NO_DISK_ORDER, DiskOrder, ImageRef
from wire.rspec import RSpec

# A letter or digit at both ends: systemd takes neither a leading nor a trailing dash in a machine's name.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,30}[a-z0-9])?")
_IMAGE = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_TAG = re.compile(r"[A-Za-z0-9_./:-]{1,64}")
_PORT = re.compile(r"(tcp|udp):([0-9]{1,5}):([0-9]{1,5})")
_CONTROL = re.compile("[\x00-\x1f\x7f]")
# Ports of the node itself: ssh and its address by DHCP.
NODE_PORTS = (("tcp", 22), ("udp", 68))
MAXIMUM_SCRIPT = 256 * 1024
# The end of the year 9999. Beyond it clocks and calendars fail, and a time in milliseconds lies there.
LAST_MOMENT = 253_402_300_799
# The node's other work waits as long.
MAXIMUM_HEALTH_SECONDS = 600
PORTS_TAG = "ports"
DELEGATIONS_TAG = "delegations"
DELEGATE = "delegate"
INITSCRIPT_TAG = "initscript_code"


class Instantiation(StrEnum):
    """Who brings a sliver up; the node does so for `plc-instantiated` only."""

    NOT = "not-instantiated"
    PLC = "plc-instantiated"
    DELEGATED = "delegated"
    CONTROLLER = "nm-controller"


@dataclass(frozen=True)
class SliverKey:
    """A public key that opens the sliver."""

    key_type: str
    key: str

    def __post_init__(self) -> None:
        if not self.key or _CONTROL.search(self.key):
            raise ValueError("a key is one line of text")


@dataclass(frozen=True)
class Attribute:
    """A named setting of a sliver."""

    tagname: str
    value: str

    def __post_init__(self) -> None:
        if not _TAG.fullmatch(self.tagname):
            raise ValueError(f"tagname {self.tagname!r} is not a name")


@dataclass(frozen=True)
class PortForward:
    """A port of the node that leads to one of the sliver."""

    protocol: str
    outside: int
    inside: int

    @classmethod
    def parse(cls, text: str) -> PortForward:
        """Read `tcp:8080:80`: protocol, port on the node, port in the sliver. Raises ValueError."""
        found = _PORT.fullmatch(text)
        if not found or not all(0 < int(number) < 65536 for number in found.groups()[1:]):
            raise ValueError(f"port {text!r} is not of the form tcp:8080:80")
        if (found[1], int(found[2])) in NODE_PORTS:
            raise ValueError(f"port {text!r} is the node's own")
        return cls(found[1], int(found[2]), int(found[3]))

    def __str__(self) -> str:
        return f"{self.protocol}:{self.outside}:{self.inside}"


@dataclass(frozen=True)
class Sliver:
    """A slice's part on this node. `image` is a name among the reply's images; `initscript` a script."""

    name: str
    slice_id: int
    expires: int
    instantiation: Instantiation = Instantiation.PLC
    image: str = ""
    keys: tuple[SliverKey, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    initscript: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.image:
            check_image_name(self.image)
        if len(self.script) > MAXIMUM_SCRIPT or "\0" in self.script:
            raise ValueError(f"{self.name}: initscript is over {MAXIMUM_SCRIPT} characters or holds a NUL")
        if len({(port.protocol, port.outside) for port in self.ports}) < len(self.ports):
            raise ValueError(f"{self.name}: ports has one port of the node twice")
        try:
            _ = self.rspec
            check_moment(self.expires)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None

    def attribute(self, tagname: str) -> str:
        """Return the attribute's value, "" without one."""
        return next((item.value for item in self.attributes if item.tagname == tagname), "")

    @property
    def machine(self) -> str:
        """The sliver's name as a host."""
        return machine_name(self.name)

    # Once an object: a thousand slivers are compared by it at each reply.
    @cached_property
    def ports(self) -> tuple[PortForward, ...]:
        """Ports of the node that lead into the sliver (attribute `ports`, separated by commas or blanks)."""
        return tuple(PortForward.parse(word) for word in self.attribute(PORTS_TAG).replace(",", " ").split())

    @cached_property
    def rspec(self) -> RSpec:
        """Whether the sliver shall run, and what it is given of the node's resources."""
        # As attribute() does, of two with one name the first counts.
        return RSpec.read({item.tagname: item.value for item in reversed(self.attributes)})

    @property
    def delegations(self) -> tuple[str, ...]:
        """Delegates that may act for the slice (attribute `delegations`, separated by commas or blanks)."""
        return tuple(self.attribute(DELEGATIONS_TAG).replace(",", " ").split())

    @property
    def script(self) -> str:
        """The initscript, as such or as the attribute that the originals used."""
        return self.initscript or self.attribute(INITSCRIPT_TAG)


@dataclass(frozen=True)
class NodeService:
    """A service on the node itself: the text of its systemd unit, an image laid over the node, or both.

    `overlay` is a name among the reply's images. After a change `health`, a command for sh, has to succeed
    within `health_seconds`.
    """

    name: str
    unit: str = ""
    overlay: str = ""
    health: str = ""
    health_seconds: int = 60

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.overlay:
            check_image_name(self.overlay)
        if not self.unit and not self.overlay:
            raise ValueError(f"service {self.name}: has neither a unit nor an overlay")
        if self.unit and ("[Service]" not in self.unit.splitlines() or "\0" in self.unit):
            raise ValueError(f"service {self.name}: the unit's text has no [Service] section")
        if len(self.health) > MAXIMUM_COMMAND or "\0" in self.health:
            raise ValueError(
                f"service {self.name}: health is over {MAXIMUM_COMMAND} characters or holds a NUL"
            )
        if not 0 < self.health_seconds <= MAXIMUM_HEALTH_SECONDS:
            raise ValueError(f"service {self.name}: health_seconds is not 1 to {MAXIMUM_HEALTH_SECONDS}")


@dataclass(frozen=True)
class Account:
    """An account of the node, with its public keys. One of type `delegate` may call the node's API by ssh.

    Other types are an original server's, and made by nobody.
    """

    name: str
    keys: tuple[str, ...] = ()
    type: str = ""

    def __post_init__(self) -> None:
        if self.type != DELEGATE:
            return
        check_name(self.name)
        if not all(self.keys) or any(map(_CONTROL.search, self.keys)):
            raise ValueError(f"account {self.name}: a key is one line of text")


@dataclass(frozen=True)
class NodeSlivers:
    """The reply to GetSlivers. Of two replies the one counts that is later by timestamp or `generation`.

    `generation` is another one after every change at the server; 0 from one that does not tell of changes.
    `disk_image` is another system that the node shall run instead of all this. `reinstall` is the run for
    which it shall reboot now, to be installed again, "" for none.
    """

    timestamp: int
    node_id: int
    hostname: str
    slivers: tuple[Sliver, ...] = ()
    services: tuple[NodeService, ...] = ()
    images: tuple[ImageRef, ...] = ()
    accounts: tuple[Account, ...] = ()
    conf_files: tuple[ConfFile, ...] = ()
    generation: int = 0
    disk_image: DiskOrder = NO_DISK_ORDER
    reinstall: str = ""

    def __post_init__(self) -> None:
        check_moment(self.timestamp)
        # a_b and a-b would be one machine.
        _unique("sliver", (sliver.machine for sliver in self.slivers))
        _unique("service", (service.name for service in self.services))
        _unique("conf_file", (file.dest for file in self.conf_files))
        _unique("image", (image.name for image in self.images))
        _unique("delegate", (account.name for account in self.delegates))
        _one_owner_each(self.slivers)
        ordered = (self.disk_image.image,) if self.disk_image.id else ()
        for image in (*self.images, *ordered):
            check_image(image)

    @property
    def instantiated(self) -> tuple[Sliver, ...]:
        """The slivers that the node brings up by itself; a delegated one is its delegate's to make."""
        return tuple(item for item in self.slivers if item.instantiation is Instantiation.PLC)

    @property
    def delegates(self) -> tuple[Account, ...]:
        """The accounts that may call the node's API."""
        return tuple(account for account in self.accounts if account.type == DELEGATE)

    @property
    def own_files(self) -> tuple[ConfFile, ...]:
        """The files that stand for themselves."""
        return tuple(file for file in self.conf_files if not file.service)

    def files_of(self, service: str) -> tuple[ConfFile, ...]:
        """Return the files that come and go with a service."""
        return tuple(file for file in self.conf_files if file.service == service)

    def sliver(self, name: str) -> Sliver | None:
        """Return the sliver of that name, None without one."""
        return next((sliver for sliver in self.slivers if sliver.name == name), None)

    def image(self, name: str) -> ImageRef | None:
        """Return the image of that name, None without one."""
        return next((image for image in self.images if image.name == name), None)


def check_name(name: str) -> str:
    """Return the name of a sliver or service. Raises ValueError when it may not become a file's name."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a name of 1 to 32 of a-z 0-9 _ -")
    return name


def check_moment(when: int) -> int:
    """Return a time in Unix seconds. Raises ValueError when it is none that clocks can show."""
    if not 0 <= when <= LAST_MOMENT:
        raise ValueError("a time is not in Unix seconds from 0 to the year 9999")
    return when


def machine_name(name: str) -> str:
    """Return a sliver's name as a host: systemd takes no underscore in the name of a machine."""
    return name.replace("_", "-")


def check_image_name(name: str) -> str:
    """Return the name of an image. Raises ValueError when it may not become a file's name."""
    if not _IMAGE.fullmatch(name) or ".." in name:
        raise ValueError(f"{name!r} is not a name of 1 to 64 of a-z 0-9 . _ -")
    return name


def check_image(image: ImageRef) -> ImageRef:
    """Return an image. Raises ValueError when its name or its manifest's digest is none."""
    check_image_name(image.name)
    if not re.fullmatch("[0-9a-f]{64}", image.manifest):
        raise ValueError(f"image {image.name}: the manifest is not a SHA-256 in hex")
    return image


def _unique(what: str, names: Iterable[str]) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"{what} {', '.join(twice)} is there more than once")


def _one_owner_each(slivers: Iterable[Sliver]) -> None:
    owners: dict[str, str] = {}
    for sliver in slivers:
        for port in sliver.ports:
            taken = f"{port.protocol}:{port.outside}"
            if taken in owners:
                raise ValueError(f"port {taken} is {owners[taken]}'s, {sliver.name} cannot have it too")
            owners[taken] = sliver.name
