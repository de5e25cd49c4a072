/* docs/ops.md: the op table for people, generated from ops.def so that it cannot be out of date. */
#include "ir/ir.h"

/* A table cell: '|' would end it, '<' would start HTML. */
static void print_cell(FILE *f, const char *s) {
    for (; *s; s++) {
        if (*s == '|' || *s == '<') fputc('\\', f);
        fputc(*s, f);
    }
}

static void print_attrs(FILE *f, const OpInfo *op) {
    static const char *const kinds[] = {[ATTR_KIND_INT] = "integer",
                                        [ATTR_KIND_FLOAT] = "number",
                                        [ATTR_KIND_STR] = "string",
                                        [ATTR_KIND_INTS] = "list of integers"};
    if (op->nattr == 0) return;
    fputs("\n| attribute | kind | default | meaning |\n|---|---|---|---|\n", f);
    for (int i = 0; i < op->nattr; i++) {
        const AttrInfo *at = &ir_attrs[(int)op->first_attr + i];
        fprintf(f, "| `%s` | %s | ", at->name, kinds[at->kind]);
        if (at->required)
            fputs("required", f);
        else
            fprintf(f, "`%s`", at->dflt);
        fputs(" | ", f);
        print_cell(f, at->doc);
        fputs(" |\n", f);
    }
}

static void print_op(FILE *f, const OpInfo *op) {
    static const char *const grads[] = {[GRAD_YES] = "differentiable",
                                        [GRAD_STOP] = "no gradient (constant)",
                                        [GRAD_VIA] = "differentiable through its expansion",
                                        [GRAD_END] = "made by the compiler after differentiation"};
    fprintf(f, "\n### %s\n\n`%s`: %s.\n\n", op->name, op->signature, op->doc);
    if (op->min_in == op->max_in)
        fprintf(f, "Operands: %d", op->min_in);
    else
        fprintf(f, "Operands: %d to %d", op->min_in, op->max_in);
    fprintf(f, ". Results: %d. Gradient: %s.", op->nout, grads[op->grad]);
    if (op->flags & OPF_COMMUTE) fputs(" Operands may be swapped.", f);
    if (op->flags & OPF_PRO) fputs(" Elementwise producers of its operands may be fused.", f);
    if (op->flags & OPF_EPI) fputs(" Elementwise consumers of its first result may be fused.", f);
    if (op->flags & OPF_LEAD)
        fputs(" A kernel that works on rows of its first result may be fused.", f);
    if (op->flags & OPF_TAIL) fputs(" May be fused behind what makes its operand's rows.", f);
    if (op->flags & OPF_FRONT) fputs(" May be fused before the product that reads its rows.", f);
    if (op->flags & OPF_EFFECT) fputs(" Writes its operands in place.", f);
    fputc('\n', f);
    print_attrs(f, op);
}

static void print_group(FILE *f, const char *title, const char *text, OpStage stage,
                        OpRoute route) {
    fprintf(f, "\n## %s\n\n%s\n", title, text);
    for (int i = 0; i < OP_COUNT; i++)
        if (ir_ops[i].stage == stage && ir_ops[i].route == route) print_op(f, &ir_ops[i]);
}

void ir_print_reference(FILE *f) {
    fputs("# Op reference\n\n"
          "Generated from `ir/ops.def` by `make docs`; do not edit.\n\n"
          "Shapes: B batch, T tokens, D width, H hidden, E experts, K chosen per token, R routed "
          "rows (T*K), "
          "N sequence length; `..` stands for any number of dimensions. Without an element type, "
          "f32 is "
          "meant.\n",
          f);
    print_group(f, "Leaves", "Named buffers; no code.", STAGE_CORE, ROUTE_LEAF);
    print_group(f, "Views", "Another way to look at the operand's buffer; no code.", STAGE_CORE,
                ROUTE_VIEW);
    print_group(f, "Elementwise",
                "One value from one value per operand; all operands have one shape.", STAGE_CORE,
                ROUTE_ELTWISE);
    print_group(f, "Gathers", "Rows picked by an index, read where they are used.", STAGE_CORE,
                ROUTE_GATHER);
    print_group(f, "Kernels", "Each anchors one cluster: one generated function.", STAGE_CORE,
                ROUTE_KERNEL);
    print_group(f, "Model ops",
                "What programs are made of besides the above; replaced by the `expand` pass.",
                STAGE_MODEL, ROUTE_EXPAND);
}
