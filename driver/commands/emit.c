/* vmoec emit: every stage of the compilation as text. */
#include "driver/commands/commands.h"
#include "base/spell.h"

#include <string.h>
#include <unistd.h>

#include "frontend/syntax/ast.h"

typedef enum Stage {
    ST_ast,
    ST_ir,
    ST_dot,
    ST_expand,
    ST_grad,
    ST_fuse,
    ST_plan,
    ST_llvm,
    ST_asm,
    ST_COUNT
} Stage;
static const char *const stage_names[ST_COUNT] = {"ast",  "ir",   "dot",  "expand", "grad",
                                                  "fuse", "plan", "llvm", "asm"};

static VmStatus parse_stage(const char *name, Stage *out) {
    for (int i = 0; i < ST_COUNT; i++)
        if (!strcmp(name, stage_names[i])) {
            *out = (Stage)i;
            return VM_OK;
        }
    const char *near = spell_suggest(name, stage_names, ST_COUNT);
    return drv_fail(VM_USAGE,
                    "no stage '%s'%s%s%s: ast, ir, dot, expand, grad, fuse, plan, llvm or asm",
                    name, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

static VmStatus parse_target(const char *id, const CgTarget **out) {
    enum { MOST = 16 };
    const char *known[MOST];
    char list[256] = "";
    int n = 0;
    if (!id || (*out = cg_target_named(id))) return VM_OK;
    for (const CgTarget *t; n < MOST && (t = cg_target_at(n)); n++) {
        known[n] = t->id;
        size_t len = strlen(list);
        snprintf(list + len, sizeof list - len, "%s%s", n ? ", " : "", t->id);
    }
    const char *near = spell_suggest(id, known, n);
    return drv_fail(VM_USAGE, "no target '%s'%s%s%s: there are %s", id,
                    near ? "; did you mean " : "", near ? near : "", near ? "?" : "", list);
}

/* The tree needs no names or shapes: a file that does not check can be looked at. */
static VmStatus emit_ast(const Args *a) {
    Arena *arena = arena_create();
    VmError error = {.text = ""};
    Source *src = source_load(arena, a->operand[0], &error);
    VmStatus st = src ? VM_OK : drv_fail(error.status, "%s", error.text);
    if (src) {
        Diags *d = diags_create(arena);
        Ast *file = parse_file(arena, src, d);
        drv_print_diags(d);
        Text t = text_new(arena);
        ast_dump(&t, file);
        st = d->nerrors ? VM_INPUT : drv_write_output(a->o.o, t.data, t.len);
    }
    arena_destroy(arena);
    return st;
}

/* ---- graphviz -------------------------------------------------------------------------------- */

static void dot_string(Text *t, const char *s) {
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') text_add(t, "\\");
        text_addn(t, s, 1);
    }
}

static const char *leaf_name(const IrNode *n) {
    switch (n->op) {
    case OP_input: return ir_str(n, ATTR_input_name);
    case OP_param: return ir_str(n, ATTR_param_name);
    case OP_state: return ir_str(n, ATTR_state_name);
    case OP_table: return ir_str(n, ATTR_table_values);
    case OP_rng_key: return ir_str(n, ATTR_rng_key_stream);
    default: return NULL;
    }
}

static const char *node_style(const IrNode *n) {
    if (n->op == OP_param) return "shape=box,style=filled,fillcolor=\"#dfe9f5\"";
    if (n->op == OP_input) return "shape=box,style=filled,fillcolor=\"#e3f1dd\"";
    return ir_ops[n->op].route == ROUTE_LEAF ? "shape=box,style=dashed" : "shape=ellipse";
}

static void emit_dot(Text *t, IrGraph *g) {
    ir_renumber(g);
    text_addf(t, "digraph \"%s\" {\n  node [fontname=\"monospace\",fontsize=10];\n", g->name);
    IR_FOR (n, g) {
        text_addf(t, "  n%d [%s,label=\"%s", n->id, node_style(n), ir_ops[n->op].name);
        const char *name = leaf_name(n);
        if (name) text_add(t, "\\n");
        if (name) dot_string(t, name);
        for (int i = 0; i < n->nout; i++)
            text_addf(t, "\\n%s", ir_type_text(g->arena, &n->out[i].type));
        text_add(t, "\"];\n");
        for (int i = 0; i < n->nin; i++) text_addf(t, "  n%d -> n%d;\n", n->in[i]->node->id, n->id);
    }
    for (int i = 0; i < g->nout; i++) {
        text_addf(t, "  o%d [shape=doubleoctagon,label=\"%s ", i, ir_out_kind_name(g->out[i].kind));
        dot_string(t, g->out[i].name);
        text_addf(t, "\"];\n  n%d -> o%d;\n", g->out[i].value->node->id, i);
    }
    text_add(t, "}\n");
}

/* ---- stages ---------------------------------------------------------------------------------- */

static VmStatus emit_code(Session *s, Stage stage, ProgramKind kind, Text *t) {
    VmError err = {.text = ""};
    VmStatus st = session_module(s);
    if (st) return st;
    if (!session_plan(s, kind, s->batch, false, &err)) return drv_fail(err.status, "%s", err.text);
    if (stage == ST_plan) cg_print_plan(t, s->module);
    const char *error = NULL;
    if (stage == ST_llvm) error = cg_print_llvm(t, s->module);
    if (stage == ST_asm) error = cg_print_asm(t, s->module);
    return error ? drv_fail(VM_ENV, "%s", error) : VM_OK;
}

static VmStatus emit_stage(Session *s, Stage stage, ProgramKind kind, IrGraph *g, Text *t) {
    Pipeline pipe = stage == ST_grad ? PIPE_GRAD : PIPE_EVAL; /* of which only the front is run */
    const PassId *front;
    int n = pass_pipeline_part(pipe, s->bf16, PASS_expand, PASS_simplify, &front);
    switch (stage) {
    case ST_dot: emit_dot(t, g); return VM_OK;
    case ST_expand:
    case ST_grad: session_run_passes(s, g, front, n, kind.training); break;
    case ST_fuse: session_lower(s, g, kind); break;
    case ST_plan:
    case ST_llvm:
    case ST_asm: return emit_code(s, stage, kind, t);
    default: break;
    }
    ir_print(t, g, true);
    return VM_OK;
}

static VmStatus emit(Session *s, const Args *a, Stage stage) {
    const char *mode = a->o.mode;
    if (mode && strcmp(mode, "train") && strcmp(mode, "infer"))
        return drv_fail(VM_USAGE, "--mode is train or infer, not '%s'", mode);
    IrGraph *g = session_graph_copy(s, s->batch);
    if (!g) return VM_INPUT;
    bool train = mode ? !strcmp(mode, "train") : session_has_loss(g);
    if (!train && stage == ST_grad)
        return drv_fail(VM_USAGE, "there are no gradients without training");
    if (train && !session_has_loss(g))
        return drv_fail(VM_INPUT, "%s has no loss to train on", s->model);
    if (train && stage != ST_dot && stage != ST_ir && !session_trains(s, g)) return VM_INPUT;
    Text t = text_new(s->arena);
    VmStatus st = emit_stage(s, stage, train ? KIND_TRAIN : KIND_EVAL, g, &t);
    if (st) return st;
    if (a->o.time) drv_print_times(s);
    return drv_write_output(a->o.o, t.data, t.len);
}

VmStatus cmd_emit(const Args *a) {
    VmStatus st = args_require(a, OPT_stage);
    Stage stage = ST_ast;
    if (!st) st = parse_stage(a->o.stage, &stage);
    const CgTarget *target = NULL; /* the host */
    if (!st) st = parse_target(a->o.target, &target);
    if (st) return st;
    if (stage == ST_ast) return emit_ast(a);
    Session s;
    VmoecOptions o;
    st = drv_options(a, &o);
    if (!st) st = drv_open_with(a, &o, target, false, &s);
    if (st) return st;
    s.pass.recompute = (int)opt_or(a->o.recompute, RECOMPUTE_LIGHT);
    st = emit(&s, a, stage);
    session_close(&s);
    return st;
}
