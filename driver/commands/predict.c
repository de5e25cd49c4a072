/* vmoec predict: the classes of images, by their files. */
#include "cli/results.h"
#include "driver/commands/commands.h"

typedef struct Predict {
    const Args *a;
    Session s;
} Predict;

static VmStatus classify(void *user, const VmImageStream *images) {
    Predict *p = user;
    const Args *a = p->a;
    SessionPredict how = {
        .weights = a->o.weights, .threads = (int)opt_or(a->o.threads, 0), .anyway = a->o.anyway};
    SessionPredictor *predictor = NULL;
    VmStatus st = session_predictor_open(&p->s, &how, &predictor);
    if (!st) st = session_predictor_run(predictor, images);
    session_predictor_close(predictor);
    return st;
}

VmStatus cmd_predict(const Args *a) {
    Predict p = {.a = a};
    VmStatus st = args_require(a, OPT_weights);
    if (!st) st = cli_predict_check(a, 1);
    if (!st) st = drv_open(a, false, &p.s);
    if (st) return st;
    st = cli_predict(a, 1, classify, &p);
    session_close(&p.s);
    return st;
}
