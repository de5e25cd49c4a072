/* What the fuzz targets share (util_fuzz.c): an entrance each, and their input as text or as a
 * file. A target may keep nothing from one input to the next, and ends by abort() when something is
 * not as promised. */
#ifndef VMOEC_TESTS_FUZZ_TARGET_H
#define VMOEC_TESTS_FUZZ_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Every file of targets/ defines it; for the tests, which replay all corpora, it is called
 * fuzz_<name> there (Makefile). */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A promise that an input has broken. */
#define FUZZ_CHECK(holds, ...)                                                                     \
    do {                                                                                           \
        if (!(holds)) fuzz_fail(__FILE__, __LINE__, __VA_ARGS__);                                  \
    } while (0)
_Noreturn void fuzz_fail(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* A copy with a zero byte behind it that ends where its memory ends; of malloc. A zero byte within
 * ends the text, as no reader takes a file that has one. */
char *fuzz_text(const uint8_t *data, size_t size);
/* The path of a file in memory with these bytes. There is one: the next call replaces it. */
const char *fuzz_file(const uint8_t *data, size_t size);

/* The path of this process's own folder, below TMPDIR, which goes when the process ends by itself.
 */
const char *fuzz_folder(void);
void fuzz_leave(void); /* it goes now */
/* Writes a file into the folder; removes all that is in it. */
void fuzz_put(const char *name, const void *data, size_t size);
void fuzz_clear(void);

/* The next of the parts that an input is made of, which lines "\n====\n" separate; false: there are
 * no more. Begin with *at 0. */
typedef struct FuzzPart {
    const uint8_t *data;
    size_t size;
} FuzzPart;
bool fuzz_part(const uint8_t *data, size_t size, size_t *at, FuzzPart *out);

/* Changes a file's n bytes, of at most `most`, as the input says: for each change a byte for its
 * kind (bytes are overwritten, the file ends there, bytes are added at its end), two for the place,
 * one for a length, and the bytes. Returns how many there are then. */
size_t fuzz_change(uint8_t *file, size_t n, size_t most, const uint8_t *data, size_t size);

#endif
