"""The VS Code folder: every file that package.json names is there, the grammar's patterns compile,
and a sample gets the colours it should. Exits 1 with what is wrong.

    vscode.py FOLDER VERSION
"""

import json
import os
import re
import sys

folder, version = sys.argv[1:]


def read(name):
    with open(os.path.join(folder, name)) as f:
        return json.load(f)


def first_match(patterns, line, at):
    """Name of the rule that begins at a column, as an editor finds it: the earliest, then the
    first."""
    for rule in patterns:
        pattern = re.compile(rule.get("match") or rule["begin"])
        found = pattern.match(line, at)
        if found:
            return rule.get("name") or rule["captures"]["1"]["name"]
    return None


package = read("package.json")
assert package["version"] == version, f"version {package['version']}, not {version}"
contributes = package["contributes"]
for name in [
    package["main"],
    *(x["configuration"] for x in contributes["languages"]),
    *(x["path"] for x in contributes["grammars"]),
]:
    assert os.path.exists(os.path.join(folder, name)), f"{name} is missing"
read("language-configuration.json")
grammar = read("syntaxes/vmoe.tmLanguage.json")
for line, word, name in [
    ("# for all", "#", "comment.line.number-sign.vmoe"),
    ("layer moe(x) {", "layer", "keyword.declaration.vmoe"),
    ("for i in 0..3 {", "for", "keyword.control.vmoe"),
    ("x = softmax(y)", "softmax", "support.function.vmoe"),
    ("x = my_layer(y)", "my_layer", "entity.name.function.call.vmoe"),
    ("x: f32[B, 3]", "f32", "storage.type.vmoe"),
    ("  optimizer = adamw()", "optimizer", "variable.parameter.field.vmoe"),
    ("  optimizer = adamw()", "adamw", "support.function.vmoe"),
    ("  bias = false", "false", "constant.language.vmoe"),
    ("state x: [D] = zeros()", "state", "keyword.control.vmoe"),
    ("state = 3", "state", None),
    ("epochs = 5 epochs", "5", "constant.numeric.vmoe"),
]:
    found = first_match(grammar["patterns"], line, line.index(word))
    assert found == name, f"{word!r} in {line!r} is {found}, not {name}"
