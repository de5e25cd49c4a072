/* The check of ELF objects, and the loader: x86-64 ELF relocatables into memory. Sections of all
 * objects are laid out in one mapping, code first, constants after it on pages of their own; calls
 * to what lies elsewhere (moves of memory, shared functions loaded earlier) go through stubs at the
 * end of the code. The mapping is written before it is made executable and never again.
 *
 * Handles what kernels consist of: read-only sections and the relocations of relocations.def; those
 * of other architectures are checked for a linker and never loaded. Writable data, thread-local
 * storage, common symbols and a GOT do not occur and are refused. */
#include "codegen/load/loader.h"
#include "codegen/load/wasm.h"

#include <elf.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/recover.h"

enum { MAX_SECTIONS = 4096, MAX_ALIGN = 4096, STUB_BYTES = 16 };
#define MAX_OBJECT ((size_t)64 << 20)

typedef struct Mapping {
    char *at;
    size_t bytes;
    struct Mapping *next;
} Mapping;

typedef struct Name {
    const char *name;
    void *at;
    struct Name *next;
} Name;

struct Code {
    Arena *arena;
    Mapping *mapping;
    Name *name; /* shared functions */
};

/* An object's checked tables. */
typedef struct Elf {
    const LoadObject *o;
    int machine, nsection, nsymbol;
    const Elf64_Shdr *section; /* copies: the object's bytes need not be aligned */
    const Elf64_Sym *symbol;
    const char *names; /* of symbols; ends with a zero byte */
    size_t names_size;
    bool *loaded;    /* [nsection] */
    int64_t *offset; /* [nsection] in the mapping */
} Elf;

Code *code_create(Arena *a) {
    Code *c = ARENA_NEW(a, Code);
    c->arena = a;
    return c;
}

void code_destroy(Code *c) {
    for (Mapping *m = c->mapping; m; m = m->next) munmap(m->at, m->bytes);
    c->mapping = NULL;
    c->name = NULL;
}

size_t code_bytes(const Code *c) {
    size_t sum = 0;
    for (const Mapping *m = c->mapping; m; m = m->next) sum += m->bytes;
    return sum;
}

static void *shared_at(const Code *c, const char *name) {
    for (const Name *n = c->name; n; n = n->next)
        if (!strcmp(n->name, name)) return n->at;
    return NULL;
}

bool code_has(const Code *c, const char *shared) {
    return shared_at(c, shared) != NULL;
}

/* ---- checking ---- */

static bool in_file(const LoadObject *o, uint64_t offset, uint64_t size) {
    return offset <= o->size && size <= o->size - offset;
}

/* A table of n records as an aligned copy. */
static void *table(Arena *a, const LoadObject *o, uint64_t offset, size_t n, size_t record) {
    void *copy = arena_array(a, n, record);
    if (n) memcpy(copy, (const char *)o->data + offset, n * record);
    return copy;
}

static const char *text_at(const char *names, size_t size, uint64_t offset) {
    return offset < size ? names + offset : NULL;
}

static const char *read_names(const LoadObject *o, const Elf *e, uint64_t index, const char **out,
                              size_t *size) {
    if (index >= (uint64_t)e->nsection || e->section[index].sh_type != SHT_STRTAB)
        return "names are missing";
    const Elf64_Shdr *s = &e->section[index];
    if (!in_file(o, s->sh_offset, s->sh_size) || !s->sh_size) return "names lie outside";
    *out = (const char *)o->data + s->sh_offset;
    *size = s->sh_size;
    return (*out)[*size - 1] ? "names do not end" : NULL;
}

static const char *read_header(Arena *a, const LoadObject *o, Elf *e) {
    Elf64_Ehdr h;
    if (o->size < sizeof h || o->size > MAX_OBJECT) return "wrong size";
    memcpy(&h, o->data, sizeof h);
    if (memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_ident[EI_CLASS] != ELFCLASS64 ||
        h.e_ident[EI_DATA] != ELFDATA2LSB)
        return "no ELF of 64 bits";
    if (h.e_type != ET_REL) return "no relocatable";
    if (h.e_machine != e->machine) return "for another architecture";
    if (h.e_shentsize != sizeof(Elf64_Shdr) || !h.e_shnum || h.e_shnum > MAX_SECTIONS)
        return "wrong sections";
    if (!in_file(o, h.e_shoff, (uint64_t)h.e_shnum * sizeof(Elf64_Shdr)))
        return "sections lie outside";
    e->nsection = h.e_shnum;
    e->section = table(a, o, h.e_shoff, h.e_shnum, sizeof(Elf64_Shdr));
    e->loaded = ARENA_ARRAY(a, bool, e->nsection);
    e->offset = ARENA_ARRAY(a, int64_t, e->nsection);
    const char *names;
    size_t size;
    const char *error = read_names(o, e, h.e_shstrndx, &names, &size);
    for (int i = 0; i < e->nsection && !error; i++) {
        const Elf64_Shdr *s = &e->section[i];
        const char *name = text_at(names, size, s->sh_name);
        if (!name) error = "a section's name lies outside";
        bool unwind = name && !strcmp(name, ".eh_frame");
        e->loaded[i] = (s->sh_flags & SHF_ALLOC) && !unwind && s->sh_size;
    }
    return error;
}

