"""The search for a secret in whatever form somebody may have written it down, anywhere in bytes."""

import base64


def forms(secret):
    """Every form that counts as the secret: raw, as Python shows bytes, in hex, and in base64 of more."""
    found = {secret, repr(secret)[2:-1].encode(), secret.hex().encode(), secret.hex().upper().encode()}
    for before in range(3):
        # Of what stands before and after it, base64 mixes some bits into the first and last digits.
        digits = slice(-(-8 * before // 6), 8 * (before + len(secret)) // 6)
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            found.add(encode(bytes(before) + secret)[digits])
    return found


class Search:
    """Looks for secrets, given by name, in places, given by name."""

    def __init__(self):
        self.secrets = {}
        self.found = []
        self.bytes = 0

    def add(self, name, secret):
        self.secrets[name] = forms(secret)

    def look(self, where, data):
        data = data if isinstance(data, bytes) else str(data).encode(errors="surrogateescape")
        self.bytes += len(data)
        self.found += [
            (name, where) for name, each in self.secrets.items() if any(form in data for form in each)
        ]

    def look_below(self, folder):
        for path in folder.rglob("*"):
            if path.is_file():
                self.look(path, path.read_bytes())
