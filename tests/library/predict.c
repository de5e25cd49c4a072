/* Classes of images from a program of one's own, a line each: NAME LABEL CLASS PROBABILITY.., the
 * probabilities of all classes with all their digits; or NAME and why there are none.
 *
 *   predict files F.vmoe WEIGHTS IMAGE..             files, twice with one predictor
 *   predict pixels F.vmoe WEIGHTS NAME=C.H.W..       pixels, [H][W][C] in the file NAME
 *   predict batch N F.vmoe WEIGHTS IMAGE..           as files, N at once
 *   predict sizes F.vmoe WEIGHTS IMAGE               the image alone and in calls of up to 20
 *   predict both F.vmoe WEIGHTS G.vmoe WEIGHTS IMAGE..   two models in turn and in two threads
 *   predict misuse F.vmoe WEIGHTS DATA IMAGE         calls that are wrong or out of order
 *   predict open F.vmoe WEIGHTS                      status and error of opening alone */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/session/vmoec.h"

enum { MOST = 64 };

static Vmoec *open_file(const char *path) {
    VmoecOptions o;
    vmoec_options_init(&o);
    o.path = path;
    o.models = "models";
    o.backend = getenv("BACKEND");
    o.cache = getenv("CACHE");
    o.threads = 2;
    Vmoec *v;
    if (vmoec_open(&o, &v)) fprintf(stderr, "%s: %s\n", path, vmoec_error(v));
    return v;
}

static VmoecPredictor *open_predictor(Vmoec *v, const char *weights, int64_t batch) {
    VmoecPredictOptions o;
    VmoecPredictor *p;
    vmoec_predict_options_init(&o);
    o.weights = weights;
    o.batch = batch;
    VmStatus st = vmoec_predictor_open(v, &o, &p);
    if (st) fprintf(stderr, "%d: %s\n", (int)st, vmoec_error(v));
    return p;
}

static void print(FILE *to, const VmoecPredictor *p, const char *name, const VmoecPrediction *o) {
    fprintf(to, "%s", name);
    if (o->status) fprintf(to, "\t%d\t%s", (int)o->status, o->error);
    if (!o->status)
        fprintf(to, "\t%lld\t%s", (long long)o->label, vmoec_predictor_class(p, o->label));
    for (int64_t i = 0; !o->status && i < vmoec_predictor_classes(p); i++)
        fprintf(to, "\t%.17g", o->probability[i]);
    fprintf(to, "\n");
}

/* All images in one call. */
static VmStatus classify(VmoecPredictor *p, const VmoecImage *image, int n, FILE *to) {
    VmoecPrediction out[MOST];
    VmStatus st = vmoec_predict(p, image, n, out);
    for (int i = 0; i < n; i++) print(to, p, image[i].path, &out[i]);
    return st;
}

/* ---- files and pixels ------------------------------------------------------------------------ */

static int images_of(char **path, int n, VmoecImage *image) {
    for (int i = 0; i < n; i++) image[i] = (VmoecImage){.path = path[i]};
    return n;
}

static VmStatus files(int64_t batch, char **argv, int n) {
    VmoecImage image[MOST];
    Vmoec *v = open_file(argv[0]);
    VmoecPredictor *p = open_predictor(v, argv[1], batch);
    n = images_of(argv + 2, n - 2, image);
    char *first, *again;
    size_t nfirst, nagain;
    FILE *a = open_memstream(&first, &nfirst), *b = open_memstream(&again, &nagain);
    VmStatus st = p ? classify(p, image, n, a) : VM_INPUT;
    if (!st) st = classify(p, image, n, b);
    fclose(a), fclose(b);
    if (!st && strcmp(first, again) != 0) st = VM_INPUT;
    fputs(first, stdout);
    free(first), free(again);
    vmoec_predictor_close(p);
    vmoec_close(v);
    return st;
}