static const char *check_sections(const LoadObject *o, const Elf *e) {
    for (int i = 0; i < e->nsection; i++) {
        const Elf64_Shdr *s = &e->section[i];
        if (!e->loaded[i]) continue;
        if (s->sh_type != SHT_PROGBITS || (s->sh_flags & (SHF_WRITE | SHF_TLS)))
            return "a section of another kind";
        if (!in_file(o, s->sh_offset, s->sh_size)) return "a section lies outside";
        if (s->sh_addralign > MAX_ALIGN || (s->sh_addralign & (s->sh_addralign - 1)))
            return "wrong alignment";
    }
    return NULL;
}

static const char *read_symbols(Arena *a, const LoadObject *o, Elf *e) {
    int at = 0;
    for (int i = 1; i < e->nsection; i++) {
        if (e->section[i].sh_type != SHT_SYMTAB) continue;
        if (at) return "two tables of symbols";
        at = i;
    }
    const Elf64_Shdr *s = &e->section[at];
    if (!at || s->sh_entsize != sizeof(Elf64_Sym) || s->sh_size % sizeof(Elf64_Sym))
        return "wrong symbols";
    if (!in_file(o, s->sh_offset, s->sh_size)) return "symbols lie outside";
    const char *error = read_names(o, e, s->sh_link, &e->names, &e->names_size);
    if (error) return error;
    e->nsymbol = (int)(s->sh_size / sizeof(Elf64_Sym));
    e->symbol = table(a, o, s->sh_offset, (size_t)e->nsymbol, sizeof(Elf64_Sym));
    for (int i = 0; i < e->nsymbol; i++)
        if (!text_at(e->names, e->names_size, e->symbol[i].st_name))
            return "a symbol's name lies outside";
    return NULL;
}

/* Does the symbol lie in a section that is loaded? */
static bool defined(const Elf *e, const Elf64_Sym *s) {
    return s->st_shndx < e->nsection && e->loaded[s->st_shndx] &&
           s->st_value <= e->section[s->st_shndx].sh_size;
}

/* Bytes that a relocation writes; 0: kernels have none of that type. */
static int width_of(int machine, uint32_t type) {
    static const struct {
        int machine, width;
        uint32_t type;
    } known[] = {
#define RELOCATION(elf, type, bytes) {elf, bytes, type},
#include "codegen/load/relocations.def"
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].machine == machine && known[i].type == type) return known[i].width;
    return 0;
}

/* Relocation table `index`, when it is about a loaded section; *n 0 otherwise. */
static const char *read_relocations(Arena *a, const Elf *e, int index, const Elf64_Rela **out,
                                    size_t *n) {
    const Elf64_Shdr *s = &e->section[index];
    *n = 0;
    if (s->sh_type == SHT_REL || s->sh_type == SHT_GROUP) return "a section of another kind";
    if (s->sh_type != SHT_RELA) return NULL;
    if (s->sh_info >= (uint32_t)e->nsection) return "relocations of no section";
    if (!e->loaded[s->sh_info]) return NULL;
    if (s->sh_entsize != sizeof(Elf64_Rela) || s->sh_size % sizeof(Elf64_Rela))
        return "wrong relocations";
    if (!in_file(e->o, s->sh_offset, s->sh_size)) return "relocations lie outside";
    *n = s->sh_size / sizeof(Elf64_Rela);
    *out = table(a, e->o, s->sh_offset, *n, sizeof(Elf64_Rela));
    return NULL;
}

static const char *check_relocation(Arena *a, const Elf *e, const Elf64_Shdr *target,
                                    const Elf64_Rela *r) {
    int width = width_of(e->machine, (uint32_t)ELF64_R_TYPE(r->r_info));
    if (!width) return arena_printf(a, "relocation type %u", (unsigned)ELF64_R_TYPE(r->r_info));
    if (r->r_offset > target->sh_size || target->sh_size - r->r_offset < (uint64_t)width)
        return "a relocation lies outside";
    if (ELF64_R_SYM(r->r_info) >= (uint64_t)e->nsymbol) return "a relocation of no symbol";
    const Elf64_Sym *s = &e->symbol[ELF64_R_SYM(r->r_info)];
    if (s->st_shndx != SHN_UNDEF && !defined(e, s))
        return "a relocation against a section of another kind";
    if (s->st_shndx == SHN_UNDEF && !e->names[s->st_name]) return "a relocation of no symbol";
    return NULL;
}

