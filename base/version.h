/* What this program is. The build writes the texts (Makefile, build/obj/version.c): the commit is
 * that of the sources' repository, without a mark for changes that are not committed, so that
 * rebuilding a commit gives the same bytes wherever it lies. */
#ifndef VMOEC_BASE_VERSION_H
#define VMOEC_BASE_VERSION_H

extern const char vm_version[];      /* "0.1.0" */
extern const char vm_commit[];       /* 12 digits; "unknown" for sources without a repository */
extern const char vm_llvm_version[]; /* of the code generator, "19.1.7" */

#endif
