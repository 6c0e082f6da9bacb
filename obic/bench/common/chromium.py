"""A headless Chromium, driven over a pipe by the DevTools protocol: no driver, no port, no library.
POSIX alone."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --force-color-profile=srgb --remote-debugging-pipe"
)


class Page:
    """One page of a browser. Every method waits until it is done, and raises RuntimeError for an
    error in the page."""

    def __init__(self, commands: int, answers: int):
        self._commands, self._answers = commands, answers
        self._rest, self._last, self._session = b"", 0, None
        self.problems: list[str] = []  # errors that the page itself told
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._last:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def open(self, address: str) -> None:
        """Goes to an address, and waits until the page is loaded."""
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, code: str) -> Any:
        """The value of an expression, awaited if it is a promise."""
        answer = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"].get("description", "an error in the page"))
        return answer["result"].get("value")

    def wait(self, condition: str, seconds: float = 120) -> None:
        """Waits until an expression is true; until then it may fail, as it does while another page
        is loaded."""
        end, failure = time.monotonic() + seconds, None
        while time.monotonic() < end:
            try:
                if self.run(condition):
                    return
            except RuntimeError as error:
                failure = error
            time.sleep(0.02)
        raise RuntimeError(f"waited in vain for {condition}") from failure

    def press(self, key: str, code: int, text: str = "") -> None:
        """One key, as a person presses it."""
        about = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def cpu_seconds(self) -> float:
        """What all processes of the browser have computed so far."""
        session, self._session = self._session, None  # the browser is asked, not the page
        try:
            return sum(process["cpuTime"] for process in self.call("SystemInfo.getProcessInfo")["processInfo"])
        finally:
            self._session = session

    def resize(self, width: int, height: int, mobile: bool = False) -> None:
        """Sets the size of the window, in CSS pixels."""
        about = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.call("Emulation.setDeviceMetricsOverride", **about)

    def screenshot(self, path: Path) -> None:
        """Writes what the window shows as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._answers, 1 << 16)
            if not piece:
                raise RuntimeError("the browser has ended")
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Runtime.exceptionThrown":
            details = event["params"]["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        if event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
            self.problems.append(event["params"]["entry"]["text"])


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A page of a new browser. profile: a folder that it may fill. Raises RuntimeError where no
    Chromium is there."""
    if CHROMIUM is None:
        raise RuntimeError("Chromium is not installed")
    commands, answers = os.pipe(), os.pipe()

    def connect() -> None:  # Chromium reads from 3 and writes to 4
        ends = [_above(4, end) for end in (commands[0], answers[1])]
        os.dup2(ends[0], 3)
        os.dup2(ends[1], 4)

    process = subprocess.Popen(
        [CHROMIUM, *FLAGS.split(), f"--user-data-dir={profile}"],
        preexec_fn=connect,
        pass_fds=(3, 4),
        stderr=subprocess.DEVNULL,
    )
    os.close(commands[0])
    os.close(answers[1])
    try:
        page = Page(commands[1], answers[0])
        yield page
        page._session = None
        page.call("Browser.close")
    finally:
        os.close(commands[1])
        os.close(answers[0])
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _above(lowest: int, descriptor: int) -> int:
    """The descriptor, or a copy of it with a larger number than `lowest`."""
    return descriptor if descriptor > lowest else _above(lowest, os.dup(descriptor))
