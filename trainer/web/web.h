/* A model as a WebAssembly module that predicts: what `vmoec build --target wasm32` writes into it,
 * and the functions that a page calls. One picture at a time, in memory of the module's own; it
 * asks nothing of the page but to be called. */
#ifndef VMOEC_TRAINER_WEB_WEB_H
#define VMOEC_TRAINER_WEB_WEB_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/exec/abi.h"

/* ---- what is built in ------------------------------------------------------------------------ */

typedef struct VmWeb {
    int32_t abi;              /* VM_ABI_VERSION */
    const VmProgram *program; /* scores the classes of one image */
    const float *weights;     /* [nweights]: of all the program's weights, in its order */
    size_t nweights;
    double mean[3], std[3]; /* x = (pixel / 255 - mean) / std */
    int32_t resize;         /* the recipe resizes images: those of any size are taken */
    const char *info;       /* what vm_web_info returns */
} VmWeb;

extern const VmWeb vm_web;

/* ---- what a page calls ----------------------------------------------------------------------- */

/* Functions are exported by the names behind `vm_web_`. Pointers are places in `memory`; the
 * module may grow it in start, pixels, classify and draw, so views of it are made afterwards. A
 * status is 0, or what `error` has a text for: 1 the picture, 2 the call, 3 memory. */
#ifdef __wasm__
#define VM_WEB(name) __attribute__((export_name(#name)))
#else
#define VM_WEB(name)
#endif

/* Makes the model ready: the first call, once. */
VM_WEB(start) int32_t vm_web_start(void);

/* JSON in UTF-8, ended by a zero: name (of the file), model, version, parameters, height, width,
 * channels, classes (a list of names by label), resize (are pictures of other sizes resized by the
 * recipe?), mean, std, digits (are they written digits, centred as MNIST's are?), memory (bytes).
 * Needs no start. */
VM_WEB(info) const char *vm_web_info(void);

/* Room for a picture, [height][width][channels] bytes: 1 grey, 3 red, green, blue, 4 and how
 * opaque, which is not looked at. Zeroed. The last one's is gone. 0: `error` says why. */
VM_WEB(pixels) uint8_t *vm_web_pixels(int32_t height, int32_t width, int32_t channels);

/* Classifies the picture there, prepared as `vmoec predict` prepares a file of these pixels. One of
 * another size than the model's is refused where predict refuses it, unless any_size is not 0:
 * then it is resized as the recipe's `resize` would. */
VM_WEB(classify) int32_t vm_web_classify(int32_t any_size);

/* Classifies a drawing there, of one channel, light on black: what is drawn is brought to the size
 * and place of MNIST's digits (centre.c), and their image is classified. */
VM_WEB(draw) int32_t vm_web_draw(void);

/* Of the last picture: [classes], their sum 1; and the bytes that the model saw, which are
 * [channels][height][width]. */
VM_WEB(probabilities) const double *vm_web_probabilities(void);
VM_WEB(seen) const uint8_t *vm_web_seen(void);

/* Why the last call that failed did, for people; "" when none has. */
VM_WEB(error) const char *vm_web_error(void);

#endif
