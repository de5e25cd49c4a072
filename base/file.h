/* Files and folders: the one module that opens, makes, replaces and removes them.
 *
 * Two kinds of name never mix. A *path* is the user's own word: it is followed wherever it leads. A
 * *name* is one component inside an open folder (VmDir): links, pipes and devices in its place are
 * refused, and nobody can exchange the folder underneath. Whatever stands below a folder of ours is
 * reached by names.
 *
 * What is written is complete or absent: it is made under a temporary name beside its place, synced
 * and renamed. Temporary names begin with VM_TEMP_PREFIX and cannot be guessed; who makes one holds
 * a lock on it, so that the leftovers of a killed process are known and removed by whoever writes
 * there next.
 *
 * Nothing here blocks on what is no regular file. Failures of the system are VM_ENV with its
 * reason. */
#ifndef VMOEC_BASE_FILE_H
#define VMOEC_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

#define VM_TEMP_PREFIX ".vmoec-"

/* ---- folders --------------------------------------------------------------------------------- */

typedef struct VmDir {
    int fd;     /* -1: closed */
    char *path; /* for messages and for the user; owned */
} VmDir;

#define VM_DIR_CLOSED ((VmDir){.fd = -1})

/* Opens the folder; make: creates it and its parents first. d is closed on failure. */
VmStatus vm_dir_open(VmDir *d, const char *path, bool make, VmError *err);
/* The folder `name` in p. make: it is created when nothing is there. */
VmStatus vm_dir_in(VmDir *d, const VmDir *p, const char *name, bool make, VmError *err);
/* A fresh folder in p under a temporary name, which is put into name. */
VmStatus vm_dir_temp(VmDir *d, const VmDir *p, char name[32], VmError *err);
void vm_dir_close(VmDir *d);
/* Flushes the folder's entries to disk. */
VmStatus vm_dir_sync(const VmDir *d, VmError *err);

typedef enum VmThere { VM_NOTHING, VM_REGULAR, VM_FOLDER, VM_LINK, VM_SPECIAL, VM_UNKNOWN } VmThere;
/* The prefix and twelve letters or digits that nobody can guess; false: the system has no random
 * numbers. */
bool vm_temp_name(char name[32]);

/* What stands under a name; VM_UNKNOWN: the system does not say, errno has its reason. */
VmThere vm_there(const VmDir *d, const char *name);
/* "a link", "a folder", .. */
const char *vm_there_text(VmThere t);

/* Bytes of a regular file; 0: there is none; -1: the system does not say. */
int64_t vm_size_in(const VmDir *d, const char *name);
/* Free bytes for this user on the folder's file system; INT64_MAX when the system does not say. */
int64_t vm_free_bytes(const VmDir *d);

/* Moves a name within the folder, over nothing: false with errno set when something is there. */
bool vm_rename_in(const VmDir *d, const char *from, const char *to);
/* Exchanges two names in one step; false with errno set. */
bool vm_exchange_in(const VmDir *d, const char *a, const char *b);

/* Removes the files of these names from the folder `name` of p, then the folder. False: something
 * else is in it, or it could not be removed; then it is still there. Nothing there is fine. */
bool vm_remove_folder(const VmDir *p, const char *name, const char *const *files, int n);

/* Removes what killed processes left in d under temporary names: files that nobody holds and, where
 * `files` is not NULL, folders with nothing but such files and temporary ones. The caller owns d
 * then (VmLock). */
void vm_remove_leftovers(const VmDir *d, const char *const *files, int n);

/* ---- folders of code ------------------------------------------------------------------------- */

struct stat;
/* Belongs to this user, and nobody else may write to it. */
bool vm_owned(const struct stat *st);
/* Opens a folder whose files may decide what this user's process does: it is owned in that sense,
 * and every folder and link on the way to it, from /, is this user's or root's and can be exchanged
 * by nobody else. make: what is missing is made, for this user alone; nothing is made in a folder
 * that is refused. *refused: it failed because others have a hand in the folder that the message
 * names. (private.c) */
VmStatus vm_dir_private(VmDir *d, const char *path, bool make, bool *refused, VmError *err);
/* A descriptor of the owned folder `name` in such a folder; -1: there is none. The caller closes
 * it. */
int vm_private_in(const VmDir *p, const char *name, bool make);

/* ---- reading --------------------------------------------------------------------------------- */

/* Whole file into fresh memory (free it), with a final zero byte that is not counted. */
VmStatus vm_read_file(const char *path, char **data, size_t *size, VmError *err);
VmStatus vm_read_in(const VmDir *d, const char *name, char **data, size_t *size, VmError *err);
/* A descriptor for reading a regular file; -1 with err filled in (VM_ENV). The caller closes it. */
int vm_open_read(const char *path, VmError *err);
int vm_open_read_in(const VmDir *d, const char *name, VmError *err);
/* Relative to an open folder, following links: data folders are often made of them. */
int vm_open_read_at(int dir, const char *path, const char *shown, VmError *err);
VmStatus vm_read_descriptor(int fd, const char *shown, char **data, size_t *size, VmError *err);

/* ---- writing --------------------------------------------------------------------------------- */

/* A file that is complete or absent. Begin; write to f; commit, which sees every failed write, or
 * abandon. A path whose file is a pipe or a device (/dev/null, /dev/stdout) cannot be replaced and
 * is written to as it is; a link is followed to its file if it belongs to this user or to root. */
typedef struct VmFile {
    FILE *f;
    int dir;       /* descriptor of the folder; -1: written in place */
    char *path;    /* for messages */
    char *name;    /* in dir */
    char temp[32]; /* in dir */
    bool fresh;    /* set after begin: what is in its place by then stays, and commit fails */
} VmFile;
VmStatus vm_file_begin(VmFile *w, const char *path, VmError *err);
VmStatus vm_file_begin_in(VmFile *w, const VmDir *d, const char *name, VmError *err);
VmStatus vm_file_commit(VmFile *w, VmError *err);
void vm_file_abandon(VmFile *w);

/* A fresh file in an open folder under a temporary name, put into name; whoever has it open holds
 * it. -1 with errno set. */
int vm_temp_file(int dir, unsigned mode, char name[32]);

/* A file that grows by whole lines. keep: opened at its end; else it is made anew. */
VmStatus vm_append_in(FILE **f, const VmDir *d, const char *name, bool keep, VmError *err);

/* ---- one process at a time ------------------------------------------------------------------- */

typedef struct VmLock {
    int fd; /* -1: none */
} VmLock;

#define VM_UNLOCKED ((VmLock){.fd = -1})

/* Takes the lock file `name` of d for this process; it is held until vm_unlock or the process's
 * end, also between containers and machines that share the folder where the file system can.
 * `about`, which begins with "process ", is written into it; a file there that is not of this kind
 * is refused. Somebody else has it: VM_ENV, *held set, and holder says what its owner wrote. *held
 * is false for every other failure. A file system without locks gives VM_OK and lock->fd -1. */
VmStatus vm_lock(VmLock *lock, const VmDir *d, const char *name, const char *about, bool *held,
                 char holder[256], VmError *err);
void vm_unlock(VmLock *lock);

#endif
