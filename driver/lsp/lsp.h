/* A language server: what an editor needs while a .vmoe file is written, as messages of JSON-RPC
 * over two descriptors. What the editor has counts, not what lies on the disk. Front door of this
 * folder. */
#ifndef VMOEC_DRIVER_LSP_LSP_H
#define VMOEC_DRIVER_LSP_LSP_H

#include "base/status.h"

typedef struct LspOptions {
    int in, out;        /* descriptors */
    const char *models; /* folder of the layer libraries, as in VmoecOptions */
} LspOptions;

/* Serves until the client says exit or closes its end. VM_OK when it asked for a shutdown first,
 * VM_INPUT when it did not. No message ends it: what is wrong is answered with an error. */
VmStatus lsp_serve(const LspOptions *o);

#endif
