/* LLVM's state while kernels are compiled: context, target machine, shared functions. All LLVM
 * lifetime is in unit.c. These are a CgBackend's functions, which says what they do; the kernels
 * they lower clusters by are given when a unit is made. */
#ifndef VMOEC_CODEGEN_BUILD_UNIT_H
#define VMOEC_CODEGEN_BUILD_UNIT_H

#include "codegen/plan/backend.h"
#include "codegen/build/emit.h"

CgUnit *unit_create(Arena *a, const CgTarget *t, const CgRules *rules, const char **error);
void unit_destroy(CgUnit *u);
CgFacts unit_facts(CgUnit *u, CgJob job);
const char *unit_compile(CgUnit *u, CgJob job, CgFacts *facts, CgSink sink, void *user,
                         double *seconds);
const char *unit_print(CgUnit *u, const CgJob *job, int n, bool assembly, Text *out);
const char *unit_library(void);

#endif
