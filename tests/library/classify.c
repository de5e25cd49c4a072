/* Says what pictures show. */
#include <stdio.h>

#include "driver/session/vmoec.h"

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: classify F.vmoe WEIGHTS IMAGE..\n");
        return VM_USAGE;
    }
    VmoecOptions o;
    vmoec_options_init(&o);
    o.path = argv[1];
    o.models = "models";

    VmoecPredictOptions how;
    vmoec_predict_options_init(&how);
    how.weights = argv[2];
    how.batch = 1; /* a picture at a time */

    Vmoec *v;
    VmoecPredictor *p = NULL;
    VmStatus st = vmoec_open(&o, &v);
    if (!st) st = vmoec_predictor_open(v, &how, &p);
    for (int i = 3; i < argc && !st; i++) {
        VmoecImage image = {.path = argv[i]};
        VmoecPrediction is;
        st = vmoec_predict(p, &image, 1, &is);
        if (st) break;
        if (is.status)
            fprintf(stderr, "classify: %s\n", is.error);
        else
            printf("%s: %s, %.1f %%\n", argv[i], vmoec_predictor_class(p, is.label),
                   100 * is.probability[is.label]);
    }

    /* pixels of one's own: 2 x 3, all of them red */
    uint8_t red[2][3][3] = {0};
    for (int i = 0; i < 6; i++) red[i / 3][i % 3][0] = 255;
    VmoecImage image = {.path = "red", .pixels = red[0][0], .height = 2, .width = 3, .channels = 3};
    VmoecPrediction is;
    if (!st) st = vmoec_predict(p, &image, 1, &is);
    if (!st && !is.status) printf("red: %s\n", vmoec_predictor_class(p, is.label));

    if (st) fprintf(stderr, "classify: %s\n", vmoec_error(v));
    vmoec_predictor_close(p);
    vmoec_close(v);
    return st;
}
