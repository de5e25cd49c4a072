/* What the files of trainer/web share, one section per file. */
#ifndef VMOEC_TRAINER_WEB_INTERNAL_H
#define VMOEC_TRAINER_WEB_INTERNAL_H

#include "runtime/data/image.h"
#include "trainer/web/web.h"

/* ---- centre.c -------------------------------------------------------------------------------- */

enum { VM_WEB_DIGIT = 28 }; /* the side of MNIST's images */

/* A drawing in[h][w], light on black, becomes to[VM_WEB_DIGIT][VM_WEB_DIGIT], as MNIST's digits lie
 * in their images. VM_INPUT: nothing is drawn. */
VmStatus vm_web_centre(const uint8_t *in, int64_t h, int64_t w, uint8_t *to, VmError *err);

#endif
