"""A client of `vmoec lsp` in Python's standard library: JSON-RPC with Content-Length framing."""

import json
import os
import selectors
import subprocess
import time
import urllib.parse


def uri_of(path):
    return "file://" + urllib.parse.quote(os.path.abspath(path))


class Client:
    def __init__(self, vmoec, env=None, limit=60):
        self.process = subprocess.Popen(
            [vmoec, "lsp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
        )
        self.limit, self.last_id = limit, 0
        self.data, self.notes, self.answers = b"", [], []
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.process.stdout, selectors.EVENT_READ)

    # ---- the wire

    def send_bytes(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send_body(self, body):
        self.send_bytes(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def send(self, message):
        self.send_body(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def parse(self):
        """Moves whole messages from the bytes that came to notes and answers."""
        while b"\r\n\r\n" in self.data:
            header, rest = self.data.split(b"\r\n\r\n", 1)
            size = int(header.split(b":")[1])
            if len(rest) < size:
                return
            message, self.data = json.loads(rest[:size]), rest[size:]
            (self.notes if "method" in message else self.answers).append(message)

    def receive(self, wanted):
        """Reads until wanted() gives something, which is returned."""
        end = time.time() + self.limit
        while True:
            found = wanted()
            if found is not None:
                return found
            if not self.selector.select(max(0, end - time.time())):
                raise TimeoutError("no answer")
            part = os.read(self.process.stdout.fileno(), 1 << 16)
            if not part:
                raise EOFError(f"the server ended with {self.process.wait()}")
            self.data += part
            self.parse()

    # ---- requests and notes

    def answer_of(self, number):
        def wanted():
            for i, message in enumerate(self.answers):
                if message.get("id") == number:
                    return self.answers.pop(i)
            return None

        return self.receive(wanted)

    def ask(self, method, params=None):
        """The whole answer, with "result" or "error"."""
        self.last_id += 1
        self.send({"id": self.last_id, "method": method, "params": params or {}})
        return self.answer_of(self.last_id)

    def tell(self, method, params=None):
        self.send({"method": method, "params": params or {}})

    def start(self, encodings=None):
        able = {"general": {"positionEncodings": encodings}} if encodings else {}
        result = self.ask("initialize", {"processId": os.getpid(), "capabilities": able})["result"]
        self.tell("initialized")
        return result

    def stop(self):
        """The exit status."""
        self.ask("shutdown")
        self.tell("exit")
        return self.process.wait(self.limit)

    # ---- documents

    def open(self, uri, text, version=1):
        item = {"uri": uri, "languageId": "vmoe", "version": version, "text": text}
        self.tell("textDocument/didOpen", {"textDocument": item})

    def change(self, uri, version, *changes):
        """Each a text, which replaces all, or a dict with a range."""
        list_of = [c if isinstance(c, dict) else {"text": c} for c in changes]
        document = {"uri": uri, "version": version}
        self.tell("textDocument/didChange", {"textDocument": document, "contentChanges": list_of})

    def diagnostics(self, uri, version):
        """Those of that version of the text."""

        def wanted():
            for i, note in enumerate(self.notes):
                params = note["params"]
                if params["uri"] == uri and params["version"] == version:
                    return self.notes.pop(i)["params"]["diagnostics"]
            return None

        return self.receive(wanted)

    def at(self, method, uri, line, character):
        """The result of a request about a place."""
        return self.ask(
            f"textDocument/{method}",
            {
                "textDocument": {"uri": uri},
                "position": {"line": line, "character": character},
            },
        )["result"]
