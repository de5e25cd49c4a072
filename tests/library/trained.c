/* Trains F.vmoe into OUT, and prints all that VmoecTrained says of it, a name and a value a line.
 *
 *   trained F.vmoe OUT */
#include <stdio.h>
#include <stdlib.h>

#include "driver/session/vmoec.h"

static void print(const char *part, const VmoecMeans *m) {
    printf("%s_images %lld\n", part, (long long)m->images);
    if (m->images) printf("%s_loss %.17g\n", part, m->loss);
    for (int i = 0; i < m->nmetric; i++)
        printf("%s_%s %.17g\n", part, m->metric[i].name, m->metric[i].value);
}

int main(int argc, char **argv) {
    if (argc != 3) return VM_USAGE;
    VmoecOptions o;
    VmoecTrainOptions t;
    VmoecTrained is;
    Vmoec *v;
    vmoec_options_init(&o);
    o.path = argv[1];
    o.models = "models";
    o.backend = getenv("BACKEND");
    vmoec_train_options_init(&t);
    t.out = argv[2];
    t.overwrite = true;
    VmStatus st = vmoec_open(&o, &v);
    if (!st) st = vmoec_train(v, &t, &is);
    if (st) {
        fprintf(stderr, "%s\n", vmoec_error(v));
    } else {
        print("train", &is.train);
        print("validation", &is.validation);
        print("test", &is.test);
        printf("best_epoch %lld\nbest_step %lld\nbest_metric %s\nbest_value %.17g\n",
               (long long)is.best_epoch, (long long)is.best_step,
               is.best_metric ? is.best_metric : "none", is.best_value);
    }
    vmoec_close(v);
    return st;
}
