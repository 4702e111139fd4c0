"""What is taken out of texts that people read."""

import base64
import json

import pytest

from host.redact import REDACTED, Redactor

SECRET = b"\xfb\xff" + bytes(range(7, 37))
FORMS = [repr, bytes.hex, lambda data: data.hex().upper(), base64.b64encode, base64.urlsafe_b64encode]


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("write", FORMS)
def test_a_known_secret_in_any_form(write, before):
    text = write(b"x" * before + SECRET + b"y")
    text = text if isinstance(text, str) else text.decode()
    left = Redactor([SECRET]).text(f"said {text}, then went on")
    assert REDACTED in left
    assert left.startswith("said ")
    assert left.endswith(", then went on")
    assert len(left) < 60


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN OPENSSH PRIVATE KEY-----\nQUJD\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nQUJD and cut off",
        "root:$y$j9T$QUJDQUJDQUJDQUJD$QUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJ:19000:",
        'NODE_KEY="QUJD="',
        "ENROL_TOKEN=QUJD",
        "proxy http://fred:QUJD@10.0.0.1:3128/",
        "bm.console_password=QUJD",
        '{"password": "QUJD"}',
        "0123456789abcdef.QUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJDQUJ",
    ],
)
def test_what_looks_like_a_secret(text):
    left = Redactor().text(f"before {text} after")
    assert left.startswith("before ")
    assert "QUJD" not in left


@pytest.mark.parametrize(
    "text",
    [
        "virtio_blk virtio1: [vda] 16777216 512-byte logical blocks (8.59 GB/8.00 GiB)",
        "https://10.0.2.2:8080/PLCAPI/ answered with status 500",
        "a key was pressed; keys: no token was found",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFoo fred@example.org",
    ],
)
def test_what_is_none_stays(text):
    assert Redactor([SECRET]).text(text) == text


def test_plain_data_stays_plain_data():
    data = {"a": [1, None, "x"], "node_key": "QUJD", "password": "", "url": "http://u:QUJD@h/", "n": 2.5}
    left = Redactor([b"QUJDQUJD"]).data(data)
    assert left == {
        "a": [1, None, "x"],
        "node_key": REDACTED,
        "password": "",
        "url": f"http://{REDACTED}@h/",
        "n": 2.5,
    }
    assert json.loads(json.dumps(left)) == left


def test_without_secrets_nothing_is_known_and_an_empty_one_is_none():
    assert Redactor([b""]).text("anything") == "anything"