static const char *check_relocations(Arena *a, const Elf *e) {
    for (int i = 0; i < e->nsection; i++) {
        const Elf64_Rela *r;
        size_t n;
        const char *error = read_relocations(a, e, i, &r, &n);
        for (size_t k = 0; k < n && !error; k++)
            error = check_relocation(a, e, &e->section[e->section[i].sh_info], &r[k]);
        if (error) return error;
    }
    return NULL;
}

static const Elf64_Sym *find_symbol(const Elf *e, const char *name) {
    for (int i = 0; i < e->nsymbol; i++) {
        const Elf64_Sym *s = &e->symbol[i];
        if (ELF64_ST_TYPE(s->st_info) == STT_FUNC && !strcmp(e->names + s->st_name, name) &&
            defined(e, s))
            return s;
    }
    return NULL;
}

static const char *read_elf(Arena *a, const LoadObject *o, int machine, Elf *e) {
    *e = (Elf){.o = o, .machine = machine};
    const char *error = read_header(a, o, e);
    if (!error) error = check_sections(o, e);
    if (!error) error = read_symbols(a, o, e);
    if (!error) error = check_relocations(a, e);
    if (error) return error;
    const Elf64_Sym *s = find_symbol(e, o->symbol);
    if (!s || !(e->section[s->st_shndx].sh_flags & SHF_EXECINSTR))
        return arena_printf(a, "no function %s", o->symbol);
    return NULL;
}

const char *code_check(Arena *a, const LoadObject *o, int machine, const char ***undefined) {
    Elf e;
    if (machine == EM_NONE) return code_wasm_check(a, o, undefined);
    const char *error = read_elf(a, o, machine, &e);
    if (error || !undefined) return error;
    const char **list = ARENA_ARRAY(a, const char *, e.nsymbol + 1);
    int n = 0;
    for (int i = 0; i < e.nsymbol; i++) {
        const char *name = e.names + e.symbol[i].st_name;
        if (e.symbol[i].st_shndx == SHN_UNDEF && *name && !code_library_at(name)) list[n++] = name;
    }
    *undefined = list;
    return NULL;
}

/* ---- loading ---- */

typedef struct Image {
    Code *code;
    Arena *arena;
    Elf *elf;
    LoadObject *object;
    int n;
    char *at;
    size_t bytes, code_end, stubs; /* code_end: first byte of the constants */
    struct {
        const char *name;
        char *at;
    } *stub;
    int nstub;
    VmUndo undo; /* of the mapping, until the code has it */
} Image;

static size_t align_up(size_t x, size_t to) {
    return to > 1 ? (x + to - 1) / to * to : x;
}

static size_t place_sections(Image *im, bool code, size_t at) {
    for (int i = 0; i < im->n; i++) {
        Elf *e = &im->elf[i];
        for (int s = 0; s < e->nsection; s++) {
            bool executable = (e->section[s].sh_flags & SHF_EXECINSTR) != 0;
            if (!e->loaded[s] || executable != code) continue;
            at = align_up(at, e->section[s].sh_addralign);
            e->offset[s] = (int64_t)at;
            at += e->section[s].sh_size;
        }
    }
    return at;
}

static int undefined_symbols(const Image *im) {
    int n = 0;
    for (int i = 0; i < im->n; i++)
        for (int k = 0; k < im->elf[i].nsymbol; k++)
            n += im->elf[i].symbol[k].st_shndx == SHN_UNDEF;
    return n;
}

static const char *map_image(Image *im) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int names = undefined_symbols(im);
    im->stubs = align_up(place_sections(im, true, 0), STUB_BYTES);
    im->code_end = align_up(im->stubs + (size_t)names * STUB_BYTES, page);
    im->bytes = align_up(place_sections(im, false, im->code_end), page);
    if (im->bytes > INT32_MAX / 2) return "generated code is too large";
    im->stub = arena_array(im->arena, (size_t)names, sizeof *im->stub);
    void *at = mmap(NULL, im->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return "no memory for generated code";
    im->at = at;
    for (int i = 0; i < im->n; i++)
        for (int s = 0; s < im->elf[i].nsection; s++) {
            const Elf64_Shdr *h = &im->elf[i].section[s];
            if (!im->elf[i].loaded[s]) continue;
            memcpy(im->at + im->elf[i].offset[s], (const char *)im->object[i].data + h->sh_offset,
                   h->sh_size);
        }
    return NULL;
}

