"""The server's tables. Times are Unix seconds by the server's clock; sizes are MiB as in wire.messages."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from wire.messages import DiskPolicy, Minimum, NodeDetails, VolumeSizes
from wire.slivers import Instantiation, NodeService

# Written into `settings` at init; a database with another number is refused, never guessed at.
SCHEMA = 9


class Base(DeclarativeBase):
    """Base of all tables."""

    # JSON null and SQL NULL must not both stand for "nothing".
    type_annotation_map = {
        dict[str, Any]: JSON(none_as_null=True),
        list[str]: JSON(none_as_null=True),
    }


class Setting(Base):
    """A fact about the deployment."""

    __tablename__ = "settings"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str]


class Node(Base):
    """A node: who it is, what is wanted of it, what was last seen of it."""

    __tablename__ = "nodes"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(253), unique=True)
    sealed_key: Mapped[bytes] = mapped_column(LargeBinary)
    key_changed: Mapped[float]
    created: Mapped[float]

    # What the token was for that admitted it, "" if a person did.
    site: Mapped[str] = mapped_column(default="")

    # What the operator wants.
    boot_state: Mapped[str] = mapped_column(String(8))
    run_id: Mapped[str] = mapped_column(String(64))
    # Whether this run makes the root file system anew whatever it has.
    clean: Mapped[bool] = mapped_column(default=False)
    # The run for which the installed node shall reboot by itself, "" for none.
    reboot_run: Mapped[str] = mapped_column(String(64), default="")
    # Set by generations.changed() only.
    generation: Mapped[int] = mapped_column(default=1)
    system_disk: Mapped[str] = mapped_column(default="")
    data_disks: Mapped[str] = mapped_column(default=DiskPolicy.data)
    memory_mib: Mapped[int] = mapped_column(default=Minimum.memory_mib)
    disk_mib: Mapped[int] = mapped_column(default=Minimum.disk_mib)
    boot_mib: Mapped[int] = mapped_column(default=VolumeSizes.boot_mib)
    swap_mib: Mapped[int] = mapped_column(default=VolumeSizes.swap_mib)
    root_mib: Mapped[int] = mapped_column(default=VolumeSizes.root_mib)
    kernel_arguments: Mapped[str] = mapped_column(default=NodeDetails.kernel_arguments)
    cache_budget_mib: Mapped[int] = mapped_column(default=NodeDetails.cache_budget_mib)
    mirrors: Mapped[list[str]] = mapped_column(default=list)
    bandwidth_kib: Mapped[int] = mapped_column(default=NodeDetails.bandwidth_kib)
    neighbours: Mapped[bool] = mapped_column(default=NodeDetails.neighbours)
    base_image: Mapped[str] = mapped_column(String(64))
    images: Mapped[list[str]] = mapped_column(default=list)
    ssh_keys: Mapped[list[str]] = mapped_column(default=list)
    # Hash of the node's own console password, "" where the deployment's counts (console.py).
    console_password: Mapped[str] = mapped_column(default="")
    # Another system that it shall run: the order's id ("" for none), an image's name, maybe a certain disk.
    disk_order: Mapped[str] = mapped_column(default="")
    disk_image: Mapped[str] = mapped_column(default="")
    disk_named: Mapped[str] = mapped_column(default="")

    # What was seen.
    contacted: Mapped[float] = mapped_column(default=0.0)
    address: Mapped[str] = mapped_column(default="")
    # Where its last call came from, which is a translator's address where there is one between.
    peer: Mapped[str] = mapped_column(default="")
    # Where the key was used at once, and when that was last told; "" as long as all is well.
    shared_key: Mapped[str] = mapped_column(default="")
    shared_key_at: Mapped[float] = mapped_column(default=0.0)
    run_level: Mapped[str] = mapped_column(default="")
    run_level_at: Mapped[float] = mapped_column(default=0.0)
    ssh_host_keys: Mapped[list[str]] = mapped_column(default=list)
    inventory: Mapped[dict[str, Any]] = mapped_column(default=dict)
    status: Mapped[dict[str, Any]] = mapped_column(default=dict)
    # What it said of a disk image that it wrote, as wire.messages.DiskRecord has it; {} when it has its own
    # system on the disk.
    disk_record: Mapped[dict[str, Any]] = mapped_column(default=dict)

    slivers: Mapped[list[Sliver]] = relationship(back_populates="node", cascade="all, delete-orphan")
    services: Mapped[list[Service]] = relationship(cascade="all, delete-orphan")
    delegates: Mapped[list[Delegate]] = relationship(cascade="all, delete-orphan")
    files: Mapped[list[NodeFile]] = relationship(cascade="all, delete-orphan")
    classic: Mapped[ClassicNode | None] = relationship(cascade="all, delete-orphan")
    power: Mapped[Power | None] = relationship(cascade="all, delete-orphan")

    __table_args__ = (
        # What changed since a number is asked for every second (changes.py).
        Index("nodes_by_generation", "generation"),
        # An id is never given out twice: a removed node's key medium must not become another node's.
        {"sqlite_autoincrement": True},
    )


class Event(Base):
    """An event that a node told, or the server of it.

    `digest` is over its whole content, so telling it again adds nothing.
    """

    __tablename__ = "events"
    __table_args__ = (
        UniqueConstraint("node_id", "digest"),
        Index("events_by_node", "node_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    node_id: Mapped[int] = mapped_column(ForeignKey("nodes.id", ondelete="CASCADE"))
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    received: Mapped[float]
    data: Mapped[dict[str, Any]]


class Report(Base):
    """What a node sent for somebody to look into: an archive, and the code of the error that led to it."""

    __tablename__ = "reports"
    __table_args__ = (Index("reports_by_node", "node_id", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    node_id: Mapped[int] = mapped_column(ForeignKey("nodes.id", ondelete="CASCADE"))
    received: Mapped[float]
    code: Mapped[str] = mapped_column(String(64), default="")
    size_bytes: Mapped[int]
    archive: Mapped[bytes] = mapped_column(LargeBinary)


class Giver(Base):
    """Where a node gives blobs to its neighbours, of which images, and when it last said so.

    `lan` is what it has in common with who is near, see bootserver.neighbours.
    """

    __tablename__ = "givers"

    node_id: Mapped[int] = mapped_column(ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True)
    address: Mapped[str] = mapped_column(String(64))
    port: Mapped[int]
    lan: Mapped[str] = mapped_column(String(160), index=True)
    images: Mapped[list[str]] = mapped_column(default=list)
    seen: Mapped[float]


class Image(Base):
    """A publication of an image; the newest one of a name counts."""

    __tablename__ = "images"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), index=True)
    manifest: Mapped[str] = mapped_column(String(64))
    published: Mapped[float]


class ImageUpdate(Base):
    """The update that leads from one publication of an image to a later one: three manifests' digests."""

    __tablename__ = "image_updates"

    new: Mapped[str] = mapped_column(String(64), primary_key=True)
    old: Mapped[str] = mapped_column(String(64), primary_key=True)
    manifest: Mapped[str] = mapped_column(String(64))


