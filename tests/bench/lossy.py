"""Fetching an image over a line that loses packets, against one connection; on the medium, in a guest.

Server and client are two network namespaces of one kernel, with netem between them, which a host's kernel may
lack and Debian's has.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.bench.result import Result
from tests.vm.harness import limits
from tests.vm.harness.artifacts import Artifacts
from tests.vm.harness.site import make_site
from tests.vm.harness.ssh import Shell

IN_GUEST = Path(__file__).with_name("lossy_guest.py")
_SCRIPT = "/run/lossy_guest.py"
_NEAR, _FAR = "192.0.2.1", "192.0.2.2"
# netem loses what it is given, so that must be single packets and not 64 KiB to be cut up later.
# What is remembered of a destination would make a later connection begin otherwise than the first.
_LINE = f"""
set -e
ip netns add far
ip link add near type veth peer name far netns far
ip addr add {_NEAR}/24 dev near
ip -n far addr add {_FAR}/24 dev far
for there in '' '-n far'; do
    dev=near; [ -z "$there" ] || dev=far
    ip $there link set $dev up gso_max_segs 1
    tc $there qdisc add dev $dev root netem delay 40ms loss 1%
done
for there in '' 'ip netns exec far'; do $there sh -c 'echo 1 > /proc/sys/net/ipv4/tcp_no_metrics_save'; done
ip netns exec far python3 {_SCRIPT} serve {_FAR} >/run/lossy.out 2>&1 </dev/null &
until grep -q listening /run/lossy.out; do sleep 0.5; done
"""
_SECONDS = 900


def lossy_line(built: Artifacts, accelerator: str) -> Result:
    """Fetch 18 MiB over 80 ms and 1 % loss each way, by our connections and by one."""
    site = make_site("lossy", built, accelerator, state="dbg")
    try:
        site.power_on()
        site.machine.wait_event("debug.entered", timeout=limits.BOOT)
        site.shell.output(f"cat > {_SCRIPT}", stdin=IN_GUEST.read_text())
        site.shell.output("sh -s", stdin=_LINE, timeout=limits.SOON)
        seconds = json.loads(site.shell.output(f"python3 {_SCRIPT} fetch {_FAR}", timeout=_SECONDS))
        lost = _lost(site.shell)
    finally:
        site.close()
    if not 0.005 < lost < 0.02:
        raise RuntimeError(f"the line lost {lost:.1%} of its packets")
    parts = {**seconds, "lost_percent": 100 * lost}
    return Result("lossy_line", seconds["ours"] / seconds["theirs"], 0.8, parts)


def _lost(shell: Shell) -> float:
    """Return which part of the packets on their way to the client was lost."""
    (queue,) = json.loads(shell.output("tc -n far -s -j qdisc show dev far"))
    drops, sent = int(queue["drops"]), int(queue["packets"])
    return drops / (sent + drops)
