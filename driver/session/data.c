/* Where models meet data: opens the train block's data set and refuses one the model cannot take;
 * makes up inputs where none are needed. */
#include "driver/session/session.h"

#include <stdlib.h>
#include <string.h>

#include "recipe/inputs.h"
#include "runtime/data/feed.h"

const char *session_data_place(const Session *s) {
    Span at = s->train->place[VM_FIELD_data];
    if (!at.src) return arena_printf(s->arena, "%s: ", s->path);
    int line, col;
    span_place(at, &line, &col);
    return arena_printf(s->arena, "%s:%d:%d: ", at.src->path, line, col);
}

int64_t session_known_classes(const IrGraph *g) {
    const IrNode *label = ir_find_leaf(g, OP_input, "label");
    bool shares = label && label->out[0].type.dtype == DT_f32 && label->out[0].type.rank == 2;
    return shares ? label->out[0].type.dim[1] : session_classes(g, "label");
}

bool session_check_classes(Session *s, const FeExperiment *e, const FeTrain *t, const IrGraph *g,
                           const VmDataset *train, Diags *d) {
    int64_t classes;
    vm_dataset_shape(train, NULL, NULL, NULL, &classes);
    return fe_check_classes(e, t, g, session_known_classes(g), classes,
                            vm_dataset_class_list(s->arena, train, classes), d);
}

/* Logits that no image asks for are allowed: weights of a larger task may be trained on. They are
 * never meant by somebody whose folder of a class is missing, so they are said, also with --quiet.
 */
static VmStatus check_classes(Session *s, const IrGraph *g) {
    Diags *d = diags_create(s->arena);
    (void)session_check_classes(s, s->exp, s->train, g, s->data[VM_TRAIN], d);
    session_say_diags(s, d);
    return session_diags_status(d);
}

static VmModelInputs model_inputs(Arena *a, const char *model, const IrGraph *g) {
    VmTensor *list = ARENA_ARRAY(a, VmTensor, g->nnodes);
    VmModelInputs in = {.at = list,
                        .classes = session_known_classes(g),
                        .limit = arena_printf(a, " but the logits of %s have", model)};
    IR_FOR (n, g) {
        if (n->op != OP_input) continue;
        const IrType *t = &n->out[0].type;
        VmTensor *x = &list[in.n++];
        *x = (VmTensor){.name = ir_str(n, ATTR_input_name),
                        .dtype = t->dtype == DT_i32,
                        .rank = (int32_t)t->rank};
        memcpy(x->dim, t->dim, sizeof x->dim);
    }
    return in;
}

static VmStatus check_data(Session *s, const IrGraph *g, const VmDataset *d, VmSplit split) {
    VmModelInputs in = model_inputs(s->arena, s->model, g);
    VmDataShape shape = vm_dataset_inputs(d);
    shape.name = arena_printf(s->arena, "the %s set of the data", vm_split_names[split]);
    shape.class_names = vm_dataset_class_list(s->arena, d, shape.classes);
    VmError err;
    int at = 0;
    VmStatus st = vm_inputs_check(&in, &shape, &at, &err);
    return st ? session_fail(s, st, "%s%s", session_data_place(s), err.text) : VM_OK;
}

void session_check_sides(Session *s, const FeExperiment *e, const FeTrain *t, const IrGraph *g,
                         const DataSeen *seen, Diags *d) {
    const VmDataSpec *data = &t->recipe.data;
    const IrNode *image = ir_find_leaf(g, OP_input, "image");
    VmModelInputs in = model_inputs(s->arena, t->model, g);
    for (int i = 0; i < VM_SPLITS && image; i++) {
        VmDataShape shape = {
            .name = arena_printf(s->arena, "the %s set of the data", vm_split_names[i]),
            .channels = data->channels ? data->channels : vm_sources[data->kind].channels,
            .height = seen->size[i].height,
            .width = seen->size[i].width,
            .class_names = ""};
        VmError err;
        int at = 0;
        if (!seen->size[i].images || !vm_inputs_check(&in, &shape, &at, &err)) continue;
        Diag *dg = diag_error(d, fe_place(e, image->loc, t->model), D_data_shape, "%s", err.text);
        diag_note(d, dg, t->place[VM_FIELD_data], "the data is chosen here");
        return;
    }
}

