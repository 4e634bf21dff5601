"""One request to the worker until its last answer: events, cancelling, silence, the end of the process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mednext.errors import EngineProcessError
from mednext.worker import protocol

from .run import WAITING, Run, Steps
from .worker_process import WorkerProcess

SILENCE_S = 120.0  # importing torch from a cold disk stops the heartbeat; Cancel does not wait for it
ACCEPTING_S = 20.0  # an idle worker accepts a request at once, even if its memory was swapped out
CANCEL_ANSWER_S = 1.2

_LONGEST_LOOK_S = 1.0  # time that the computer slept does not count as silence
_CLOSING_S = 1.0
_DYING_S = 0.5


Send = Callable[[protocol.Request], None]
OnEvent = Callable[[protocol.Message, Send], Steps[None]]


def _nothing(_event: protocol.Message, _send: Send) -> Steps[None]:
    yield from ()


class DiedIdleError(Exception):
    """The worker died or froze unnoticed before this request."""


class Conversation:
    """Sends a request to a worker, and takes its answers.

    fresh: whether the worker was started for this request; an older one may have died idle.
    onEvent: returns the steps for an event other than progress and the last one; it may answer with a
        request.
    """

    def __init__(
        self,
        process: WorkerProcess,
        run: Run[Any],
        request: protocol.Work,
        silence_s: float,
        fresh: bool,
        onEvent: OnEvent | None = None,
    ) -> None:
        self._process = process
        self._run = run
        self._request = request
        self._silence_limit_s = silence_s
        self._silence_s = 0.0
        self._looked = time.monotonic()
        self._fresh = fresh
        self._onEvent = onEvent or _nothing
        self._others: list[protocol.Message] = []
        self._asked = self._answered = self._over = False
        self._give_up: float | None = None  # when to stop waiting for the answer to a cancel

    def steps(self) -> Steps[None]:
        """Send the request, and end when the result is there.

        Raises the engine's error, EngineProcessError, or `DiedIdleError`.
        """
        try:
            self._ask()
            while not self._over:
                if self._should_be_killed():
                    yield from self._kill()
                    self._run.check_cancelled()
                if self._hear():
                    others, self._others = self._others, []
                    for event in others:
                        yield from self._onEvent(event, self._process.send)
                    continue
                if self._process.ended:
                    yield from self._end()
                self._refuse_silence()
                yield WAITING
        finally:
            if self._asked and not self._over:  # the run was abandoned
                self._process.send(protocol.CancelRequest(self._request.run))

    def _ask(self) -> None:
        if self._process.greeted and not self._asked:
            self._asked = True
            self._process.send(self._request)

    def _should_be_killed(self) -> bool:
        """Pass on a cancel. Returns whether the worker has not answered it in time."""
        if not self._run.cancelled:
            return False
        if not self._asked:
            self._run.check_cancelled()
        if self._give_up is None:
            self._give_up = time.monotonic() + CANCEL_ANSWER_S
            self._process.send(protocol.CancelRequest(self._request.run))
        return time.monotonic() > self._give_up

    def _kill(self) -> Steps[None]:
        self._process.kill()
        self._over = True
        until = time.monotonic() + _DYING_S
        while not self._process.gone and time.monotonic() < until:
            yield WAITING

    def _end(self) -> Steps[None]:
        """Handle the end of the process without an answer."""
        self._over = True
        self._run.check_cancelled()
        if not self._fresh and not self._answered:
            self._process.kill()
            raise DiedIdleError
        until = time.monotonic() + _CLOSING_S
        while not self._process.complete and time.monotonic() < until:
            yield WAITING
        raise self._process.explain_end()

    def _hear(self) -> bool:
        """Take all new events. Returns whether there were any; raises the error in one."""
        events = self._process.events()
        heard = bool(events)
        if heard:
            self._silence_s, self._looked = 0.0, time.monotonic()
        while events and not self._over:
            self._take(events.popleft())
        return heard

    def _take(self, event: protocol.Message) -> None:
        kind, ours = event["event"], event.get("run") == self._request.run
        self._answered = self._answered or ours
        if kind == "hello":
            self._greet(event)
        elif kind == "progress" and ours:
            self._run.report(event)
        elif kind == "error" and (ours or event.get("run") is None):
            self._over = True
            if not ours:  # it is ending: another request must not reach it
                self._process.kill()
            raise protocol.error_from_event(event)
        elif kind == "done" and ours:
            self._over = True
        elif ours and kind != "accepted":
            self._others.append(event)

    def _greet(self, event: protocol.Message) -> None:
        if event.get("protocol") != protocol.LANGUAGE:
            self._process.kill()
            raise EngineProcessError(
                f"The worker speaks version {event.get('protocol')} of the protocol, this module version "
                f"{protocol.LANGUAGE}: two versions of the extension are mixed. Restart Slicer; if that does "
                "not help, install the extension again."
            )
        self._process.greeted = True
        self._ask()

    def _refuse_silence(self) -> None:
        now = time.monotonic()
        self._silence_s += min(now - self._looked, _LONGEST_LOOK_S)
        self._looked = now
        was_idle = not self._answered and not self._fresh and self._process.accelerators is not None
        limit_s = min(self._silence_limit_s, ACCEPTING_S) if was_idle else self._silence_limit_s
        if self._silence_s <= limit_s:
            return
        self._process.kill()
        self._over = True
        if was_idle:
            raise DiedIdleError
        error = EngineProcessError(
            f"The worker sent nothing for {self._silence_limit_s:g} s and was ended. The scene is "
            "unchanged, and the next run starts a new worker; details are in Slicer's log."
        )
        error.add_note("\n".join(self._process.log))
        raise error
