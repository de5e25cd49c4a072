"""A headless Chromium that is driven through a pipe: its DevTools protocol, JSON messages with a
zero byte behind each. Needs nothing but Python's standard library.

What a page requests is recorded, so that a test can see that it requested nothing."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time


class Failure(Exception):
    """A page, or the browser, did not do what was asked of it."""


class Chromium:
    """One browser with one page in it."""

    def __init__(self, program="chromium"):
        self.folder = tempfile.mkdtemp(prefix="vmoec-chromium-")
        to_child, self.to = os.pipe()
        self.at, from_child = os.pipe()

        def place():  # where the protocol wants them; not over one that is still needed
            a, b = os.dup(to_child), os.dup(from_child)
            os.dup2(a, 3)
            os.dup2(b, 4)

        self.process = subprocess.Popen(
            [
                program,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--remote-debugging-pipe",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--user-data-dir=" + self.folder,
                "about:blank",
            ],
            preexec_fn=place,
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_child)
        os.close(from_child)
        self.rest = b""
        self.number = 0
        self.session = None
        self.requests = []
        self.errors = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(domain + ".enable")
        self.call(
            "Network.emulateNetworkConditions",
            offline=True,
            latency=0,
            downloadThroughput=0,
            uploadThroughput=0,
        )

    def close(self):
        """Ends the browser, and what it left behind."""
        try:
            self.session = None
            self.call("Browser.close")
            self.process.wait(10)
        except (Failure, OSError, subprocess.TimeoutExpired):
            self.process.kill()
        os.close(self.to)
        os.close(self.at)
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- the protocol ----

    def message(self, deadline):
        """The next message, or None when there is none in time."""
        while b"\0" not in self.rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.at], [], [], left)[0]:
                return None
            more = os.read(self.at, 1 << 20)
            if not more:
                raise Failure("the browser ended")
            self.rest += more
        text, self.rest = self.rest.split(b"\0", 1)
        return json.loads(text)

    def note(self, event):
        """Keeps what a test wants to know later."""
        params = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        if event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"])[:500])
        if event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])

    def call(self, method, seconds=60, **params):
        """Sends a command and returns its result."""
        self.number += 1
        what = {"id": self.number, "method": method, "params": params}
        if self.session:
            what["sessionId"] = self.session
        data = json.dumps(what).encode() + b"\0"
        while data:
            data = data[os.write(self.to, data) :]
        deadline = time.monotonic() + seconds
        while True:
            m = self.message(deadline)
            if m is None:
                raise Failure(method + ": no answer")
            if m.get("id") != self.number:
                self.note(m)
                continue
            if "error" in m:
                raise Failure(method + ": " + m["error"]["message"])
            return m["result"]

    # ---- pages ----

    def open(self, path, size=(1280, 900), dark=False, before=None):
        """Loads a file as a page of that size, and waits until it is ready or has failed."""
        self.size(*size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        script = None
        if before:
            script = self.call("Page.addScriptToEvaluateOnNewDocument", source=before)["identifier"]
        self.requests.clear()
        self.errors.clear()
        self.call("Page.navigate", url="file://" + os.path.abspath(path))
        self.wait("document.readyState === 'complete' && document.body.dataset.state !== 'loading'")
        if script:
            self.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)

    def size(self, width, height):
        """The page's size in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def run(self, script):
        """The value of an expression of JavaScript, of a promise what it becomes."""
        r = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in r:
            raise Failure(json.dumps(r["exceptionDetails"])[:800])
        return r["result"].get("value")

    def wait(self, condition, seconds=60):
        """Until an expression is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if self.run(condition):
                    return
            except Failure as e:  # the page is only being loaded
                if "context" not in str(e):
                    raise
            time.sleep(0.02)
        raise Failure("it did not become true: " + condition)

    def screenshot(self, path):
        """The whole page as a PNG file."""
        height = self.run("document.documentElement.scrollHeight")
        width = self.run("window.innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        r = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        with open(path, "wb") as f:
            f.write(base64.b64decode(r["data"]))

    # ---- hands ----

    def mouse(self, kind, x, y, buttons=1):
        """One event of the mouse, at a place of the page's window."""
        self.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x,
            y=y,
            button="left" if kind != "mouseMoved" else "none",
            buttons=buttons,
            clickCount=1,
            pointerType="mouse",
        )

    def key(self, name, code):
        """A key, pressed and let go."""
        text = {"Enter": "\r", " ": " "}.get(name)
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=name,
                code=name if name != " " else "Space",
                windowsVirtualKeyCode=code,
                **more,
            )

    def drop(self, selector, name, data, kind):
        """Drops a file of these bytes: what a DataTransfer with it does."""
        self.run(
            """(async () => {
            const bytes = Uint8Array.from(atob(%s), (c) => c.charCodeAt(0));
            const t = new DataTransfer();
            t.items.add(new File([bytes], %s, { type: %s }));
            document.querySelector(%s).dispatchEvent(new DragEvent('drop',
                { dataTransfer: t, bubbles: true, cancelable: true }));
            })()"""
            % tuple(
                json.dumps(x) for x in (base64.b64encode(data).decode(), name, kind, selector)
            )
        )
