// Starts `vmoec lsp` for .vmoe files. Without vscode-languageclient (`npm install` in this folder)
// the grammar works alone.
const vscode = require("vscode");

let client;

exports.activate = async () => {
  let library;
  try {
    library = require("vscode-languageclient/node");
  } catch {
    vscode.window.showInformationMessage(
      "vmoe: run `npm install` in the extension's folder for diagnostics, hover and completion",
    );
    return;
  }
  const command = vscode.workspace.getConfiguration("vmoe").get("program");
  client = new library.LanguageClient(
    "vmoe",
    "vmoec",
    { command, args: ["lsp"] },
    { documentSelector: [{ language: "vmoe" }] },
  );
  await client.start();
};

exports.deactivate = () => client?.stop();
