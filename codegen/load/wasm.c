/* The check of WebAssembly objects and another name for their function. An object is sections, each
 * a kind and a size; what a linker needs stands in custom ones: "linking" has the symbols,
 * "reloc.CODE" where code names them (the tool conventions of WebAssembly, version 2).
 *
 * Handles what kernels consist of: functions, constants without addresses in them, and from outside
 * the one memory and the pointer of the stack. Data that is written to, tables, exports, a start
 * function and initialisers do not occur and are refused. Code is checked by whoever instantiates
 * it. */
#include "codegen/load/wasm.h"

#include <elf.h>
#include <string.h>

#include "base/bug.h"

enum SectionId {
    CUSTOM = 0,
    TYPE = 1,
    IMPORT = 2,
    FUNCTION = 3,
    CODE = 10,
    DATA = 11,
    DATA_COUNT = 12
};
enum { OF_FUNCTION = 0, OF_MEMORY = 2, OF_GLOBAL = 3 };             /* kinds of imports */
enum { SYM_FUNCTION = 0, SYM_DATA = 1, SYM_GLOBAL = 2 };            /* kinds of symbols */
enum { BIND_LOCAL = 2, HIDDEN = 4, UNDEFINED = 16, OWN_NAME = 64 }; /* flags of symbols */
enum { SEGMENT_INFO = 5, SYMBOL_TABLE = 8, LINKING_VERSION = 2, INDEX_BYTES = 5, MOST = 1 << 16 };
#define MAX_OBJECT ((size_t)64 << 20)

static const unsigned char begins[8] = {0, 'a', 's', 'm', 1, 0, 0, 0};

/* Bytes to be read. Whatever is not as it should be leaves an empty rest and `bad`. */
typedef struct Bytes {
    const unsigned char *at, *end;
    bool bad;
} Bytes;

typedef struct Name {
    const char *at; /* not ended by a zero */
    size_t n;
} Name;

typedef struct Symbol {
    uint32_t kind, flags;
    Name name;
    size_t flags_at; /* in the object */
} Symbol;

typedef struct Wasm {
    Arena *arena;
    const unsigned char *data;
    uint32_t sections, code_at; /* code_at: number of the section with code */
    size_t code_bytes;
    Name *import; /* [nimport] of functions */
    uint32_t nimport, nfunction, nbody;
    uint32_t *constant; /* [nconstant]: bytes of each piece of constants */
    uint32_t nconstant, nnamed;
    Symbol *symbol; /* [nsymbol] */
    uint32_t nsymbol;
    bool linked; /* there were symbols */
} Wasm;

bool code_wasm_is(const void *data, size_t size) {
    return size >= sizeof begins && !memcmp(data, begins, sizeof begins);
}

/* ---- reading --------------------------------------------------------------------------------- */

static void fail(Bytes *b) {
    b->at = b->end;
    b->bad = true;
}

static uint32_t number(Bytes *b) {
    uint64_t v = 0;
    for (int shift = 0; shift < 35; shift += 7) {
        if (b->at == b->end) break;
        unsigned char byte = *b->at++;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80) && v <= UINT32_MAX) return (uint32_t)v;
        if (!(byte & 0x80)) break;
    }
    fail(b);
    return 0;
}

/* A number of things that take at least a byte each. */
static uint32_t count(Bytes *b) {
    uint32_t n = number(b);
    if (n <= MOST && n <= (size_t)(b->end - b->at)) return n;
    fail(b);
    return 0;
}

static Bytes part(Bytes *b, uint32_t n) {
    if (n > (size_t)(b->end - b->at)) fail(b);
    Bytes p = {b->at, b->bad ? b->at : b->at + n, b->bad};
    b->at = p.end;
    return p;
}

static Name name(Bytes *b) {
    Bytes p = part(b, number(b));
    return (Name){(const char *)p.at, (size_t)(p.end - p.at)};
}

static bool is(Name n, const char *text) {
    return n.n == strlen(text) && !memcmp(n.at, text, n.n);
}

/* A number that may be negative, and is not looked at. */
static void skip_number(Bytes *b) {
    for (int i = 0; i < 5 && b->at < b->end; i++)
        if (!(*b->at++ & 0x80)) return;
    fail(b);
}

static unsigned char byte(Bytes *b) {
    if (b->at < b->end) return *b->at++;
    fail(b);
    return 0;
}

/* ---- sections -------------------------------------------------------------------------------- */

