"""The engine walks a plan: observe; where the goal does not hold, run and observe again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, stop_after_delay
from tenacity.wait import wait_exponential_jitter

from host.journal import Journal
from host.os_errors import machine_blamed
from host.ports import Host
from host.texts import _, error_text
from steps.base import Change, Context, Effect, Facts, Observation, Step
from wire.errors import BootError, InternalError, TransientError, VerificationError

ATTEMPTS = 4
RETRY_SECONDS = 90.0
# Between two words on how far a step is.
PROGRESS_SECONDS = 0.5


class GoalNotReached(VerificationError):
    """A step ran without an error, and its goal still does not hold."""

    code = "goal-not-reached"
    title = "A step did not reach its goal"
    hint = "A disk that forgets what is written to it looks like this; look at the kernel's messages."


@dataclass(frozen=True)
class Preview:
    """What the plan says of one step, without having run it; `error` is what it would fail with."""

    step: str
    title: str
    effect: Effect
    holds: bool
    changes: tuple[Change, ...] = ()
    blocked: str = ""
    error: BootError | None = None


class Engine:
    """Runs steps, tells what they do, retries what may go away by itself."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.facts = Facts()
        # The name of the step that ended the last execution.
        self.failed = ""

    def execute(self, steps: Sequence[Step]) -> None:
        """Make every step's goal hold, in order; `facts` grows by what each found.

        Raises the BootError of the step that failed, which an OSError becomes where the machine is to blame;
        the facts found so far stay.
        """
        self.failed = ""
        for step in steps:
            try:
                with machine_blamed():
                    self.facts = self.facts.plus(*self._retried(step).facts)
            except BootError as error:
                self._failed(step, error.code, error.detail)
                raise
            except OSError as error:
                # A fault of the program: who catches all of these needs it as it is, with where it came from.
                self._failed(step, InternalError.code, type(error).__name__)
                raise

    def preview(self, steps: Sequence[Step]) -> tuple[Preview, ...]:
        """Say what `execute` would do. Only observes, and keeps no facts."""
        seen, facts = [], self.facts
        for step in steps:
            missing = [kind.__name__ for kind in step.needs if kind not in facts]
            if missing:
                why = _("not known before it runs: {facts}", facts=", ".join(missing))
                seen.append(Preview(step.name, step.title, step.effect, False, blocked=why))
                continue
            try:
                with machine_blamed():
                    found = step.observe(Context(self.host, facts))
            except BootError as error:
                why = error_text(error)
                seen.append(Preview(step.name, step.title, step.effect, False, blocked=why, error=error))
                continue
            facts = facts.plus(*found.facts)
            seen.append(Preview(step.name, step.title, step.effect, found.holds, found.changes))
        return tuple(seen)

    def _failed(self, step: Step, code: str, detail: str) -> None:
        self.failed = step.name
        self.host.events.tell("step.failed", step=step.name, code=code, detail=detail)

    def _retried(self, step: Step) -> Observation:
        def waiting(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            seconds = state.next_action.sleep if state.next_action else 0.0
            self.host.events.tell(
                "step.retry",
                step=step.name,
                attempt=state.attempt_number,
                seconds=round(seconds, 1),
                detail=error_text(error) if error is not None else "",
            )

        retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(ATTEMPTS) | stop_after_delay(RETRY_SECONDS),
            wait=wait_exponential_jitter(initial=1, max=20, jitter=2),
            before_sleep=waiting,
            reraise=True,
        )
        return retrying(self._once, step)

    def _once(self, step: Step) -> Observation:
        context = Context(self.host, self.facts, progress=Progress(self.host, step.name))
        tell = self.host.events.tell
        started = time.monotonic()
        tell("step.started", step=step.name, title=step.title)
        found = step.observe(context)
        if found.holds:
            tell(
                "step.done" if step.effect is Effect.READS else "step.kept",
                step=step.name,
                seconds=_since(started),
            )
            return found
        self._note("start", step)
        step.run(context)
        found = step.observe(context)
        if not found.holds:
            left = "; ".join(f"{change.target}: {change.text}" for change in found.changes)
            raise GoalNotReached(f"{step.name}: {left or 'still not so'}")
        self._note("done", step)
        tell("step.done", step=step.name, seconds=_since(started))
        return found

    def _note(self, kind: str, step: Step) -> None:
        journal = self.facts.get(Journal)
        if journal is None:
            return
        try:
            journal.append(kind, step=step.name, run=self.host.events.run_id)
        except OSError as error:
            # The journal is for people; the disks themselves tell what is done.
            self.host.events.tell("journal.lost", path=str(journal.path), detail=str(error))


class Progress:
    """Tells how far a step is, not more often than somebody can read."""

    def __init__(self, host: Host, step: str) -> None:
        self._host = host
        self._step = step
        self._last = 0.0

    def __call__(self, fraction: float | None, detail: str) -> None:
        """Tell it; `fraction` is 0..1, or None where it cannot be known."""
        now = time.monotonic()
        if now - self._last < PROGRESS_SECONDS and fraction != 1.0:
            return
        self._last = now
        known = {} if fraction is None else {"fraction": round(fraction, 3)}
        self._host.events.tell("step.progress", step=self._step, detail=detail, **known)


def _since(started: float) -> float:
    return round(time.monotonic() - started, 2)
