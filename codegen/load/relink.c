/* Gives an object's function another name. Every kernel is an object of its own that defines the
 * same one, which the loader does not mind and a linker does. Only the name's bytes change: what is
 * linked is what would be loaded. */
#include "codegen/load/relink.h"
#include "codegen/load/wasm.h"

#include <elf.h>
#include <stdbool.h>
#include <string.h>

#include "base/bug.h"

/* The section that holds symbols: there is one, because the loader wants one. */
static Elf64_Shdr section_at(const char *data, size_t i) {
    Elf64_Ehdr head;
    Elf64_Shdr s;
    memcpy(&head, data, sizeof head);
    memcpy(&s, data + head.e_shoff + i * sizeof s, sizeof s);
    return s;
}

static size_t symbol_section(const char *data) {
    Elf64_Ehdr head;
    memcpy(&head, data, sizeof head);
    for (size_t i = 0; i < head.e_shnum; i++)
        if (section_at(data, i).sh_type == SHT_SYMTAB) return i;
    VM_BUG("an object without symbols");
}

const void *code_relink(Arena *a, const void *data, size_t size, const char *from, const char *to) {
    VM_CHECK(strlen(from) == strlen(to), "%s is longer or shorter than %s", to, from);
    if (code_wasm_is(data, size)) return code_wasm_relink(a, data, size, from, to);
    char *copy = arena_alloc(a, size);
    memcpy(copy, data, size);
    Elf64_Shdr symbols = section_at(copy, symbol_section(copy));
    Elf64_Shdr names = section_at(copy, symbols.sh_link);
    bool found = false;
    for (size_t at = 0; at + sizeof(Elf64_Sym) <= symbols.sh_size; at += sizeof(Elf64_Sym)) {
        Elf64_Sym s;
        char *place = copy + symbols.sh_offset + at;
        memcpy(&s, place, sizeof s);
        char *name = copy + names.sh_offset + s.st_name;
        if (ELF64_ST_BIND(s.st_info) != STB_GLOBAL || s.st_shndx == SHN_UNDEF) continue;
        if (!strcmp(name, from)) {
            memcpy(name, to, strlen(to));
            found = true;
        }
        s.st_other = STV_HIDDEN;
        memcpy(place, &s, sizeof s);
    }
    VM_CHECK(found, "an object without %s", from);
    return copy;
}
