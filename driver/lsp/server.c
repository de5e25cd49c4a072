/* The server's life: messages come in, the table of methods says who handles each, answers go out.
 * Memory that is not there fails one message, not the server. */
#include "driver/lsp/server.h"

#include <stdlib.h>
#include <string.h>

#include "base/recover.h"
#include "base/version.h"

typedef enum MethodKind { REQUEST, NOTE } MethodKind;

static const struct {
    const char *message;
    LspCode (*handle)(LspServer *s, const json_t *params, VmJson *result);
    MethodKind kind;
    const char *capability;
} methods[] = {
#define METHOD(name, message, kind, capability) {message, lsp_##name, kind, capability},
#include "driver/lsp/methods.def"
};

enum { METHODS = sizeof methods / sizeof methods[0] };

/* ---- answers --------------------------------------------------------------------------------- */

static void put_id(VmJson *o, json_t *id) {
    if (id)
        vm_json_put_value(o, "id", json_incref(id));
    else
        vm_json_null(o, "id");
}

static const char *reason(LspCode code) {
    switch (code) {
    case LSP_NO_JSON: return "this is no JSON";
    case LSP_NO_REQUEST: return "this is no request";
    case LSP_NO_METHOD: return "there is no such method";
    case LSP_BAD_PARAMS: return "these parameters do not fit the method";
    case LSP_NOT_READY: return "the server was not initialized, or was shut down";
    default: return "out of memory";
    }
}

static void answer_error(LspServer *s, json_t *id, LspCode code) {
    VmJson o = lsp_message(), error = vm_json_object();
    put_id(&o, id);
    vm_json_int(&error, "code", code);
    vm_json_string(&error, "message", reason(code));
    vm_json_put(&o, "error", error);
    lsp_send(s, o);
}

static void answer(LspServer *s, json_t *id, VmJson result) {
    VmJson o = lsp_message();
    put_id(&o, id);
    if (result.value)
        vm_json_put(&o, "result", result);
    else
        vm_json_null(&o, "result");
    lsp_send(s, o);
}

/* ---- one message ----------------------------------------------------------------------------- */

static LspCode handle(LspServer *s, const char *method, const json_t *params, bool request,
                      VmJson *result) {
    for (size_t i = 0; i < METHODS; i++) {
        if (strcmp(methods[i].message, method) != 0) continue;
        bool begins = methods[i].handle == lsp_initialize, ends = methods[i].handle == lsp_exit;
        if (!ends && (s->shut || s->ready == begins))
            return begins ? LSP_NO_REQUEST : LSP_NOT_READY;
        if ((methods[i].kind == REQUEST) != request) return LSP_NO_REQUEST;
        return methods[i].handle(s, params, result);
    }
    return LSP_NO_METHOD;
}

/* What came in, and how far it got. */
typedef struct Call {
    LspServer *s;
    const char *body;
    size_t n;
    json_t *message;
    LspCode failed; /* where there is no message to answer */
} Call;

static void take(LspServer *s, json_t *message) {
    const char *method = lsp_get_text(message, "method");
    json_t *id = json_object_get(message, "id");
    bool request = json_is_integer(id) || json_is_string(id);
    if (!method) { /* an answer of the client's, which nothing waits for, or nonsense */
        bool is_answer = json_object_get(message, "result") || json_object_get(message, "error");
        if (!is_answer) answer_error(s, request ? id : NULL, LSP_NO_REQUEST);
        return;
    }
    VmJson result = {0};
    LspCode code = handle(s, method, json_object_get(message, "params"), request, &result);
    if (!request) {
        vm_json_free(&result); /* and notes of any other kind are nobody's mistake */
        return;
    }
    if (code) {
        vm_json_free(&result);
        answer_error(s, id, code);
    } else {
        answer(s, id, result);
    }
}

