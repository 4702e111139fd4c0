"""The server's tables. Times are Unix seconds by the server's clock; sizes are MiB as in wire.messages."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from wire.messages import DiskPolicy, Minimum, NodeDetails, VolumeSizes

# Written into `settings` at init; a database with another number is refused, never guessed at.
SCHEMA = 1


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
    created: Mapped[float]

    # What the operator wants.
    boot_state: Mapped[str] = mapped_column(String(8))
    run_id: Mapped[str] = mapped_column(String(64))
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
    base_image: Mapped[str] = mapped_column(String(64))
    images: Mapped[list[str]] = mapped_column(default=list)
    ssh_keys: Mapped[list[str]] = mapped_column(default=list)

    # What was seen.
    contacted: Mapped[float] = mapped_column(default=0.0)
    address: Mapped[str] = mapped_column(default="")
    run_level: Mapped[str] = mapped_column(default="")
    run_level_at: Mapped[float] = mapped_column(default=0.0)
    ssh_host_keys: Mapped[list[str]] = mapped_column(default=list)
    inventory: Mapped[dict[str, Any]] = mapped_column(default=dict)
    status: Mapped[dict[str, Any]] = mapped_column(default=dict)

    slivers: Mapped[list[Sliver]] = relationship(back_populates="node", cascade="all, delete-orphan")
    services: Mapped[list[Service]] = relationship(cascade="all, delete-orphan")

    # An id is never given out twice: a removed node's key medium must not become another node's.
    __table_args__ = {"sqlite_autoincrement": True}


class Event(Base):
    """An event that a node told. `digest` is over its whole content, so telling it again adds nothing."""

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


class Image(Base):
    """A publication of an image; the newest one of a name counts."""

    __tablename__ = "images"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), index=True)
    manifest: Mapped[str] = mapped_column(String(64))
    published: Mapped[float]


class SigningKey(Base):
    """A private key that the server signs images' metadata with; the root metadata say which counts."""

    __tablename__ = "signing_keys"

    keyid: Mapped[str] = mapped_column(String(64), primary_key=True)
    role: Mapped[str] = mapped_column(String(16))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class Slice(Base):
    """A slice: what its slivers are made of on every node that carries one."""

    __tablename__ = "slices"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(32), unique=True)
    image: Mapped[str] = mapped_column(String(64))
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
    """A systemd unit that runs on the node itself."""

    __tablename__ = "services"

    node_id: Mapped[int] = mapped_column(ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    unit: Mapped[str]