static uint8_t *contents(const char *path, size_t n) {
    uint8_t *bytes = malloc(n);
    FILE *f = fopen(path, "rb");
    if (!f || fread(bytes, 1, n, f) != n || fgetc(f) != EOF) exit(VM_ENV);
    fclose(f);
    return bytes;
}

static VmStatus pixels(char **argv, int n) {
    VmoecImage image[MOST];
    uint8_t *bytes[MOST];
    Vmoec *v = open_file(argv[0]);
    VmoecPredictor *p = open_predictor(v, argv[1], 0);
    for (int i = 0; i < n - 2; i++) {
        char *size = strchr(argv[2 + i], '=');
        long c, h, w;
        if (!size || sscanf(size, "=%ld.%ld.%ld", &c, &h, &w) != 3) exit(VM_USAGE);
        *size = '\0';
        bytes[i] = contents(argv[2 + i], (size_t)(c * h * w));
        image[i] = (VmoecImage){argv[2 + i], bytes[i], h, w, c};
    }
    VmStatus st = p ? classify(p, image, n - 2, stdout) : VM_INPUT;
    for (int i = 0; i < n - 2; i++) free(bytes[i]);
    vmoec_close(v); /* and the predictor */
    return st;
}

/* ---- many calls ------------------------------------------------------------------------------ */

/* One image, so that what it is given does not depend on how many others there are: its line is the
 * same for every number of them. */
static VmStatus sizes(char **argv) {
    Vmoec *v = open_file(argv[0]);
    VmoecPredictor *p = open_predictor(v, argv[1], 20);
    VmoecImage image[20];
    VmoecPrediction out[20];
    double first = 0;
    VmStatus st = p ? VM_OK : VM_INPUT;
    for (int i = 0; i < 20; i++) image[i] = (VmoecImage){.path = argv[2]};
    for (int n = 1; n <= 20 && !st; n++) {
        st = vmoec_predict(p, image, n, out);
        if (!st && n == 1) first = out[0].probability[0];
        for (int i = 0; i < n && !st; i++)
            if (out[i].status || out[i].probability[0] != first) st = VM_INPUT;
    }
    vmoec_predictor_close(p);
    vmoec_close(v);
    return st;
}

typedef struct Side {
    VmoecPredictor *p;
    const VmoecImage *image;
    int n;
    char *text;
    size_t length;
    bool right;
} Side;

static void *repeat(void *side) {
    Side *s = side;
    for (int i = 0; i < 20; i++) {
        char *text;
        size_t n;
        FILE *f = open_memstream(&text, &n);
        s->right &= classify(s->p, s->image, s->n, f) == VM_OK;
        fclose(f);
        s->right &= strcmp(text, s->text) == 0;
        free(text);
    }
    return NULL;
}

static VmStatus both(char **argv, int n) {
    VmoecImage image[MOST];
    Vmoec *v[2];
    Side side[2];
    bool right = true;
    n = images_of(argv + 4, n - 4, image);
    for (int i = 0; i < 2; i++) {
        v[i] = open_file(argv[2 * i]);
        side[i] = (Side){open_predictor(v[i], argv[2 * i + 1], 0), image, n, NULL, 0, true};
        if (!side[i].p) return VM_INPUT;
    }
    for (int i = 0; i < 2; i++) { /* with both open */
        FILE *f = open_memstream(&side[i].text, &side[i].length);
        right &= classify(side[i].p, image, n, f) == VM_OK;
        fclose(f);
        fputs(side[i].text, stdout);
    }
    pthread_t thread[2];
    for (int i = 0; i < 2; i++)
        if (pthread_create(&thread[i], NULL, repeat, &side[i]) != 0) return VM_ENV;
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < 2; i++) {
        right &= side[i].right;
        free(side[i].text);
        vmoec_close(v[i]);
    }
    return right ? VM_OK : VM_INPUT;
}

/* ---- what is wrong --------------------------------------------------------------------------- */