static void work(void *call) {
    Call *c = call;
    VmError err;
    if (!c->body) {
        if (c->failed)
            answer_error(c->s, NULL, c->failed);
        else
            lsp_refresh(c->s);
        return;
    }
    VmStatus st = vm_json_read(c->body, c->n, "message", &c->message, &err);
    if (st == VM_ENV) vm_out_of_memory(c->n);
    if (st)
        answer_error(c->s, NULL, LSP_NO_JSON);
    else
        take(c->s, c->message);
}

static void fail(void *call) {
    Call *c = call;
    json_t *id = json_object_get(c->message, "id");
    if (id) answer_error(c->s, id, LSP_FAILED);
}

/* Memory may run out even while that is said. */
static void guard(Call *c) {
    VmRecover r;
    if (!vm_recover(&r, work, c)) {
        vm_recover_clear(&r);
        (void)vm_bug_set_report((VmBugReport){0});
        lsp_forget_unfinished(c->s);
        if (!vm_recover(&r, fail, c)) vm_recover_clear(&r);
    }
    json_decref(c->message);
    arena_reset(c->s->request);
}

/* ---- the server's life ----------------------------------------------------------------------- */

LspCode lsp_initialize(LspServer *s, const json_t *params, VmJson *result) {
    const json_t *encodings = lsp_get(params, "capabilities.general.positionEncodings");
    for (size_t i = 0; i < json_array_size(encodings); i++) {
        const char *name = json_string_value(json_array_get(encodings, i));
        s->utf8 |= name && !strcmp(name, "utf-8");
    }
    VmJson able = vm_json_object(), sync = vm_json_object(), complete = vm_json_object(),
           triggers = vm_json_list(), info = vm_json_object();
    vm_json_string(&able, "positionEncoding", s->utf8 ? "utf-8" : "utf-16");
    vm_json_bool(&sync, "openClose", true);
    vm_json_int(&sync, "change", 2); /* parts of the text */
    vm_json_bool(&sync, "save", true);
    vm_json_put(&able, "textDocumentSync", sync);
    vm_json_string(&triggers, NULL, "\"");
    vm_json_put(&complete, "triggerCharacters", triggers);
    vm_json_put(&able, "completionProvider", complete);
    for (size_t i = 0; i < METHODS; i++)
        if (*methods[i].capability) vm_json_bool(&able, methods[i].capability, true);
    vm_json_string(&info, "name", "vmoec");
    vm_json_string(&info, "version", vm_version);
    *result = vm_json_object();
    vm_json_put(result, "capabilities", able);
    vm_json_put(result, "serverInfo", info);
    s->ready = true;
    return LSP_DONE;
}

LspCode lsp_initialized(LspServer *s, const json_t *params, VmJson *result) {
    (void)s;
    (void)params;
    (void)result;
    return LSP_DONE;
}

LspCode lsp_shutdown(LspServer *s, const json_t *params, VmJson *result) {
    (void)params;
    (void)result;
    s->shut = true;
    return LSP_DONE;
}

LspCode lsp_exit(LspServer *s, const json_t *params, VmJson *result) {
    (void)params;
    (void)result;
    s->leave = true;
    return LSP_DONE;
}

VmStatus lsp_serve(const LspOptions *o) {
    LspServer s = {.o = o, .wire = {.in = o->in, .out = o->out}, .request = arena_create()};
    const char *body = NULL;
    size_t n = 0;
    while (!s.leave && !s.wire.broken) {
        if (s.ready && !s.shut && !lsp_wire_waits(&s.wire)) guard(&(Call){.s = &s});
        LspRead read = lsp_wire_read(&s.wire, &body, &n);
        if (read == LSP_END) break;
        if (read == LSP_MESSAGE)
            guard(&(Call){.s = &s, .body = body, .n = n});
        else
            guard(&(Call){.s = &s, .failed = LSP_NO_JSON});
    }
    lsp_close_all(&s);
    arena_destroy(s.library_arena);
    arena_destroy(s.request);
    lsp_wire_free(&s.wire);
    return s.shut ? VM_OK : VM_INPUT;
}
