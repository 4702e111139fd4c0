"""Fuzz: python -m tests.fuzz [--seconds N] [TARGET...]. Without targets all of them, one after another.

A target that crashes, hangs for ten seconds or takes more than half a GiB ends with status 1; the input is
in .build/fuzz/<target>/. Put it into tests/fuzz/found/<target>/ once it is understood.
"""

import argparse
import logging
import subprocess
import sys
from pathlib import Path

# What the fuzzer follows to find new paths; instrumented as it is imported.
FOLLOWED = ["wire", "host", "images", "bootserver", "xmlrpc.client", "tarfile", "tuf", "tests.fuzz"]
WORK = Path(__file__).parents[2] / ".build/fuzz"
HANGS_SECONDS, MEMORY_MIB = 10, 512


def run_all(names: list[str], seconds: int) -> int:
    """Run each target in a process of its own; return how many failed."""
    failed = []
    for name in names:
        print(f"fuzz: {name} for {seconds} s", flush=True)
        done = subprocess.run([sys.executable, "-m", "tests.fuzz", "--here", "--seconds", str(seconds), name])
        if done.returncode != 0:
            failed.append(name)
    print(f"fuzz: {len(names) - len(failed)} of {len(names)} without a finding {failed or ''}")
    return len(failed)


def run_here(name: str, seconds: int) -> None:
    """Fuzz one target in this process; does not return."""
    import atheris

    logging.disable()
    with atheris.instrument_imports(include=FOLLOWED, enable_loader_override=False):
        from tests.fuzz import targets as written
    folder = WORK / name
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(written.inputs(name)):
        (folder / f"corpus/seed-{number}").write_bytes(seed)
    target = written.targets()[name]
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={HANGS_SECONDS}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-max_len={target.longest}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], *options, str(folder / "corpus")], target.run)
    atheris.Fuzz()


def main() -> None:
    """Read the words and do it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="*")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.here:
        run_here(words.target[0], words.seconds)
    from tests.fuzz.targets import targets
    from tests.unit import quick_requests

    unknown = set(words.target) - set(targets())
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are: {', '.join(targets())}")
    failed = run_all(words.target or list(targets()), words.seconds)
    # Seeds are made with requests, whose threads would be waited for.
    quick_requests.close()
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
