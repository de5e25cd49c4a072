"""What an editor gets from `vmoec lsp`. Prints a line per test, "ok NAME" or "FAIL NAME why".

test.py VMOEC MODELS
"""

import json
import os
import random
import sys
import tempfile
import traceback

from client import Client, uri_of

vmoec, models = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
# Of a build with AddressSanitizer: what is given back is soon used again; else 256 MiB of it wait,
# and memory would seem to grow.
environment = {
    "PATH": os.environ["PATH"],
    "VMOEC_MODELS": models,
    "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=4",
}
failed = False

MODEL = """use "std/vit"

config { width = 32 }

# Two products with a nonlinearity.
layer block(x: [B, N, D], size = 64) -> [B, N, D] {
  hidden = gelu(linear(x, size))
  linear(hidden, D)
}

model m(image: f32[B, 1, 8, 8], label: class[B, 10]) {
  x = patch_embed(image, 4, width)
  for i in 0..3 {
    x = x + block(norm(x))
  }
  logits = linear(mean(x, axis = 1), 10)
  loss cross_entropy(logits, label)
}

train m {
  data = mnist(batch = 16, resize = 8)
  optimizer = adamw(weight_decay = 0.05)
}
"""


def place(text, word, nth=0, within=1):
    """Line and column of the nth occurrence of a word, some letters in."""
    at = -1
    for _ in range(nth + 1):
        at = text.index(word, at + 1)
    before = text[: at + within]
    return before.count("\n"), len(before) - (before.rfind("\n") + 1)


def test(function):
    """Runs it in a folder of its own with a server of its own, which must end well."""
    global failed
    name = function.__name__.replace("_", " ")
    with tempfile.TemporaryDirectory() as folder:
        client = Client(vmoec, environment)
        try:
            function(client, folder)
            if client.process.poll() is None:
                status = client.stop()
                assert status == 0, f"exit status {status}"
            print(f"ok {name}", flush=True)
        except Exception as e:  # any kind of failure is the test's
            failed = True
            where = traceback.extract_tb(e.__traceback__)[1:2]
            line = where[0].lineno if where else 0
            print(f"FAIL {name} line {line}: {type(e).__name__}: {str(e)[:300]!r}", flush=True)
            client.process.kill()
        finally:
            client.process.wait()


def opened(client, folder, text=MODEL, name="m.vmoe"):
    uri = uri_of(os.path.join(folder, name))
    client.open(uri, text)
    return uri, client.diagnostics(uri, 1)


def hover(client, uri, text, word, nth=0):
    result = client.at("hover", uri, *place(text, word, nth))
    return result["contents"]["value"] if result else None


@test
def starts_and_ends(client, folder):
    result = client.start()
    able = result["capabilities"]
    assert able["positionEncoding"] == "utf-16", able
    for name in ("hoverProvider", "definitionProvider", "documentFormattingProvider"):
        assert able[name] is True, able
    assert "completionProvider" in able and able["textDocumentSync"]["openClose"]
    assert result["serverInfo"]["name"] == "vmoec"


@test
def says_what_is_wrong_as_it_is_typed(client, folder):
    client.start()
    uri, found = opened(client, folder)
    assert found == [], found
    bad = MODEL.replace("linear(hidden, D)", "linear(hiden, D)")
    client.change(uri, 2, bad)
    (found,) = client.diagnostics(uri, 2)
    assert found["severity"] == 1 and found["code"] == "unknown-name", found
    assert "did you mean `hidden`" in found["message"], found
    line, column = place(bad, "hiden", within=0)
    assert found["range"] == {
        "start": {"line": line, "character": column},
        "end": {"line": line, "character": column + 5},
    }, found
    assert found["relatedInformation"][0]["location"]["uri"] == uri, found
    client.change(uri, 3, MODEL)
    assert client.diagnostics(uri, 3) == []


@test
def takes_changes_of_parts_of_the_text(client, folder):
    client.start()
    uri, _ = opened(client, folder)
    line, column = place(MODEL, "width)", within=0)
    part = {
        "start": {"line": line, "character": column},
        "end": {"line": line, "character": column + 5},
    }
    client.change(uri, 2, {"range": part, "text": "wide"})
    (found,) = client.diagnostics(uri, 2)
    assert "unknown name `wide`" in found["message"], found
    part["end"]["character"] = column + 4
    both = [{"range": part, "text": ""}, {"range": {"start": part["start"], "end": part["start"]}}]
    both[1]["text"] = "width"
    client.change(uri, 3, *both)
    assert client.diagnostics(uri, 3) == []


