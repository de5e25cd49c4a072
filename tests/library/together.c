/* Two sessions in one process, in threads of their own, compiled and trained at once; or one of
 * them alone, so that weights can be compared.
 *
 *   together F.vmoe DATA OUT 0|1      the first or the second run, twice with the same handle:
 *                                     OUT/0, OUT/0.again
 *   together F.vmoe DATA OUT both     both: OUT/0 and OUT/1
 *   together F.vmoe DATA OUT resume   the first goes on from its checkpoint; prints its messages */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/session/vmoec.h"

typedef struct Run {
    const char *file, *data, *out;
    int which;
    bool again, resume;
    pthread_barrier_t *start;
    VmStatus status;
} Run;

static VmStatus fail(const Run *r, Vmoec *v) {
    fprintf(stderr, "run %d: %s\n", r->which, vmoec_error(v));
    for (int i = 0; i < vmoec_message_count(v); i++)
        fprintf(stderr, "run %d: %s", r->which, vmoec_message(v, i)->rendered);
    return vmoec_status(v);
}

/* Different enough that no kernel's code is the other's. */
static VmoecOptions options_of(const Run *r) {
    static const char *const set[2][2] = {{"dim=16", "experts=4"}, {"dim=24", "experts=3"}};
    VmoecOptions o;
    vmoec_options_init(&o);
    o.path = r->file;
    o.models = "models";
    o.backend = getenv("BACKEND");
    o.set = set[r->which];
    o.nset = 2;
    o.threads = 2;
    return o;
}

static VmStatus train(const Run *r, Vmoec *v, const char *suffix) {
    char out[4096];
    snprintf(out, sizeof out, "%s/%d%s", r->out, r->which, suffix);
    VmoecTrainOptions t;
    vmoec_train_options_init(&t);
    t.data = r->data;
    t.out = out;
    t.seed = 7 + r->which;
    t.epochs = 6;
    t.resume = r->resume;
    VmoecTrained result;
    VmStatus st = vmoec_train(v, &t, &result);
    if (st) return fail(r, v);
    VmoecEvaluated e;
    st = vmoec_eval(v, result.weights, r->data, &e);
    if (st) return fail(r, v);
    if (e.images == 21 && e.accuracy == result.test_accuracy) return VM_OK;
    fprintf(stderr, "run %d: accuracy %g of training, %g of evaluation on %lld images\n", r->which,
            result.test_accuracy, e.accuracy, (long long)e.images);
    return VM_INPUT;
}

static void *run(void *user) {
    Run *r = user;
    Vmoec *v;
    VmoecOptions o = options_of(r);
    if (r->start) pthread_barrier_wait(r->start);
    r->status = vmoec_open(&o, &v);
    if (r->status)
        fail(r, v);
    else
        r->status = train(r, v, "");
    if (!r->status && r->again) r->status = train(r, v, ".again");
    for (int i = 0; r->resume && i < vmoec_message_count(v); i++)
        printf("%d %s\n", (int)vmoec_message(v, i)->severity, vmoec_message(v, i)->text);
    vmoec_close(v);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 5) return VM_USAGE;
    pthread_barrier_t start;
    pthread_t thread[2];
    Run r[2];
    for (int i = 0; i < 2; i++)
        r[i] = (Run){.file = argv[1], .data = argv[2], .out = argv[3], .which = i, .start = &start};
    if (strcmp(argv[4], "both") != 0) {
        Run *one = &r[atoi(argv[4]) == 1];
        one->start = NULL;
        one->resume = strcmp(argv[4], "resume") == 0;
        one->again = !one->resume;
        run(one);
        return one->status;
    }
    pthread_barrier_init(&start, NULL, 2);
    for (int i = 0; i < 2; i++)
        if (pthread_create(&thread[i], NULL, run, &r[i]) != 0) return VM_ENV;
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    return r[0].status ? r[0].status : r[1].status;
}