class SigningKey(Base):
    """A private key that the server signs images' metadata with; the root metadata say which counts."""

    __tablename__ = "signing_keys"

    keyid: Mapped[str] = mapped_column(String(64), primary_key=True)
    role: Mapped[str] = mapped_column(String(16))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class Slice(Base):
    """A slice: what its slivers are made of on every node that carries one."""

    __tablename__ = "slices"
    # By its id nodes tell a slice from one that had the name before, whose disks it must not get.
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(32), unique=True)
    image: Mapped[str] = mapped_column(String(64))
    # Who brings its slivers up, as wire.slivers.Instantiation has it.
    instantiation: Mapped[str] = mapped_column(String(20), default=Instantiation.PLC)
    initscript: Mapped[str] = mapped_column(default="")
    expires: Mapped[int]
    keys: Mapped[list[str]] = mapped_column(default=list)
    attributes: Mapped[dict[str, Any]] = mapped_column(default=dict)

    slivers: Mapped[list[Sliver]] = relationship(back_populates="slice", cascade="all, delete-orphan")


class Sliver(Base):
    """A slice's presence on a node."""

    __tablename__ = "slivers"

    slice_id: Mapped[int] = mapped_column(ForeignKey("slices.id", ondelete="CASCADE"), primary_key=True)
    node_id: Mapped[int] = mapped_column(ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True)

    slice: Mapped[Slice] = relationship(back_populates="slivers")
    node: Mapped[Node] = relationship(back_populates="slivers")