@test
def counts_columns_as_agreed(client, folder):
    text = 'use "std/vit" # \U0001f600\nconfig { s = "\u00e9\U0001f600"; b = missing }\n'
    client.start()
    _, (found,) = opened(client, folder, text)
    assert found["range"]["start"] == {"line": 1, "character": 24}, found
    other = Client(vmoec, environment)
    assert other.start(["utf-8", "utf-16"])["capabilities"]["positionEncoding"] == "utf-8"
    _, (found,) = opened(other, folder, text)
    assert found["range"]["start"] == {"line": 1, "character": 27}, found
    assert other.stop() == 0


@test
def hovers_with_shapes_and_parameters(client, folder):
    client.start()
    uri, _ = opened(client, folder)
    text = hover(client, uri, MODEL, "hidden")
    assert "hidden: f32[16,4,64]" in text and "3 places" in text, text
    text = hover(client, uri, MODEL, "block", 1)  # the call
    each = 32 * 64 + 64 + 64 * 32 + 32
    assert "layer block(x: [B, N, D], size = 64) -> [B, N, D]: f32[16,4,32]" in text, text
    assert f"{3 * each:,} parameters in 3 places" in text, text
    assert "Two products with a nonlinearity." in text, text
    assert f"{3 * each:,} parameters" in hover(client, uri, MODEL, "block")
    text = hover(client, uri, MODEL, "patch_embed")
    assert "f32[16,4,32]" in text and f"{16 * 32 + 32} parameters" in text, text
    text = hover(client, uri, MODEL, "m(image")
    total = 16 * 32 + 32 + 3 * (each + 2 * 32) + 32 * 10 + 10
    assert f"{total:,} parameters" in text, text
    assert "image: f32[16,1,8,8]" in hover(client, uri, MODEL, "image")
    assert "config width: 32" in hover(client, uri, MODEL, "width", 1)


@test
def hovers_over_words_of_the_language(client, folder):
    client.start()
    uri, _ = opened(client, folder)
    assert "gelu(x" in hover(client, uri, MODEL, "gelu")
    assert "for i in 0..depth" in hover(client, uri, MODEL, "for i")
    assert "how gradients change weights" in hover(client, uri, MODEL, "optimizer")
    assert "adamw" in hover(client, uri, MODEL, "adamw")
    assert hover(client, uri, MODEL, "{ width") is None


@test
def hovers_where_another_place_is_wrong(client, folder):
    client.start()
    bad = MODEL.replace("loss cross", "y = nosuch(x)\n  loss cross")
    uri, found = opened(client, folder, bad)
    assert len(found) == 1, found
    assert "logits: f32[16,10]" in hover(client, uri, bad, "logits")
    half = MODEL[: MODEL.index("  loss")]  # no closing brace: nothing is elaborated
    client.change(uri, 2, half)
    assert client.diagnostics(uri, 2)
    assert "layer block(x" in hover(client, uri, half, "block", 1)


@test
def goes_to_definitions(client, folder):
    client.start()
    uri, _ = opened(client, folder)

    def target(word, nth=0):
        return client.at("definition", uri, *place(MODEL, word, nth))

    def starts_at(location, word, nth=0):
        line, column = place(MODEL, word, nth, within=0)
        start = location["range"]["start"]
        assert location["uri"] == uri and start == {"line": line, "character": column}, location

    starts_at(target("block(norm"), "block")
    starts_at(target("width", 1), "width")
    starts_at(target("hidden, D"), "hidden")
    starts_at(target("size))"), "size")
    starts_at(target("logits, label"), "logits")
    starts_at(target("m {", 0), "m(image")
    library = target("patch_embed")
    assert library["uri"] == uri_of(os.path.join(models, "std/vit.vmoe")), library
    with open(os.path.join(models, "std/vit.vmoe")) as f:
        line = f.read().split("\n")[library["range"]["start"]["line"]]
    assert line.startswith("layer patch_embed"), line
    assert target("std/vit")["uri"] == library["uri"]
    assert target("gelu") is None


