/* What the files of this folder share: the server, its documents, its messages. */
#ifndef VMOEC_DRIVER_LSP_SERVER_H
#define VMOEC_DRIVER_LSP_SERVER_H

#include <jansson.h>

#include "base/json.h"
#include "driver/lsp/lsp.h"
#include "driver/lsp/wire.h"
#include "driver/session/session.h"
#include "frontend/inspect.h"

/* A file that the editor has open. */
typedef struct LspDocument {
    char *uri, *path, *text; /* of malloc */
    int64_t version;
    bool dirty;      /* the text is newer than what is known of it */
    bool checking;   /* the session is being filled */
    Session session; /* of the last check; its arena holds all that is known */
    FeExperiment *e; /* NULL: not checked yet */
    struct LspDocument *next;
} LspDocument;

typedef struct LspServer {
    const LspOptions *o;
    LspWire wire;
    Arena *request; /* of the message that is handled */
    LspDocument *documents;
    Arena *library_arena;
    FeExperiment *library; /* all layers that there are; NULL: not asked for yet */
    bool utf8;             /* columns count bytes, else UTF-16 units */
    bool ready, shut, leave;
} LspServer;

/* Codes of errors (JSON-RPC and the protocol); 0: none. */
typedef enum LspCode {
    LSP_DONE = 0,
    LSP_NO_JSON = -32700,
    LSP_NO_REQUEST = -32600,
    LSP_NO_METHOD = -32601,
    LSP_BAD_PARAMS = -32602,
    LSP_FAILED = -32603,
    LSP_NOT_READY = -32002
} LspCode;

/* METHOD rows: *result, null at first, is what a request is answered with. */
#define METHOD(name, ...) LspCode lsp_##name(LspServer *s, const json_t *params, VmJson *result);
#include "driver/lsp/methods.def"

/* ---- messages (messages.c) */
/* A member of members, "textDocument.uri"; NULL: there is none. */
const json_t *lsp_get(const json_t *o, const char *path);
const char *lsp_get_text(const json_t *o, const char *path); /* NULL: no text */
VmJson lsp_message(void);                                    /* one without anything in it yet */
void lsp_send(LspServer *s, VmJson message);
void lsp_notify(LspServer *s, const char *method, VmJson params);

/* ---- places (position.c) */
/* {"line", "character"} of a byte offset, and back; offsets beyond the text are its end. */
VmJson lsp_position(const LspServer *s, const Source *src, int offset);
int lsp_offset(const LspServer *s, const Source *src, const json_t *position);
VmJson lsp_range(const LspServer *s, Span span);
/* {"uri", "range"} of a span in any file. */
VmJson lsp_location(LspServer *s, Span span);
/* The path of a "file:" address, and the address of a path; of malloc. */
char *lsp_path_of(const char *uri);
const char *lsp_uri_of(LspServer *s, const char *path);

/* ---- documents (documents.c) */
/* The document of params.textDocument.uri, checked; NULL: it is not open. */
LspDocument *lsp_document(LspServer *s, const json_t *params);
/* Checks what is dirty and tells the editor what is wrong with it. */
void lsp_refresh(LspServer *s);
/* After memory ran out: what was being checked is not known. */
void lsp_forget_unfinished(LspServer *s);
void lsp_close_all(LspServer *s);
/* Text of an open document by its canonical path, for FeOptions. */
const char *lsp_unsaved(void *server, const char *real);

#endif