VmDataQuery session_data_query(const FeTrain *t, const char *dir, char folder[4096]) {
    VmDataQuery q = vm_data_query(&t->recipe.data, dir);
    const Source *src = t->place[VM_FIELD_data].src;
    const char *slash = src ? strrchr(src->path, '/') : NULL;
    size_t n = slash ? (size_t)(slash - src->path) : 0;
    q.held_out = t->recipe.validation > 0;
    if (dir || !slash || n >= 4096) return q;
    if (n == 0) n = 1; /* a file in / */
    memcpy(folder, src->path, n);
    folder[n] = '\0';
    q.beside = folder;
    return q;
}

VmStatus session_data_see(const FeTrain *t, const char *dir, DataSeen *out, VmError *err) {
    char folder[4096];
    VmDataQuery spec = session_data_query(t, dir, folder);
    *out = (DataSeen){.there = false};
    VmStatus st = vm_dataset_find(&spec, VM_TRAIN, err);
    if (st) return st;
    out->there = true;
    if (!dir && vm_dataset_is_archive(&spec)) return VM_OK;
    return vm_dataset_measure(&spec, NULL, out->size, &out->classes, err);
}

void session_data_close(Session *s) {
    vm_dataset_close(s->rest);
    vm_dataset_close(s->held);
    s->train_set = s->validation = s->rest = s->held = NULL;
    for (int i = 0; i < VM_SPLITS; i++) {
        vm_dataset_close(s->data[i]);
        s->data[i] = NULL;
    }
}

/* Batches in the making: each worker makes one, and one waits to be taken. */
static int64_t batches_ahead(const Session *s, const VmDataSize *train, int workers) {
    int64_t image = train->images ? train->bytes / train->images * (int64_t)sizeof(float) : 0;
    return workers ? (workers + 1) * s->batch * image : 0;
}

const DataWant session_data_training = {.split = {true, true, true}, .training = true};

VmStatus session_data_use(const Session *s, const DataWant *want, const char *dir, int threads,
                          MemoryUse *use, VmError *err) {
    use->data = use->data_ahead = 0;
    if (!s->train) return VM_OK;
    char folder[4096];
    VmDataQuery spec = session_data_query(s->train, dir, folder);
    spec.class_name = s->class_name;
    spec.nclass_name = s->nclass_name;
    spec.files = want->files;
    VmDataSize size[VM_SPLITS];
    VmStatus st = vm_dataset_measure(&spec, want->split, size, NULL, err);
    if (st) return st;
    const VmDataSize *fed = NULL; /* what steps are made of */
    int64_t listed = 0, most = 0;
    bool held = true;
    for (int i = VM_SPLITS - 1; i >= 0; i--)
        if (want->split[i]) fed = &size[i];
    int64_t order = want->training ? fed->images * (int64_t)sizeof(int64_t) : 0;
    use->data = order;
    for (int i = 0; i < VM_SPLITS; i++) {
        if (!want->split[i]) continue;
        use->data += size[i].bytes;
        listed += size[i].listed;
        if (size[i].decoding > most) most = size[i].decoding;
        held &= size[i].held;
    }
    if (want->training) use->data += batches_ahead(s, fed, s->workers);
    if (!fed->either || spec.cache == VM_data_cache_memory) return VM_OK;
    int workers = vm_feed_workers(false, s->workers);
    /* first all threads look at the images, then workers do */
    int64_t ahead = order + listed + (workers > threads ? workers : threads) * most;
    ahead += batches_ahead(s, fed, workers);
    if (held) use->data_ahead = ahead;
    if (!held) use->data = ahead;
    return VM_OK;
}