@test
def completes_names_layers_and_builtins(client, folder):
    client.start()
    uri, _ = opened(client, folder)

    def labels(text, word, within):
        client.change(uri, labels.version, text)
        items = client.at("completion", uri, *place(text, word, within=within))
        labels.version += 1
        return {item["label"]: item for item in items}

    labels.version = 2
    text = MODEL.replace("  logits =", "  z = \n  logits =")
    all_of = labels(text, "z = ", 4)
    for name in ("x", "image", "width", "block", "norm", "softmax", "for", "param", "xavier"):
        assert name in all_of, name
    assert "hidden" not in all_of and "optimizer" not in all_of
    all_of = labels(MODEL, "mean(x", 5)  # a text without mistakes has values
    assert all_of["image"]["detail"] == "f32[16,1,8,8]", all_of["image"]
    some = labels(text.replace("z = ", "z = moe"), "z = moe", 7)
    edit = some["moe_mlp"]["additionalTextEdits"][0]
    assert edit["newText"] == 'use "std/moe"\n' and edit["range"]["start"]["line"] == 1, edit
    assert all(name.startswith("moe") for name in some), some
    word = "resize = 8)\n  "
    fields = labels(MODEL.replace("  optimizer", "  \n  optimizer"), word, len(word))
    assert "schedule" in fields and "cosine" in fields and "softmax" not in fields, fields
    assert "std/moe" in labels('use "std/', 'use "std/', 9)
    assert labels("# sof", "sof", 3) == {}
    client.change(uri, labels.version, MODEL)


@test
def formats(client, folder):
    client.start()
    uri, _ = opened(client, folder, "config {a=1}\n")
    ask = {"textDocument": {"uri": uri}, "options": {"tabSize": 2, "insertSpaces": True}}
    (edit,) = client.ask("textDocument/formatting", ask)["result"]
    assert edit["newText"] == "config { a = 1 }\n", edit
    client.change(uri, 2, "config { a = }\n")
    assert client.ask("textDocument/formatting", ask)["result"] == []


@test
def unsaved_text_of_used_files_counts(client, folder):
    with open(os.path.join(folder, "part.vmoe"), "w") as f:
        f.write("layer part(x) { linear(x, 4) }\n")
    client.start()
    main = 'use "part"\nmodel m(x: f32[B, 3]) { part(x) }\n'
    uri, found = opened(client, folder, main)
    assert found == [], found
    used = uri_of(os.path.join(folder, "part.vmoe"))
    client.open(used, "layer other(x) { linear(x, 4) }\n")
    (found,) = client.diagnostics(uri, 1)
    assert found["code"] == "unknown-call", found
    client.tell("textDocument/didClose", {"textDocument": {"uri": used}})
    assert client.diagnostics(uri, 1) == []
    client.open(used, "layer part(x) { linear(x, ) )\n")
    found = client.diagnostics(uri, 1)
    assert found[0]["range"]["start"] == {"line": 0, "character": 0}, found
    assert found[0]["relatedInformation"][0]["location"]["uri"] == used, found


@test
def checks_the_last_of_many_edits(client, folder):
    client.start()
    uri, _ = opened(client, folder)
    for version in range(2, 102):
        client.change(uri, version, MODEL + f"# {version}\n")
    assert client.diagnostics(uri, 101) == []
    assert len(client.notes) < 99, "every edit was checked, also those that were old"


@test
def a_document_that_is_no_file(client, folder):
    client.start()
    client.open("untitled:Untitled-1", MODEL)
    assert client.diagnostics("untitled:Untitled-1", 1) == []


@test
def every_model_that_is_shipped(client, folder):
    client.start()
    for name in sorted(os.listdir(models)):
        if not name.endswith(".vmoe"):
            continue
        path = os.path.join(models, name)
        with open(path) as f:
            client.open(uri_of(path), f.read())
        found = client.diagnostics(uri_of(path), 1)
        assert all(x["severity"] == 2 for x in found), (name, found)


@test
def answers_what_it_does_not_know(client, folder):
    assert client.ask("textDocument/hover", {})["error"]["code"] == -32002
    client.start()
    assert client.ask("initialize", {})["error"]["code"] == -32600
    assert client.ask("textDocument/nonsense", {})["error"]["code"] == -32601
    client.tell("$/cancelRequest", {"id": 1})
    assert client.ask("textDocument/completion", {})["error"]["code"] == -32602
    assert client.ask("textDocument/hover", {})["result"] is None
    client.send({"id": "text", "method": "textDocument/hover", "params": [1, 2]})
    assert client.answer_of("text")["result"] is None