/* jmp *[rip + 0]; address */
static char *make_stub(Image *im, const char *name, void *to) {
    static const unsigned char jump[] = {0xff, 0x25, 0, 0, 0, 0};
    char *at = im->at + im->stubs + (size_t)im->nstub * STUB_BYTES;
    memcpy(at, jump, sizeof jump);
    memcpy(at + sizeof jump, &to, sizeof to);
    im->stub[im->nstub].name = name;
    im->stub[im->nstub++].at = at;
    return at;
}

/* The address of a name that an object does not define: a shared function of this image, or a stub.
 */
static char *outside(Image *im, const char *name) {
    for (int i = 0; i < im->n; i++)
        if (im->object[i].shared && !strcmp(im->object[i].symbol, name)) return im->object[i].entry;
    for (int i = 0; i < im->nstub; i++)
        if (!strcmp(im->stub[i].name, name)) return im->stub[i].at;
    void *to = code_library_at(name);
    if (!to) to = shared_at(im->code, name);
    return to ? make_stub(im, name, to) : NULL;
}

static const char *relocate(Image *im, const Elf *e, const Elf64_Rela *r, char *section) {
    const Elf64_Sym *s = &e->symbol[ELF64_R_SYM(r->r_info)];
    const char *name = e->names + s->st_name;
    char *target = s->st_shndx == SHN_UNDEF ? outside(im, name)
                                            : im->at + e->offset[s->st_shndx] + s->st_value;
    if (!target) return arena_printf(im->arena, "generated code needs %s, which nobody has", name);
    char *place = section + r->r_offset;
    uint32_t type = (uint32_t)ELF64_R_TYPE(r->r_info);
    uint64_t value = (uint64_t)(uintptr_t)target + (uint64_t)r->r_addend;
    if (type != R_X86_64_64) value -= (uint64_t)(uintptr_t)place;
    if (width_of(EM_X86_64, type) == 8) {
        memcpy(place, &value, 8);
        return NULL;
    }
    int32_t low = (int32_t)(uint32_t)value;
    if ((uint64_t)(int64_t)low != value) return "a relocation out of range";
    memcpy(place, &low, 4);
    return NULL;
}

static const char *relocate_all(Image *im) {
    for (int i = 0; i < im->n; i++) {
        const Elf *e = &im->elf[i];
        for (int s = 0; s < e->nsection; s++) {
            const Elf64_Rela *r;
            size_t n;
            const char *error = read_relocations(im->arena, e, s, &r, &n);
            char *section =
                im->at +
                e->offset[e->section[s].sh_info < (uint32_t)e->nsection ? e->section[s].sh_info
                                                                        : 0];
            for (size_t k = 0; k < n && !error; k++) error = relocate(im, e, &r[k], section);
            if (error) return error;
        }
    }
    return NULL;
}

static void set_entries(Image *im) {
    for (int i = 0; i < im->n; i++) {
        const Elf64_Sym *s = find_symbol(&im->elf[i], im->object[i].symbol);
        im->object[i].entry = im->at + im->elf[i].offset[s->st_shndx] + s->st_value;
    }
}

static void unmap(void *image) {
    Image *im = image;
    munmap(im->at, im->bytes);
}

static void keep(Image *im) {
    Code *c = im->code;
    Mapping *m = ARENA_NEW(c->arena, Mapping);
    *m = (Mapping){im->at, im->bytes, c->mapping};
    c->mapping = m;
    vm_undo_pop(&im->undo);
    for (int i = 0; i < im->n; i++) {
        if (!im->object[i].shared) continue;
        Name *name = ARENA_NEW(c->arena, Name);
        *name = (Name){arena_strdup(c->arena, im->object[i].symbol), im->object[i].entry, c->name};
        c->name = name;
    }
}

const char *code_load(Code *c, Arena *a, LoadObject *o, int n) {
    if (n == 0) return NULL;
    Image im = {.code = c, .arena = a, .object = o, .n = n, .elf = ARENA_ARRAY(a, Elf, n)};
    for (int i = 0; i < n; i++) {
        const char *error = read_elf(a, &o[i], EM_X86_64, &im.elf[i]);
        if (error) return arena_printf(a, "generated code is not as expected: %s", error);
    }
    const char *error = map_image(&im);
    if (error) return error;
    vm_undo_push(&im.undo, unmap, &im);
    set_entries(&im);
    error = relocate_all(&im);
    if (!error && im.code_end && mprotect(im.at, im.code_end, PROT_READ | PROT_EXEC) != 0)
        error = "the system does not let generated code run";
    if (!error && im.bytes > im.code_end)
        if (mprotect(im.at + im.code_end, im.bytes - im.code_end, PROT_READ) != 0)
            error = "the system does not let generated code run";
    if (error) {
        vm_undo_pop(&im.undo);
        unmap(&im);
        for (int i = 0; i < n; i++) o[i].entry = NULL;
        return error;
    }
    keep(&im);
    return NULL;
}
