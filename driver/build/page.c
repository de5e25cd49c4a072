/* A page around a module: the kit's page.html, into which its style, its script and the module go,
 * so that it is one file that asks for no other. */
#include "driver/build/build.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

/* Adds n bytes in base64. */
static void add_base64(Text *t, const unsigned char *p, size_t n) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        size_t have = n - i < 3 ? n - i : 3;
        unsigned v = (unsigned)p[i] << 16;
        if (have > 1) v |= (unsigned)p[i + 1] << 8;
        if (have > 2) v |= p[i + 2];
        char four[4];
        for (int k = 0; k < 4; k++) four[k] = digits[v >> (18 - 6 * k) & 63];
        if (have < 3) four[3] = '=';
        if (have < 2) four[2] = '=';
        text_addn(t, four, 4);
    }
}

static VmStatus add_file(const Build *b, Text *t, const char *kit, const char *name) {
    char *text;
    size_t n;
    VmError err = {.text = ""};
    const char *path = arena_printf(b->s->arena, "%s/page/%s", kit, name);
    VmStatus st = vm_read_file(path, &text, &n, &err);
    if (st) return drv_fail(st, "%s", err.text);
    text_addn(t, text, n);
    free(text);
    return VM_OK;
}

/* The lines of page.html that are replaced; a file of the kit, or, without a name, the module. */
static const struct Part {
    const char *line, *begin, *file, *end;
} parts[] = {
    {"<link rel=\"stylesheet\" href=\"page.css\">\n", "<style>\n", "page.css", "</style>\n"},
    {"<script type=\"text/plain\" id=\"module\"></script>\n",
     "<script type=\"text/plain\" id=\"module\">", NULL, "</script>\n"},
    {"<script src=\"page.js\"></script>\n", "<script>\n", "page.js", "</script>\n"},
};

VmStatus build_page(Build *b, const char *kit, const char *module, size_t n, Text *out) {
    Text html = text_new(b->s->arena);
    VmStatus st = add_file(b, &html, kit, "page.html");
    const char *at = html.data;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && !st; i++) {
        const struct Part *p = &parts[i];
        const char *line = strstr(at, p->line);
        if (!line) return drv_fail(VM_ENV, "%s/page/page.html is of another version", kit);
        text_addn(out, at, (size_t)(line - at));
        text_add(out, p->begin);
        if (p->file)
            st = add_file(b, out, kit, p->file);
        else
            add_base64(out, (const unsigned char *)module, n);
        text_add(out, p->end);
        at = line + strlen(p->line);
    }
    text_add(out, at);
    return st;
}
