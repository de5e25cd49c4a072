/* vmoec lsp: a language server for editors, over standard input and output. */
#include "driver/lsp/lsp.h"
#include "driver/commands/commands.h"

#include <unistd.h>

VmStatus cmd_lsp(const Args *a) {
    const char *models;
    VmStatus st = drv_models(a->arena, &models);
    if (st) return st;
    return lsp_serve(&(LspOptions){STDIN_FILENO, STDOUT_FILENO, models});
}