static bool is(const char *what, bool right) {
    if (!right) printf("not so: %s\n", what);
    return right;
}

static bool images_that_are_none(VmoecPredictor *p, const char *path) {
    static const uint8_t pixel[12];
    const VmoecImage image[] = {
        {.path = path}, {0}, {NULL, pixel, 0, 2, 3}, {NULL, pixel, 2, 2, 2}, {.path = path}};
    VmoecPrediction out[5];
    bool right = is("the call is good", vmoec_predict(p, image, 5, out) == VM_OK);
    for (int i = 1; i < 4; i++)
        right &= is("an image is refused", out[i].status == VM_USAGE && *out[i].error &&
                                               out[i].label == -1 && !out[i].probability);
    right &= is("a name", strncmp(out[2].error, "image 2 is 0 x 2", 16) == 0);
    right &= is("channels", strncmp(out[3].error, "image 3 has 2 channels", 22) == 0);
    return right & is("the others are none the worse",
                      !out[0].status && !out[4].status &&
                          out[0].probability[0] == out[4].probability[0] && !*out[0].error);
}

/* argv: F.vmoe WEIGHTS DATA IMAGE */
static VmStatus misuse(char **argv) {
    Vmoec *v = open_file(argv[0]);
    VmoecPredictor *p = open_predictor(v, argv[1], 2), *q = p;
    VmoecEvaluated e, f;
    VmoecPredictOptions none;
    if (!p) return VM_INPUT;
    bool right = images_that_are_none(p, argv[3]);
    right &= is("no images are fine", vmoec_predict(p, NULL, 0, NULL) == VM_OK);
    right &= is("no class", !vmoec_predictor_class(p, -1) &&
                                !vmoec_predictor_class(p, vmoec_predictor_classes(p)));
    right &= is("no evaluation meanwhile", vmoec_eval(v, argv[1], argv[2], &e) == VM_USAGE);
    right &=
        is("which is said", strstr(vmoec_error(v), "predictor of this handle is open") != NULL);
    vmoec_predict_options_init(&none);
    right &= is("no second predictor", vmoec_predictor_open(v, &none, &q) == VM_USAGE && !q);
    right &= is("the first goes on", images_that_are_none(p, argv[3]));
    vmoec_predictor_close(p);
    right &= is("weights are needed", vmoec_predictor_open(v, &none, &q) == VM_USAGE && !q);
    right &= is("evaluation", vmoec_eval(v, argv[1], argv[2], &e) == VM_OK);
    p = open_predictor(v, argv[1], 0); /* after other weights may have been there */
    right &= is("a predictor after it", p && images_that_are_none(p, argv[3]));
    vmoec_predictor_close(p);
    right &= is("evaluation after a predictor", vmoec_eval(v, argv[1], argv[2], &f) == VM_OK &&
                                                    e.loss == f.loss && e.images == f.images);
    vmoec_predictor_close(NULL);
    vmoec_close(v);
    return right ? VM_OK : VM_INPUT;
}

int main(int argc, char **argv) {
    if (argc < 4) return VM_USAGE;
    const char *mode = argv[1];
    if (!strcmp(mode, "files")) return files(0, argv + 2, argc - 2);
    if (!strcmp(mode, "batch")) return files(atoi(argv[2]), argv + 3, argc - 3);
    if (!strcmp(mode, "pixels")) return pixels(argv + 2, argc - 2);
    if (!strcmp(mode, "sizes") && argc == 5) return sizes(argv + 2);
    if (!strcmp(mode, "both") && argc > 6) return both(argv + 2, argc - 2);
    if (!strcmp(mode, "misuse") && argc == 6) return misuse(argv + 2);
    if (strcmp(mode, "open") != 0) return VM_USAGE;
    Vmoec *v = open_file(argv[2]);
    VmoecPredictor *p = open_predictor(v, argv[3], 0);
    vmoec_close(v);
    return p ? VM_OK : VM_INPUT;
}
