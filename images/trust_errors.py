"""What can be wrong with signed metadata, and with an image that they should name."""

from __future__ import annotations

from wire.errors import ConfigurationError, VerificationError


class NoTrustedRoot(ConfigurationError):
    """The node does not know whose signatures to believe."""

    code = "no-trusted-root"
    title = "There is no root.json to trust"
    hint = "Write the key medium again at the server: bootserver media key NODE FILE puts root.json on it."


class MetadataExpired(VerificationError):
    """Metadata are older than whoever signed them allowed."""

    code = "metadata-expired"
    title = "The images' metadata have expired"
    hint = (
        "See `bootserver keys list`. The server renews them while it runs; for root: bootserver keys renew."
    )


class MetadataRolledBack(VerificationError):
    """The server has metadata older than the node has seen."""

    code = "metadata-rolled-back"
    title = "The images' metadata are older than they were"
    hint = (
        "Somebody replays old metadata, or the server was restored from an older backup: see docs/server.md."
    )


class MetadataMixed(VerificationError):
    """Metadata are not those that the signed timestamp and snapshot name."""

    code = "metadata-mixed"
    title = "The images' metadata do not belong together"
    hint = "Somebody on the path or at the server changes them. `bootserver keys list` checks the server's."


class MetadataForged(VerificationError):
    """A signature is missing or wrong."""

    code = "metadata-forged"
    title = "The images' metadata are not signed by this deployment"
    hint = "Another server answers, or root.json on the key medium is another deployment's: write it again."


class MetadataMalformed(VerificationError):
    """Metadata cannot be read."""

    code = "metadata-malformed"
    title = "The images' metadata are malformed"
    hint = "Something else answers in the server's place, or the files in its metadata folder are damaged."


class ImageNotSigned(VerificationError):
    """An image is not the one that the signed metadata name."""

    code = "image-not-signed"
    title = "The image is not the signed one"
    hint = "Publish it at the server: bootserver image publish NAME PATH. An older publication is refused."


class OfflineTooLong(VerificationError):
    """The server was away for longer than the deployment allows."""

    code = "offline-too-long"
    title = "The cache's metadata are too old to install from"
    hint = "Bring the server back; it allows as much as `bootserver keys expiry --offline DAYS` says."


class NothingKnownOffline(ConfigurationError):
    """There is no server and nothing on a dongle that could take its place."""

    code = "nothing-known-offline"
    title = "Without the server the node does not know what to install"
    hint = "Bring the server back, or plug in the dongle that the node was installed from before."