/* What a user should know of data that is open. */
static void say_data(Session *s) {
    const char *warning = NULL; /* the same of all */
    for (int i = 0; i < VM_SPLITS; i++)
        if (s->data[i]) warning = vm_dataset_warning(s->data[i]);
    if (warning) session_warn(s, "%s", warning);
    for (int i = 0; i < VM_SPLITS; i++) {
        const char *text = vm_dataset_left_out_said(s->arena, s->data[i], (VmSplit)i);
        if (text) session_warn(s, "%s", text);
    }
}

void session_put_lines(Diags *d, Span at, DiagId id, const char *text) {
    size_t n = strcspn(text, "\n");
    Diag *dg = diag_error(d, at, id, "%.*s", (int)n, text);
    for (text += n; *text; text += n) {
        text += strspn(text, "\n ");
        n = strcspn(text, "\n");
        diag_note(d, dg, (Span){0}, "%.*s", (int)n, text);
    }
}

/* Data that is not there is said where the file names its place. */
static VmStatus find_data(Session *s, const VmDataQuery *q, const char *dir, const DataWant *want) {
    VmError err = {.text = ""};
    VmStatus st = VM_OK;
    for (int i = 0; i < VM_SPLITS && !st; i++)
        if (want->split[i] && i != VM_VALIDATION) st = vm_dataset_find(q, (VmSplit)i, &err);
    Span at = fe_option_place(s->train, VM_FIELD_data, "dir");
    if (st && (dir || !at.src)) return session_fail(s, st, "%s", err.text);
    if (!st) return VM_OK;
    Diags *d = diags_create(s->arena);
    session_put_lines(d, at, D_no_data, err.text);
    session_say_diags(s, d);
    return st;
}

VmStatus session_data(Session *s, const char *dir, int threads, const DataWant *want) {
    VmDataset **d = s->data;
    const IrGraph *g = session_graph(s, s->batch);
    if (!g) return VM_INPUT;
    char folder[4096];
    VmDataQuery spec = session_data_query(s->train, dir, folder);
    spec.threads = threads;
    spec.cache_dir = s->cache_dir;
    spec.class_name = s->class_name;
    spec.nclass_name = s->nclass_name;
    spec.files = want->files;
    if (s->decode_ahead && !spec.cache) spec.cache = VM_data_cache_none;
    if (!vm_sources[spec.kind].classes && vm_sources[spec.kind].reader == VM_READER_idx)
        spec.classes = session_known_classes(g);
    VmError err = {.text = ""};
    VmStatus st = find_data(s, &spec, dir, want);
    if (st) return st;
    st = vm_dataset_open_some(&spec, want->split, d, &err);
    if (st) return session_fail(s, st, "%s", err.text);
    say_data(s);
    if (d[VM_TRAIN]) st = check_classes(s, g);
    for (int i = 0; i < VM_SPLITS && !st; i++)
        if (d[i]) st = check_data(s, g, d[i], (VmSplit)i);
    return st;
}

void session_fill_inputs(const IrGraph *model_graph, VmEngine *e, int program) {
    IR_FOR (n, model_graph) {
        if (n->op != OP_input) continue;
        void *data = vm_engine_data(e, program, ir_str(n, ATTR_input_name));
        if (data) session_fill_input(model_graph, n, 1, data);
    }
}

void session_fill_input(const IrGraph *model_graph, const IrNode *input, uint64_t seed,
                        void *data) {
    const IrType *t = &input->out[0].type;
    const char *name = ir_str(input, ATTR_input_name);
    VmTensor x = {.name = name, .dtype = t->dtype == DT_i32, .rank = (int32_t)t->rank};
    memcpy(x.dim, t->dim, sizeof x.dim);
    vm_made_up_input(&x, x.dtype ? session_classes(model_graph, name) : 0, seed, data);
}