@test
def malformed_messages(client, folder):
    client.start()
    uri, _ = opened(client, folder)

    def refused(code):
        error = client.receive(lambda: client.answers.pop() if client.answers else None)
        assert error["id"] is None and error["error"]["code"] == code, error

    client.send_body(b"{")
    refused(-32700)
    client.send_body(b"")
    refused(-32700)
    client.send_body(b'{"id": "\xff"}')
    refused(-32700)
    client.send_body(b"[" * 100000)
    refused(-32700)
    client.send_body(b"[1, 2]")
    refused(-32600)
    client.send_body(b'{"jsonrpc": "2.0", "id": {}, "params": 3}')
    refused(-32600)
    client.send_bytes(b"Content-Length: many\r\n\r\n")
    refused(-32700)
    client.send_bytes(b"Content-Length: -5\r\n\r\n")
    refused(-32700)
    client.send_bytes(b"Something: else\r\n\r\n")
    refused(-32700)
    for params in (None, 3, [], {"textDocument": 7}, {"textDocument": {"uri": 3}}):
        for method in ("didOpen", "didChange", "didClose", "didSave"):
            client.tell(f"textDocument/{method}", params)
    for position in ({"line": -1, "character": -9}, {"line": 10**15, "character": 10**15}, 3, {}):
        params = {"textDocument": {"uri": uri}, "position": position}
        for method in ("hover", "definition", "completion"):
            client.ask(f"textDocument/{method}", params)
    backwards = {"start": {"line": 9, "character": 9}, "end": {"line": 0, "character": 0}}
    client.change(uri, 2, {"range": backwards, "text": "\n"})
    client.change(uri, 3, MODEL)
    assert client.diagnostics(uri, 3) == []


@test
def random_bytes_in_documents_and_messages(client, folder):
    client.start()
    uri, _ = opened(client, folder)
    random.seed(7)
    whole = json.dumps(
        {
            "jsonrpc": "2.0",
            "method": "textDocument/didChange",
            "params": {
                "textDocument": {"uri": uri, "version": 9},
                "contentChanges": [{"text": "layer"}],
            },
        }
    )
    for version in range(2, 150):
        text = list(MODEL)
        for _ in range(random.randrange(1, 6)):
            at = random.randrange(len(text))
            text[at] = random.choice(["", "{", ")", "\u00e9", " ", "x", '"', "\n", text[at] * 2])
        client.change(uri, version, "".join(text))
        at = {"line": random.randrange(25), "character": random.randrange(40)}
        for method in ("hover", "definition", "completion"):
            params = {"textDocument": {"uri": uri}, "position": at}
            assert "result" in client.ask(f"textDocument/{method}", params)
        damaged = bytearray(whole.encode())
        damaged[random.randrange(len(damaged))] = random.randrange(256)
        client.send_body(bytes(damaged))
    client.change(uri, 1000, MODEL)
    assert client.diagnostics(uri, 1000) == []


def resident(client, which="VmRSS"):
    with open(f"/proc/{client.process.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(which))


@test
def memory_stays_flat(client, folder):
    client.start()
    uri, _ = opened(client, folder)
    sizes = []
    for version in range(2, 1202):
        wrong = version % 2
        client.change(uri, version, MODEL.replace("hidden, D", "hiden, D") if wrong else MODEL)
        assert len(client.diagnostics(uri, version)) == wrong
        client.at("hover", uri, *place(MODEL, "hidden"))
        if version % 10 == 0:
            client.at("completion", uri, *place(MODEL, "hidden"))
        if version in (201, 1201):
            sizes.append(resident(client))
    before, after = sizes
    assert after - before < 512, f"{before} KiB after 200 edits, {after} KiB after 1200"


@test
def many_changes_in_a_message_take_no_more_than_one(client, folder):
    client.start()
    text = MODEL + "# a line that says nothing\n" * 8000
    uri, _ = opened(client, folder, text)
    before = resident(client, "VmHWM")
    start = {"line": 4, "character": 0}
    changes = [{"range": {"start": start, "end": start}, "text": "#"} for _ in range(1000)]
    client.change(uri, 2, *changes)
    assert client.diagnostics(uri, 2) == []
    grown = resident(client, "VmHWM") - before
    assert grown < 64 << 10, f"{grown} KiB more for 1000 changes of {len(text)} bytes"


@test
def ends_when_the_client_is_gone(client, folder):
    client.start()
    client.process.stdin.close()
    assert client.process.wait(60) == 1
    other = Client(vmoec, environment)
    other.start()
    other.tell("exit")
    assert other.process.wait(60) == 1


sys.exit(failed)
