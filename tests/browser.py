"""Debian's chromium, without a window, driven by chromedriver over the WebDriver protocol: a few calls, no library."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element's id, a constant of the standard
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
             "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage")  # fmt: skip
TAB = "\ue004"
ENTER = "\ue007"
PATIENCE_S = 60.0  # nothing here takes a second on an idle machine; on a busy one it may take many
KEY_S = 2.0  # until a key that has shown no effect is taken for lost
AXE = Path(os.environ.get("AXE_CORE", "node_modules/axe-core/axe.min.js"))
NO_AXE = "" if AXE.is_file() else f"no axe-core at {AXE}: npm install --no-save axe-core, or AXE_CORE=.../axe.min.js"
HERE = "return document.readyState === 'complete' && document.hasFocus()"


def missing() -> str:
    """What is not installed, as a reason to skip; empty if nothing."""
    lacks = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return f"no {' and no '.join(lacks)} (Debian: apt-get install chromium chromium-driver)" if lacks else ""


class Browser:
    """One window of a fresh profile."""

    def __init__(self, profile: Path) -> None:
        self._driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        assert self._driver.stdout
        port = next(line.split("port ")[1].strip(" .\n") for line in self._driver.stdout if "started success" in line)
        self._base = f"http://127.0.0.1:{port}"
        options = {"binary": shutil.which("chromium"), "args": [*ARGUMENTS, f"--user-data-dir={profile}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        try:
            session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        except BaseException:
            self._end()
            raise
        self._base += f"/session/{session['sessionId']}"

    def close(self) -> None:
        """End the window and the driver."""
        try:
            self._call("DELETE", "")
        finally:
            self._end()

    def _end(self) -> None:
        self._driver.terminate()
        self._driver.wait()
        assert self._driver.stdout
        self._driver.stdout.close()

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if method != "POST" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.read().decode()[:500]}") from None

    def axe(self) -> list[dict[str, Any]]:
        """What axe-core has against the page: rule, impact, and where."""
        self.devtools("Runtime.evaluate", expression=AXE.read_text(encoding="utf-8"))
        script = """axe.run(document, {resultTypes: ["violations"]}).then(all =>
            JSON.stringify(all.violations.map(one =>
            ({id: one.id, impact: one.impact, where: one.nodes.slice(0, 3).map(node => node.html.slice(0, 200))}))))"""
        said = self.devtools("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        found: list[dict[str, Any]] = json.loads(said["result"]["value"])
        return found

    def go(self, url: str) -> None:
        """Open a page, and return when it is whole and has the focus: a key that comes before that reaches nothing."""
        self._call("POST", "/url", {"url": url})
        self._arrive()

    def _arrive(self) -> None:
        self.devtools("Page.bringToFront")
        self.wait(lambda: self.run(HERE), "a whole page in front")

    def run(self, script: str, *arguments: Any) -> Any:
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector: str) -> str:
        """What an element holds, as its nodes have it; empty if there is none."""
        return str(self.run("return (document.querySelector(arguments[0]) || {}).textContent || ''", selector))

    def press(self, *keys: str) -> None:
        """Press and release keys, one after the other, wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def press_tab(self) -> None:
        """Press Tab on a page where nothing has the focus, until something has it."""

        def moved() -> object:
            return self.run("return document.activeElement !== document.body")

        def arrived() -> object:
            self.press(TAB)
            return self.holds(moved, KEY_S)

        self.wait(arrived, "the focus on an element")

    def click(self, selector: str) -> None:
        """Click an element of a page that is whole, so that its script hears of it."""
        self.wait(lambda: self.run(HERE), "a whole page in front")
        found = self._call("POST", "/element", {"using": "css selector", "value": selector})
        self._call("POST", f"/element/{found[ELEMENT]}/click")

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Look until the condition holds. Raises AssertionError if it never does."""
        assert self.holds(condition, PATIENCE_S), f"{what}; the page says {self.text('body')[:500]!r}"

    def holds(self, condition: Callable[[], object], patience_s: float) -> bool:
        """Whether the condition holds now, or within so many seconds."""
        deadline = time.monotonic() + patience_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def devtools(self, command: str, **params: Any) -> Any:
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def show_as(self, width: int, height: int, scheme: str) -> None:
        """A screen of this size in CSS pixels, and `light` or `dark` as the user's wish."""
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                      mobile=width < 600)  # fmt: skip
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def log(self) -> list[str]:
        """What the browser's console has said since the last look: errors of scripts, refusals by the CSP."""
        return [str(entry["message"]) for entry in self._call("POST", "/se/log", {"type": "browser"})]

    def tab(self) -> str:
        """Open another tab and go to it; returns the handle of the one before."""
        before = str(self._call("GET", "/window"))
        self.to(self._call("POST", "/window/new", {"type": "tab"})["handle"])
        return before

    def close_others(self) -> None:
        """Close every tab but this one."""
        mine = str(self._call("GET", "/window"))
        for handle in self._call("GET", "/window/handles"):
            if handle != mine:
                self._call("POST", "/window", {"handle": handle})
                self._call("DELETE", "/window")
        self.to(mine)

    def to(self, handle: str) -> None:
        """Bring a tab to the front."""
        self._call("POST", "/window", {"handle": handle})
        self._arrive()
