"""Images: manifests, the dongle cache, and the fetch-verify-unpack pipeline."""
