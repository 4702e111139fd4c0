"""Verify the system itself where it came over the network, before the node's key is used for anything."""

from __future__ import annotations

import hashlib
import json

from hwdetect.media import Fetched, Media
from images.trust import ever_signed
from images.trust_errors import MetadataMalformed, NoTrustedRoot
from steps.base import Context, Effect, Observation, Step, holds
from wire.errors import VerificationError
from wire.trust import MEDIUM_TARGETS, METADATA_FILE, TrustedRoot


class MediumNotSigned(VerificationError):
    """The deployment has not signed the layers that this system consists of."""

    code = "medium-not-signed"
    title = "What was booted over the network is not signed"
    hint = "Publish it: bootserver netboot publish ISO. The key medium must be of the same server."


class VerifyMedium(Step):
    """The layers of this system are a boot medium's, or signed by keys that lead back to the key medium.

    The initial ramdisk has compared each layer with its list. Here that list is compared with what is signed,
    whenever that was: neither the time nor the server can be asked before the key is used.
    """

    name = "verify_medium"
    title = "Verify the system that came over the network"
    effect = Effect.READS
    needs = (Media, TrustedRoot)

    def observe(self, context: Context) -> Observation:
        fetched = context.facts[Media].fetched
        if fetched is not None:
            _verify(fetched, context.facts[TrustedRoot])
        return holds()


def _verify(fetched: Fetched, root: TrustedRoot) -> None:
    """Raises MediumNotSigned, NoTrustedRoot, a VerificationError of the metadata."""
    if not root.data:
        raise NoTrustedRoot("the key medium has none, and no other counts after a boot over the network")
    if not fetched.metadata:
        raise MediumNotSigned(f"the server gave no {METADATA_FILE}")
    digest = hashlib.sha256(fetched.layers).hexdigest()
    for name, target in ever_signed(root, _files(fetched.metadata)).images.items():
        if name.startswith(MEDIUM_TARGETS) and target.sha256 == digest:
            return
    raise MediumNotSigned(f"no signed list of layers has the hash {digest[:12]}")


def _files(bundle: bytes) -> dict[str, bytes]:
    try:
        found = json.loads(bundle)
        return {name: text.encode() for name, text in found.items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise MetadataMalformed(f"{METADATA_FILE}: {error}") from None
