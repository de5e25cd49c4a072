/* Tables for people, generated so that they cannot be out of date: docs/ops.md from ops.def, the
 * initialisers of docs/language.md from inits.def. */
#include "base/inits.h"
#include "ir/ir.h"

#include <string.h>

static const ptrdiff_t COLUMNS = 100;

/* The end of the word at s. Blanks inside of `code` do not end it. */
static const char *word_end(const char *s) {
    bool code = false;
    for (; *s && (code || *s != ' '); s++) code ^= *s == '`';
    return s;
}

/* The end of what stays in one line with the word at s. One or two characters never begin a line,
 * where Markdown would take a sign or a number for the mark of a list. */
static const char *group_end(const char *s) {
    s = word_end(s);
    while (*s == ' ' && word_end(s + 1) - s <= 3) s = word_end(s + 1);
    return s;
}

/* A paragraph behind a mark ("- ", or nothing), its other lines as far to the right. */
static void print_paragraph(FILE *f, const char *mark, const char *text) {
    int margin = (int)strlen(mark);
    ptrdiff_t column = margin;
    fputs(mark, f);
    while (*text) {
        const char *end = group_end(text);
        if (column > margin && column + 1 + (end - text) > COLUMNS) {
            fprintf(f, "\n%*s", margin, "");
            column = margin;
        } else if (column > margin) {
            fputc(' ', f);
            column++;
        }
        fwrite(text, 1, (size_t)(end - text), f);
        column += end - text;
        text = end + (*end == ' ');
    }
    fputc('\n', f);
}

/* '<' would start HTML. */
static void add_escaped(Text *t, const char *s) {
    for (; *s; s++) text_addf(t, *s == '<' ? "\\%c" : "%c", *s);
}

static void print_attrs(FILE *f, Arena *a, const OpInfo *op) {
    static const char *const kinds[] = {[ATTR_KIND_INT] = "integer",
                                        [ATTR_KIND_FLOAT] = "number",
                                        [ATTR_KIND_STR] = "string",
                                        [ATTR_KIND_INTS] = "list of integers"};
    if (op->nattr > 0) fputs("\nAttributes:\n\n", f);
    for (int i = 0; i < op->nattr; i++) {
        const AttrInfo *at = &ir_attrs[(int)op->first_attr + i];
        Text t = text_new(a);
        text_addf(&t, "`%s` (%s, ", at->name, kinds[at->kind]);
        if (at->required)
            text_add(&t, "required) - ");
        else
            text_addf(&t, "default `%s`) - ", at->dflt);
        add_escaped(&t, at->doc);
        text_add(&t, ".");
        print_paragraph(f, "- ", t.data);
    }
}

/* How many operands and results it has, its gradient, and what fusion may do with it. */
static void print_facts(FILE *f, Arena *a, const OpInfo *op) {
    static const char *const grads[] = {[GRAD_YES] = "differentiable",
                                        [GRAD_STOP] = "no gradient (constant)",
                                        [GRAD_VIA] = "differentiable through its expansion",
                                        [GRAD_END] = "made by the compiler after differentiation"};
    Text t = text_new(a);
    text_addf(&t, "Operands: %d", op->min_in);
    if (op->max_in != op->min_in) text_addf(&t, " to %d", op->max_in);
    text_addf(&t, ". Results: %d. Gradient: %s.", op->nout, grads[op->grad]);
    if (op->flags & OPF_COMMUTE) text_add(&t, " Operands may be swapped.");
    if (op->flags & OPF_PRO) text_add(&t, " Elementwise producers of its operands may be fused.");
    if (op->flags & OPF_EPI)
        text_add(&t, " Elementwise consumers of its first result may be fused.");
    if (op->flags & OPF_LEAD)
        text_add(&t, " A kernel that works on rows of its first result may be fused.");
    if (op->flags & OPF_TAIL) text_add(&t, " May be fused behind what makes its operand's rows.");
    if (op->flags & OPF_FRONT)
        text_add(&t, " May be fused before the product that reads its rows.");
    if (op->flags & OPF_SPREAD) text_add(&t, " Its results may be columns of a wider tensor.");
    if (op->flags & OPF_SPARE) text_add(&t, " Results that nobody reads are not written.");
    if (op->flags & OPF_EFFECT) text_add(&t, " Writes its operands in place.");
    print_paragraph(f, "", t.data);
}

static void print_op(FILE *f, const OpInfo *op) {
    Arena *a = arena_create();
    fprintf(f, "\n### %s\n\n", op->name);
    print_paragraph(f, "", arena_printf(a, "`%s`: %s.", op->signature, op->doc));
    fputc('\n', f);
    print_facts(f, a, op);
    print_attrs(f, a, op);
    arena_destroy(a);
}

static void print_group(FILE *f, const char *title, const char *text, OpStage stage,
                        OpRoute route) {
    fprintf(f, "\n## %s\n\n%s\n", title, text);
    for (int i = 0; i < OP_COUNT; i++)
        if (ir_ops[i].stage == stage && ir_ops[i].route == route) print_op(f, &ir_ops[i]);
}

void ir_print_initialisers(FILE *f) {
    fputs("| initialiser | in IR | initial values |\n|---|---|---|\n", f);
    for (const VmInitRow *r = vm_inits; r < vm_inits + VM_INIT_COUNT; r++)
        fprintf(f, "| `%s(%s)` | `%s` | %s |\n", r->name, r->given, r->form, r->meaning);
}

void ir_print_reference(FILE *f) {
    fputs("# Op reference\n\n"
          "Generated from `ir/ops.def` by `make docs`; do not edit.\n\n",
          f);
    print_paragraph(f, "",
                    "Shapes: B batch, T tokens, D width, H hidden, E experts, K chosen per token, "
                    "R routed rows (T*K), "
                    "N sequence length; `..` stands for any number of dimensions. Without an "
                    "element type, f32 is "
                    "meant.");
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
