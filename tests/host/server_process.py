"""bootserver as a process of its own: started, asked, stopped; its command line; the key medium it writes."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_SECONDS = 60


class Process:
    """A running bootserver; `options` are of every command, `serving` of this one, with a listener more."""

    def __init__(self, folder, *options, listen="127.0.0.1:0", serving=()):
        self.folder = folder
        ports = ["--listen", listen, "--operator", "127.0.0.1:0"]
        words = [*bootserver(folder), *options, "serve", *ports, *serving]
        self.log = (folder / "log").open("ab")
        self.process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=self.log, text=True)
        lines = [self.process.stdout.readline() for _ in range(3 if serving else 2)]
        found = [re.search(r"https?://[0-9.:\[\]]+", line)[0] for line in lines]
        self.nodes, self.operator, *further = found
        self.netboot = further[0] if further else ""

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.communicate(timeout=START_SECONDS)
        self.log.close()
        return self.process.returncode

    def get(self, path):
        with urllib.request.urlopen(self.operator + path, timeout=60) as answer:
            return json.load(answer)


def bootserver(folder):
    return [sys.executable, "-m", "bootserver", "--state", str(folder)]


def cli(folder, *words):
    line = [*bootserver(folder), *map(str, words)]
    return subprocess.run(line, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def key_file(folder, *options):
    """Return the text on a freshly written key medium."""
    image = folder / "key.img"
    cli(folder, "media", "key", "node1", image, *options)
    return subprocess.run(
        ["mtype", "-i", image, "::plnode.txt"], check=True, capture_output=True, text=True
    ).stdout