static const char *read_imports(Wasm *w, Bytes b) {
    uint32_t n = count(&b);
    w->import = ARENA_ARRAY(w->arena, Name, n + 1);
    for (uint32_t i = 0; i < n && !b.bad; i++) {
        Name from = name(&b), what = name(&b);
        uint32_t kind = number(&b), flags = number(&b);
        if (!is(from, "env")) return "an import from elsewhere";
        if (kind == OF_FUNCTION) {
            w->import[w->nimport++] = what;
        } else if (kind == OF_MEMORY && is(what, "__linear_memory") && flags <= 1) {
            for (uint32_t limits = 0; limits <= flags; limits++) (void)number(&b);
        } else if (kind == OF_GLOBAL && is(what, "__stack_pointer")) {
            (void)number(&b); /* `flags` was its type: this is whether it changes */
        } else {
            return "an import of another kind";
        }
    }
    return b.bad ? "imports lie outside" : NULL;
}

/* Each lies at an offset that the linker replaces: the instruction i32.const and an end. */
static const char *read_constants(Wasm *w, Bytes b) {
    enum { I32_CONST = 0x41, END = 0x0b };
    w->nconstant = count(&b);
    w->constant = ARENA_ARRAY(w->arena, uint32_t, w->nconstant + 1);
    for (uint32_t i = 0; i < w->nconstant && !b.bad; i++) {
        if (number(&b) || byte(&b) != I32_CONST) return "data of another kind";
        skip_number(&b);
        if (byte(&b) != END) return "data of another kind";
        w->constant[i] = number(&b);
        (void)part(&b, w->constant[i]);
    }
    return b.bad || b.at != b.end ? "data lie outside" : NULL;
}

static const char *read_segments(Wasm *w, Bytes b) {
    static const char constants[] = ".rodata";
    w->nnamed = count(&b);
    for (uint32_t i = 0; i < w->nnamed && !b.bad; i++) {
        Name n = name(&b);
        (void)number(&b); /* its alignment */
        bool plain = !number(&b);
        if (!plain || n.n < strlen(constants) || memcmp(n.at, constants, strlen(constants)) != 0)
            return "data that are no constants";
    }
    return b.bad || b.at != b.end ? "data lie outside" : NULL;
}

static const char *read_constant_symbol(Wasm *w, Bytes *b, Symbol *s) {
    s->name = name(b);
    if (s->flags & UNDEFINED) return "data from elsewhere";
    uint32_t piece = number(b), offset = number(b), bytes = number(b);
    bool inside = piece < w->nconstant && offset <= w->constant[piece] &&
                  bytes <= w->constant[piece] - offset;
    return inside ? NULL : "a symbol of no data";
}

static const char *read_symbol(Wasm *w, Bytes *b, Symbol *s) {
    s->kind = number(b);
    s->flags_at = (size_t)(b->at - w->data);
    s->flags = number(b);
    bool undefined = s->flags & UNDEFINED;
    if (s->kind == SYM_GLOBAL) {
        (void)number(b);
        if (!undefined) return "a global of its own";
        if (s->flags & OWN_NAME) (void)name(b);
        return NULL;
    }
    if (s->kind == SYM_DATA) return read_constant_symbol(w, b, s);
    if (s->kind != SYM_FUNCTION) return "a symbol of another kind";
    uint32_t index = number(b);
    if (!undefined || s->flags & OWN_NAME) s->name = name(b);
    if (undefined ? index >= w->nimport : index < w->nimport || index - w->nimport >= w->nfunction)
        return "a symbol of no function";
    if (undefined && !(s->flags & OWN_NAME)) s->name = w->import[index];
    return !s->name.n || memchr(s->name.at, 0, s->name.n) ? "a symbol without a name" : NULL;
}

static const char *read_symbols(Wasm *w, Bytes b) {
    const char *error = NULL;
    w->linked = true;
    w->nsymbol = count(&b);
    w->symbol = ARENA_ARRAY(w->arena, Symbol, w->nsymbol + 1);
    for (uint32_t i = 0; i < w->nsymbol && !error && !b.bad; i++)
        error = read_symbol(w, &b, &w->symbol[i]);
    return error ? error : b.bad || b.at != b.end ? "symbols lie outside" : NULL;
}

static const char *read_linking(Wasm *w, Bytes b) {
    const char *error = number(&b) == LINKING_VERSION ? NULL : "another way of linking";
    while (b.at < b.end && !error) {
        uint32_t kind = number(&b);
        Bytes p = part(&b, number(&b));
        if (kind == SEGMENT_INFO && !w->nnamed)
            error = read_segments(w, p);
        else if (kind == SYMBOL_TABLE && !w->linked)
            error = read_symbols(w, p);
        else
            return "a table of another kind";
    }
    return error ? error : b.bad ? "symbols lie outside" : NULL;
}

static bool known(uint32_t type) {
    static const struct {
        int machine;
        uint32_t type;
    } table[] = {
#define RELOCATION(elf, type, bytes) {elf, type},
#include "codegen/load/relocations.def"
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].machine == EM_NONE && table[i].type == type) return true;
    return false;
}

