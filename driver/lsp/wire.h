/* Messages on the wire: a header with Content-Length, an empty line, and that many bytes. */
#ifndef VMOEC_DRIVER_LSP_WIRE_H
#define VMOEC_DRIVER_LSP_WIRE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct LspWire {
    int in, out;
    char *data; /* what was read and not used yet; of malloc */
    size_t n, cap;
    size_t used; /* of the message that was returned last */
    bool broken; /* nobody reads what is written */
} LspWire;

typedef enum LspRead {
    LSP_MESSAGE, /* *body has *n bytes, until the next call */
    LSP_GARBAGE, /* a header that says no length that is possible; it is skipped */
    LSP_END
} LspRead;

enum { LSP_MAX_MESSAGE = 64 << 20 };

LspRead lsp_wire_read(LspWire *w, const char **body, size_t *n);
/* Is there more to read at once? */
bool lsp_wire_waits(const LspWire *w);
void lsp_wire_write(LspWire *w, const char *body, size_t n);
void lsp_wire_free(LspWire *w);

#endif
