/* What an architecture tells of the host: the rules that rows of isa.def name. Internal to this
 * folder. */
#ifndef VMOEC_CODEGEN_TARGET_ARCH_H
#define VMOEC_CODEGEN_TARGET_ARCH_H

#include "codegen/codegen.h"

typedef struct CgArch {
    bool is_host; /* is this program's own */
    /* The CPU in its maker's words; may be "". */
    const char *(*brand)(Arena *a);
    /* Everything that LLVM concludes the CPU's model and features from: what code for "host"
     * depends on. */
    const char *(*identity)(Arena *a);
} CgArch;

#define ARCH(name, ...) extern const CgArch cg_arch_##name;
#define ISA(name, ...) bool cg_host_##name(void);
#define ISA_FOR_TESTS ISA
#include "codegen/target/isa.def"

#endif