/* Every one that kernels have writes a number of five bytes. A type's is that of the type, any
 * other's that of a symbol. */
static const char *read_relocations(Wasm *w, Bytes b) {
    if (number(&b) != w->code_at) return "relocations of no code";
    uint32_t n = count(&b);
    for (uint32_t i = 0; i < n && !b.bad; i++) {
        uint32_t type = number(&b), offset = number(&b), index = number(&b);
        if (type == R_WASM_MEMORY_ADDR_LEB || type == R_WASM_MEMORY_ADDR_SLEB) skip_number(&b);
        if (b.bad) break;
        if (!known(type)) return arena_printf(w->arena, "relocation type %u", type);
        if (offset > w->code_bytes || w->code_bytes - offset < INDEX_BYTES)
            return "a relocation lies outside";
        if (type != R_WASM_TYPE_INDEX_LEB && index >= w->nsymbol)
            return "a relocation of no symbol";
    }
    return b.bad || b.at != b.end ? "relocations lie outside" : NULL;
}

static const char *read_custom(Wasm *w, Bytes b) {
    Name n = name(&b);
    if (b.bad) return "a section's name lies outside";
    if (is(n, "linking")) return read_linking(w, b);
    if (is(n, "reloc.CODE")) return read_relocations(w, b);
    if (n.n >= 6 && !memcmp(n.at, "reloc.", 6)) return "relocations of no code";
    return NULL; /* who made it, what it uses */
}

static const char *read_section(Wasm *w, uint32_t id, Bytes b) {
    switch (id) {
    case CUSTOM: return read_custom(w, b);
    case TYPE: return NULL;
    case IMPORT: return w->import ? "imports twice" : read_imports(w, b);
    case FUNCTION: w->nfunction = count(&b); return b.bad ? "functions lie outside" : NULL;
    case CODE:
        w->code_at = w->sections;
        w->code_bytes = (size_t)(b.end - b.at);
        w->nbody = count(&b);
        return b.bad ? "functions lie outside" : NULL;
    case DATA: return w->constant ? "data twice" : read_constants(w, b);
    case DATA_COUNT: return NULL;
    default: return "a section of another kind";
    }
}

static const char *read_all(Arena *a, const void *data, size_t size, Wasm *w) {
    *w = (Wasm){.arena = a, .data = data};
    if (!code_wasm_is(data, size)) return "no WebAssembly object";
    if (size > MAX_OBJECT) return "wrong size";
    Bytes b = {w->data + sizeof begins, w->data + size, false};
    const char *error = NULL;
    for (; b.at < b.end && !error; w->sections++) {
        uint32_t id = number(&b);
        Bytes p = part(&b, number(&b));
        error = b.bad ? "a section lies outside" : read_section(w, id, p);
    }
    if (error) return error;
    if (!w->linked) return "no symbols";
    if (w->nnamed != w->nconstant) return "data without names";
    return w->nbody == w->nfunction ? NULL : "functions without code";
}

/* ---- what others ask ------------------------------------------------------------------------- */

static const Symbol *find(const Wasm *w, const char *text) {
    for (uint32_t i = 0; i < w->nsymbol; i++) {
        const Symbol *s = &w->symbol[i];
        if (s->kind == SYM_FUNCTION && !(s->flags & (UNDEFINED | BIND_LOCAL)) && is(s->name, text))
            return s;
    }
    return NULL;
}

const char *code_wasm_check(Arena *a, const LoadObject *o, const char ***undefined) {
    Wasm w;
    const char *error = read_all(a, o->data, o->size, &w);
    if (error) return error;
    if (!find(&w, o->symbol)) return arena_printf(a, "no function %s", o->symbol);
    if (!undefined) return NULL;
    const char **list = ARENA_ARRAY(a, const char *, w.nsymbol + 1);
    int n = 0;
    for (uint32_t i = 0; i < w.nsymbol; i++) {
        const Symbol *s = &w.symbol[i];
        if (s->kind != SYM_FUNCTION || !(s->flags & UNDEFINED)) continue;
        const char *text = arena_strndup(a, s->name.at, s->name.n);
        if (!code_library_at(text)) list[n++] = text;
    }
    *undefined = list;
    return NULL;
}

const void *code_wasm_relink(Arena *a, const void *data, size_t size, const char *from,
                             const char *to) {
    Wasm w;
    unsigned char *copy = arena_alloc(a, size);
    memcpy(copy, data, size);
    const char *error = read_all(a, copy, size, &w);
    VM_CHECK(!error, "an object that was not checked: %s", error);
    const Symbol *s = find(&w, from);
    VM_CHECK(s, "an object without %s", from);
    memcpy(copy + ((const unsigned char *)s->name.at - copy), to, strlen(to));
    copy[s->flags_at] |= HIDDEN; /* in the number's first byte */
    return copy;
}