class Service(Base):
    """A service of the node itself, as wire.slivers.NodeService has it."""

    __tablename__ = "services"

    node_id: Mapped[int] = mapped_column(ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    unit: Mapped[str] = mapped_column(default="")
    overlay: Mapped[str] = mapped_column(String(64), default="")
    health: Mapped[str] = mapped_column(default="")
    health_seconds: Mapped[int] = mapped_column(default=NodeService.health_seconds)


class NodeFile(Base):
    """A file of a node, of all where `node_id` is NULL; `fields` as wire.conf_files.ConfFile has them."""

    __tablename__ = "node_files"
    __table_args__ = (UniqueConstraint("node_id", "dest"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    node_id: Mapped[int | None] = mapped_column(ForeignKey("nodes.id", ondelete="CASCADE"), default=None)
    dest: Mapped[str]
    fields: Mapped[dict[str, Any]]


class Delegate(Base):
    """An account of a node from which its API is called for slices that name it."""

    __tablename__ = "delegates"

    node_id: Mapped[int] = mapped_column(ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    keys: Mapped[list[str]] = mapped_column(default=list)


class ClassicNode(Base):
    """That a node may speak the classic protocol; without this row it may not.

    `classic_id` is the number by which it calls itself, the node's own or that from another deployment.
    `sealed_key` is its key from there as text, b"" where it is the node's own. `mac` and `network` are what
    the operator said or the node told, `peer` is where its last proven call came from.
    """

    __tablename__ = "classic_nodes"

    node_id: Mapped[int] = mapped_column(ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True)
    classic_id: Mapped[int] = mapped_column(unique=True)
    since: Mapped[float]
    sealed_key: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    flavour: Mapped[str] = mapped_column(String(64))
    mac: Mapped[str] = mapped_column(String(17), default="", index=True)
    network: Mapped[dict[str, Any]] = mapped_column(default=dict)
    peer: Mapped[str] = mapped_column(String(64), default="", index=True)


class Power(Base):
    """What controls a node's power: kind "redfish" or "ipmi", where, and as whom.

    `fingerprint` is the SHA-256 (hex) of the certificate that counts there, "" for ipmi, which has none.
    """

    __tablename__ = "power"

    node_id: Mapped[int] = mapped_column(ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(8))
    address: Mapped[str]
    user: Mapped[str]
    sealed_password: Mapped[bytes] = mapped_column(LargeBinary)
    fingerprint: Mapped[str] = mapped_column(String(64), default="")


class Waiting(Base):
    """A key pair that announced itself. `node_id` is set when it was admitted, at the time `admitted`."""

    __tablename__ = "waiting"

    public: Mapped[str] = mapped_column(String(64), primary_key=True)
    mac: Mapped[str] = mapped_column(String(17), index=True)
    peer: Mapped[str] = mapped_column(String(64), default="")
    # The token that was proven, "" for none.
    token: Mapped[str] = mapped_column(String(16), default="")
    first: Mapped[float]
    seen: Mapped[float]
    node_id: Mapped[int | None] = mapped_column(ForeignKey("nodes.id", ondelete="CASCADE"), default=None)
    admitted: Mapped[float] = mapped_column(default=0.0)


class EnrolmentToken(Base):
    """A permission for nodes of a site to enrol; what is kept is sealed, and is not the token."""

    __tablename__ = "tokens"

    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    sealed_key: Mapped[bytes] = mapped_column(LargeBinary)
    site: Mapped[str] = mapped_column(String(253))
    state: Mapped[str] = mapped_column(String(8))
    base_image: Mapped[str] = mapped_column(String(64))
    remaining: Mapped[int]
    created: Mapped[float]
    expires: Mapped[float]
