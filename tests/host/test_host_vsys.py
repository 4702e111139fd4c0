"""Services for slices on real FIFOs, with real processes and inotify: each claim of docs/vsys.md."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from configmanager.vsys.channel import STARTS_A_SECOND, STARTS_AT_ONCE
from tests.host.vsys_site import Site

pytestmark = pytest.mark.host

HELLO = 'read line; echo "$1 said $line"'
COUNT = 'n=0; while read line; do n=$((n+1)); echo "$n $line"; done'


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    site.add_slice("demo_one")
    site.start()
    yield site
    site.close()


def ask(site: Site, service: str, text: str, name: str = "demo_one") -> str:
    return site.as_slice(name, f"echo '{text}' > {service}.in; cat {service}.out")


def test_a_copy_is_offered_at_once_and_answers(site):
    site.sees("demo_one")
    site.offer("hello", HELLO)
    site.sees("demo_one", "hello.in", "hello.out")
    assert ask(site, "hello", "good day") == "demo_one said good day\n"
    assert ask(site, "hello", "again") == "demo_one said again\n"
    (site.vsys / "hello").unlink()
    site.sees("demo_one")


def test_the_fifos_are_the_nodes_and_open_in_one_direction(site):
    site.offer("hello", HELLO)
    site.sees("demo_one", "hello.in", "hello.out")
    user = site.slots["demo_one"].first_user
    for name, mode in (("hello.in", 0o620), ("hello.out", 0o640)):
        status = (site.folder("demo_one") / name).lstat()
        assert (status.st_mode, status.st_uid, status.st_gid) == (stat.S_IFIFO | mode, 0, user)
    assert "ermission denied" in site.as_slice("demo_one", "exec 3< hello.in")
    assert "ermission denied" in site.as_slice("demo_one", "exec 3> hello.out")
    assert "not permitted" in site.as_slice("demo_one", "chmod 666 hello.in")


def test_the_root_of_a_sliver_can_use_the_fifos_and_nothing_else(site):
    site.offer("hello", HELLO)
    site.offer("load", "echo 7", "demo_one r\n")
    site.sees("demo_one", "hello.in", "hello.out", "load.out")
    use = "cd /mnt; id -u; stat -c '%a %u' .; echo x > hello.in; cat hello.out; cat load.out"
    assert site.as_sliver_root("demo_one", use) == "0\n700 0\ndemo_one said x\n7\n"
    attempts = (
        "rm hello.in",
        "mv hello.in y",
        "ln -s /etc/passwd x",
        "mkfifo x",
        "chmod 777 .",
        "chmod 666 hello.in",
        "chown 1 hello.in",
        "exec 3< hello.in",
        "exec 3> load.out",
        "exec 3<> load.out",
        "mount -o remount,rw /mnt",
        "mount -o remount,bind,rw /mnt",
        "umount /mnt",
    )
    script = "".join(f"({attempt}) 2>/dev/null && echo '{attempt}'; " for attempt in attempts)
    assert site.as_sliver_root("demo_one", f"cd /mnt; {script} echo tried") == "tried\n"


def test_an_acl_says_who_has_what(site):
    for name in ("other", "third"):
        site.add_slice(name)
    site.offer("load", "echo 7", "demo_one rw\nother r\n")
    site.offer("plain", "echo 8", "other\n")
    site.sees("demo_one", "load.in", "load.out")
    site.sees("other", "load.out", "plain.in", "plain.out")
    site.sees("third")
    (site.vsys / "load.acl").write_text("demo_one r\nthird rw\n")
    site.sees("demo_one", "load.out")
    site.sees("other", "plain.in", "plain.out")
    site.sees("third", "load.in", "load.out")


def test_to_read_is_enough_where_nothing_can_be_written(site):
    site.offer("load", "echo 7", "demo_one r\n")
    site.sees("demo_one", "load.out")
    for _ in range(5):
        assert site.as_slice("demo_one", "cat load.out") == "7\n"
    site.until(lambda: site.running() == 0, "its end")


def test_who_stops_reading_ends_what_only_speaks(site):
    site.offer("clock", "while echo tick; do sleep 0.1; done", "demo_one r\n")
    site.sees("demo_one", "clock.out")
    assert site.as_slice("demo_one", "head -n 1 clock.out").endswith("\n")
    site.until(lambda: site.running() == 0, "its end")
    assert len(site.as_slice("demo_one", "head -n 2 clock.out").splitlines()) == 2


def test_a_private_service_is_in_one_slice_only(site):
    site.add_slice("other")
    (site.vsys / "pvt/other").mkdir()
    site.offer("pvt/other/mine", HELLO)
    site.offer("both", "echo public")
    site.offer("pvt/other/both", "echo private")
    site.sees("other", "both.in", "both.out", "mine.in", "mine.out")
    site.sees("demo_one", "both.in", "both.out")
    assert ask(site, "mine", "x", "other") == "other said x\n"
    site.until(lambda: ask(site, "both", "x", "other") == "private\n", "the private one")
    assert ask(site, "both", "x") == "public\n"


def test_a_loop_keeps_its_instance_for_each_slice(site):
    site.add_slice("other")
    site.offer("count", COUNT)
    site.sees("other", "count.in", "count.out")
    site.sees("demo_one", "count.in", "count.out")
    line = "head -n 1 count.out"
    assert site.as_slice("demo_one", f"echo a > count.in; {line}") == "1 a\n"
    assert site.as_slice("demo_one", f"echo b > count.in; {line}") == "2 b\n"
    assert site.as_slice("other", f"echo c > count.in; {line}") == "1 c\n"
    assert site.running() == 2


def test_lines_that_one_instance_leaves_are_for_the_next(site):
    site.offer("hello", HELLO)
    site.sees("demo_one", "hello.in", "hello.out")
    said = site.as_slice(
        "demo_one", "printf 'a\\nb\\nc\\n' > hello.in; while read x; do echo $x; done < hello.out"
    )
    said += site.as_slice("demo_one", "timeout 1 cat hello.out")
    assert [line.split()[-1] for line in said.splitlines()] == ["a", "b", "c"]


def test_what_does_not_read_is_started_once(site):
    site.offer("tally", f"echo x >> {site.root}/tally; echo done")
    site.sees("demo_one", "tally.in", "tally.out")
    assert ask(site, "tally", "go") == "done\n"
    time.sleep(0.5)
    assert (site.root / "tally").read_text() == "x\n"


def test_the_end_of_input_can_be_had(site):
    site.offer("shout", "exec tr a-z A-Z < /dev/stdin")
    site.sees("demo_one", "shout.in", "shout.out")
    assert site.as_slice("demo_one", "(echo a; sleep 0.3; echo b) > shout.in; cat shout.out") == "A\nB\n"


def test_an_answer_waits_and_has_an_end_also_when_it_is_empty(site):
    site.offer("mute", "read line; exit 0")
    site.offer("hello", HELLO)
    site.sees("demo_one", "hello.in", "hello.out", "mute.in", "mute.out")
    site.as_slice("demo_one", "echo x > mute.in; echo y > hello.in")
    site.until(lambda: site.running() == 0, "their ends")
    assert site.as_slice("demo_one", "cat mute.out") == ""
    assert site.as_slice("demo_one", "cat hello.out") == "demo_one said y\n"


def test_a_service_that_dies_is_logged_and_started_again(site):
    site.offer("weak", 'read line; echo "$line is bad" >&2; kill -SEGV $$')
    site.sees("demo_one", "weak.in", "weak.out")
    for word in ("one", "two"):
        assert ask(site, "weak", word) == ""
        site.until(lambda word=word: f"weak for demo_one: {word} is bad" in site.said(), "its words")
    assert site.said().count("weak for demo_one was ended by signal 11") == 2
    site.offer("broken", "#!/does/not/exist\n")
    site.sees("demo_one", "broken.in", "broken.out", "weak.in", "weak.out")
    assert ask(site, "broken", "x") == ""
    site.until(lambda: "broken for demo_one ended with status 127" in site.said(), "its end")


def test_what_a_service_leaves_behind_ends_with_it(site):
    site.offer("fork", "read line; sleep 1000 & sleep 1000 & echo $line")
    site.sees("demo_one", "fork.in", "fork.out")
    assert ask(site, "fork", "x") == "x\n"
    assert site.running() == 0


def test_who_never_reads_stops_only_what_speaks_to_it(site):
    site.add_slice("other")
    site.offer("much", "while read line; do yes $line | head -c 1000000; done")
    site.offer("hello", HELLO)
    for name in ("demo_one", "other"):
        site.sees(name, "hello.in", "hello.out", "much.in", "much.out")
    site.as_slice("demo_one", "echo x > much.in")
    assert len(site.as_slice("other", "echo x > much.in; head -c 1000000 much.out")) == 1_000_000
    assert ask(site, "hello", "x") == "demo_one said x\n"
    assert ask(site, "hello", "x", "other") == "other said x\n"
    before = site.cpu_seconds()
    time.sleep(1)
    assert site.cpu_seconds() - before < 0.05


def test_who_floods_stops_only_itself(site):
    site.add_slice("other")
    site.offer("deaf", "exec sleep 1000")
    site.offer("hello", HELLO)
    site.offer("tally", f"read line; echo x >> {site.root}/tally")
    for name in ("demo_one", "other"):
        site.sees(name, "deaf.in", "deaf.out", "hello.in", "hello.out", "tally.in", "tally.out")
    # To a service that does not read, and to one that is started for each line.
    begun = time.monotonic()
    floods = [site.popen("demo_one", f"exec yes > {service}.in") for service in ("deaf", "tally")]
    try:
        time.sleep(2)
        for _ in range(5):
            started = time.monotonic()
            assert ask(site, "hello", "x", "other") == "other said x\n"
            assert time.monotonic() - started < 2
        assert site.running() < 10
        site.until(lambda: len((site.root / "tally").read_text()) // 2 > 100, "instances")
        started = len((site.root / "tally").read_text()) // 2
        assert started <= STARTS_AT_ONCE + STARTS_A_SECOND * (time.monotonic() - begun)
    finally:
        for flood in floods:
            flood.kill()
            flood.wait()


def test_words_for_the_log_are_bounded_and_cannot_forge_lines(site):
    site.offer(
        "loud", "read line; printf 'evil\\033[2J\\rINFO x: y\\n' >&2; yes | head -c 3000000 >&2; echo done"
    )
    site.offer("hello", HELLO)
    site.sees("demo_one", "hello.in", "hello.out", "loud.in", "loud.out")
    site.as_slice("demo_one", "echo x > loud.in")
    site.until(
        lambda: "evil\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}INFO x: y" in site.said(),
        "its words",
    )
    time.sleep(2)
    assert site.log.stat().st_size < 4_000_000
    assert site.said().count(": y\n") < 50_000
    assert ask(site, "hello", "x") == "demo_one said x\n"


def test_nothing_runs_for_who_may_no_longer(site):
    site.offer("count", COUNT, "demo_one rw\n")
    site.sees("demo_one", "count.in", "count.out")
    assert site.as_slice("demo_one", "echo a > count.in; head -n 1 count.out") == "1 a\n"
    (site.vsys / "count.acl").write_text("somebody rw\n")
    site.sees("demo_one")
    site.until(lambda: site.running() == 0, "its end")
    site.until(lambda: "count.acl: somebody is not on this node" in site.said(), "the notice")


def test_a_new_copy_takes_over(site):
    site.offer("count", COUNT)
    site.sees("demo_one", "count.in", "count.out")
    assert site.as_slice("demo_one", "echo a > count.in; head -n 1 count.out") == "1 a\n"
    site.offer("count", 'while read line; do echo "new $line"; done')
    site.until(lambda: site.running() == 0, "the end of the old one")
    assert site.as_slice("demo_one", "echo b > count.in; head -n 1 count.out") == "new b\n"


def test_a_slice_that_goes_leaves_nothing(site):
    site.offer("count", COUNT)
    site.offer("load", "exec sleep 1000", "demo_one r\n")
    site.sees("demo_one", "count.in", "count.out", "load.out")
    reader = site.popen("demo_one", "cat load.out")
    site.as_slice("demo_one", "echo a > count.in; head -n 1 count.out")
    site.until(lambda: site.running() == 2, "both to run")
    site.folder("demo_one").rename(site.root / "run/vsys/.gone-demo-one")
    site.until(lambda: site.running() == 0, "their ends")
    reader.wait(10)
    site.until(lambda: not list(site.group.glob("slice-*")), "the groups to go")
    before = len(list(Path(f"/proc/{site.process.pid}/fd").iterdir()))
    assert before < 16
    site.add_slice("third")
    site.sees("third", "count.in", "count.out")


def test_refusals_are_told_and_harm_nothing_else(site):
    site.offer("good", HELLO)
    (site.vsys / "link").symlink_to("/bin/date")
    (site.vsys / "plain").write_text("#!/bin/sh\n")
    site.offer("open", HELLO).chmod(0o777)
    os.chown(site.offer("foreign", HELLO), 1000, 0)
    site.offer("bad name", HELLO)
    site.offer("strict", HELLO, "demo_one rw\nx y z\n../etc rw\n")
    site.offer("closed", HELLO).with_name("closed.acl").symlink_to("/dev/null")
    (site.vsys / "pvt/NOT A SLICE").mkdir()
    site.sees("demo_one", "good.in", "good.out", "strict.in", "strict.out")
    for words in (
        "vsys/link: it is a symbolic link",
        "vsys/plain: it is not executable",
        "vsys/open: others than root can write to it",
        "vsys/foreign: user 1000 owns it",
        "vsys/bad name: its name is not",
        "vsys/strict.acl: line 2: 'x y z' is not a slice with r or rw",
        "vsys/strict.acl: line 3: '../etc' is not a name",
        "vsys/closed.acl: it is a symbolic link, so nobody has the service",
        "vsys/pvt/NOT A SLICE: 'NOT A SLICE' is not a name",
    ):
        site.until(lambda words=words: words in site.said(), words)
    assert ask(site, "good", "x") == "demo_one said x\n"
    site.vsys.chmod(0o777)
    site.sees("demo_one")
    site.vsys.chmod(0o755)
    site.sees("demo_one", "good.in", "good.out", "strict.in", "strict.out")


def test_what_was_left_by_a_program_that_was_killed_ends_with_the_next(site):
    site.offer("count", COUNT)
    site.sees("demo_one", "count.in", "count.out")
    assert site.as_slice("demo_one", "echo a > count.in; head -n 1 count.out") == "1 a\n"
    site.process.kill()
    site.process.wait()
    assert site.running() == 1
    site.start()
    site.until(lambda: site.running() == 0, "the end of the old one")
    assert site.as_slice("demo_one", "echo b > count.in; head -n 1 count.out") == "1 b\n"


def test_folders_may_come_late_and_come_again(site):
    site.offer("hello", HELLO)
    site.sees("demo_one", "hello.in", "hello.out")
    site.vsys.rename(site.root / "away")
    site.sees("demo_one")
    (site.root / "away").rename(site.vsys)
    site.sees("demo_one", "hello.in", "hello.out")
    (site.vsys / "pvt").rmdir()
    (site.vsys / "pvt/demo_one").mkdir(parents=True)
    site.offer("pvt/demo_one/mine", HELLO)
    site.sees("demo_one", "hello.in", "hello.out", "mine.in", "mine.out")
    assert ask(site, "mine", "x") == "demo_one said x\n"


def test_a_restart_goes_on_with_the_same_fifos(site):
    site.offer("hello", HELLO)
    site.offer("gone", HELLO)
    site.offer("count", COUNT)
    site.sees("demo_one", "count.in", "count.out", "gone.in", "gone.out", "hello.in", "hello.out")
    site.as_slice("demo_one", "echo a > count.in")
    site.until(lambda: site.running() == 1, "an instance")
    inode = (site.folder("demo_one") / "hello.in").stat().st_ino
    site.stop()
    site.until(lambda: site.running() == 0, "its end")
    (site.vsys / "gone").unlink()
    # Who asks meanwhile waits for it.
    waiting = site.popen("demo_one", "echo early > hello.in; cat hello.out")
    (site.folder("demo_one") / "hello.out").unlink()
    (site.folder("demo_one") / "hello.out").symlink_to(site.root / "trap")
    site.start()
    assert waiting.communicate(timeout=20)[0] == "demo_one said early\n"
    site.sees("demo_one", "count.in", "count.out", "hello.in", "hello.out")
    assert (site.folder("demo_one") / "hello.in").stat().st_ino == inode
    assert not (site.root / "trap").exists()
    assert site.process.poll() is None
    os.kill(site.process.pid, signal.SIGTERM)
