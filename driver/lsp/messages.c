/* Messages as JSON: members of what came in, and what goes out. */
#include <stdlib.h>
#include <string.h>

#include "driver/lsp/server.h"

const json_t *lsp_get(const json_t *o, const char *path) {
    char name[64];
    while (o && *path) {
        size_t n = strcspn(path, ".");
        if (n >= sizeof name) return NULL;
        memcpy(name, path, n);
        name[n] = 0;
        o = json_object_get(o, name);
        path += n + (path[n] == '.');
    }
    return o;
}

const char *lsp_get_text(const json_t *o, const char *path) {
    return json_string_value(lsp_get(o, path));
}

void lsp_send(LspServer *s, VmJson message) {
    char *text = vm_json_text(&message, JSON_COMPACT);
    if (!text) vm_out_of_memory(0);
    lsp_wire_write(&s->wire, text, strlen(text));
    free(text);
}

VmJson lsp_message(void) {
    VmJson o = vm_json_object();
    vm_json_string(&o, "jsonrpc", "2.0");
    return o;
}

void lsp_notify(LspServer *s, const char *method, VmJson params) {
    VmJson o = lsp_message();
    vm_json_string(&o, "method", method);
    vm_json_put(&o, "params", params);
    lsp_send(s, o);
}
