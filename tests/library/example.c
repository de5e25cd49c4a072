/* Trains a model and says how good it is. */
#include <stdio.h>

#include "driver/session/vmoec.h"

static void show(void *stream, const VmoecMessage *m) {
    fputs(m->rendered, stream);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: example F.vmoe DATA OUT\n");
        return VM_USAGE;
    }
    VmoecOptions o;
    vmoec_options_init(&o);
    o.path = argv[1];
    o.models = "models";
    o.on_message = show;
    o.user = stderr;

    VmoecTrainOptions t;
    vmoec_train_options_init(&t);
    t.data = argv[2];
    t.out = argv[3];
    t.overwrite = true;

    Vmoec *v;
    VmoecTrained trained;
    VmoecEvaluated e;
    VmStatus st = vmoec_open(&o, &v);
    if (!st) st = vmoec_train(v, &t, &trained);
    if (!st) st = vmoec_eval(v, trained.weights, t.data, &e);
    if (!st)
        printf("%s: accuracy %.4f on %lld images after %lld steps\n", vmoec_model(v), e.accuracy,
               (long long)e.images, (long long)trained.steps);
    else
        fprintf(stderr, "example: %s\n", vmoec_error(v));
    vmoec_close(v);
    return st;
}
