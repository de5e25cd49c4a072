/* What weights say of themselves (about.c). */
#ifndef VMOEC_DRIVER_SESSION_ABOUT_H
#define VMOEC_DRIVER_SESSION_ABOUT_H

#include "driver/session/session.h"

/* What is done about weights that were made in another way. */
typedef enum AboutUse { ABOUT_REFUSE, ABOUT_WARN, ABOUT_NOTE } AboutUse;

/* What weights of the session's model say that come from this seed; classes: those of `train`, if
 * they have names (NULL: not known). Lives as long as the session. */
VmStatus session_about(Session *s, const VmDataset *train, int64_t seed, VmPairs *out);
/* How the train block and the model prepare images; false: it has none, or takes no images. */
bool session_preparation(Session *s, VmPreparation *out);

/* A file may say nothing of it. */
VmStatus session_about_read(Session *s, const VmTensorFile *f, const char *path, VmAbout *out);
/* Settings with which the model computes other scores are VM_INPUT, all of them named with both
 * values. */
VmStatus session_about_settings(Session *s, const VmAbout *x, AboutUse use);
/* So is another preparation of images. */
VmStatus session_about_image(Session *s, const VmAbout *x, AboutUse use);
/* A run that starts from weights for other classes, or in another order, is told so. */
void session_about_classes(Session *s, const VmAbout *x, const VmDataset *train);

#endif
