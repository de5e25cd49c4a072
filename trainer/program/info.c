/* What a program is: its model, data, recipe and programs. */
#include "trainer/program/program.h"

#include <jansson.h>
#include <stdlib.h>

#include "base/version.h"

static int64_t memory_of(const VmProgram *p, int threads) {
    int64_t bytes = p->scratch_bytes * threads;
    for (int i = 0; i < VM_SPACE_COUNT; i++) bytes += p->space_bytes[i];
    return bytes;
}

static const char *const uses[VM_BUILT_USES] = {[VM_BUILT_TRAIN] = "train",
                                                [VM_BUILT_JUDGE] = "validate",
                                                [VM_BUILT_EVAL] = "evaluate",
                                                [VM_BUILT_PREDICT] = "predict"};

static void print_json(const VmBuilt *b, int threads) {
    VmJson o = vm_json_object(), list = vm_json_list(), classes = vm_json_list();
    vm_json_string(&o, "model", b->model);
    vm_json_string(&o, "phase", b->phase);
    vm_json_string(&o, "file", b->file);
    vm_json_string(&o, "version", vm_version);
    vm_json_string(&o, "target", b->target);
    vm_json_string(&o, "instructions", b->instructions);
    vm_json_int(&o, "parameters", b->parameters);
    vm_json_bool(&o, "weights_inside", b->nweights > 0);
    for (int64_t i = 0; i < b->nclass_name; i++) vm_json_string(&classes, NULL, b->class_name[i]);
    vm_json_put(&o, "classes", classes);
    vm_json_put(&o, "recipe", vm_recipe_json(b->recipe, false));
    for (int i = 0; i < b->nprogram; i++) {
        VmJson p = vm_json_object();
        vm_json_string(&p, "use", uses[b->program[i].use]);
        vm_json_int(&p, "images", b->program[i].program->batch);
        vm_json_int(&p, "tasks", b->program[i].program->ntask);
        vm_json_int(&p, "memory", memory_of(b->program[i].program, threads));
        vm_json_number(&p, "macs", b->program[i].program->macs);
        vm_json_put(&list, NULL, p);
    }
    vm_json_put(&o, "programs", list);
    vm_json_print(stdout, &o);
}

static void print_text(const VmBuilt *b, int threads) {
    printf("%s of %s, %lld parameters, for %s\n", b->model, b->file, (long long)b->parameters,
           b->target);
    printf("weights %s; data: %s\n", b->nweights ? "inside" : "not inside",
           vm_sources[b->recipe->data.kind].name);
    if (b->nclass_name) printf("classes:");
    for (int64_t i = 0; i < b->nclass_name && i < 10; i++)
        printf("%s %s", i ? "," : "", b->class_name[i]);
    if (b->nclass_name) printf("%s\n", b->nclass_name > 10 ? ", .." : "");
    printf("\n%-10s %8s %8s %14s\n", "program", "images", "tasks", "memory MiB");
    for (int i = 0; i < b->nprogram; i++) {
        const VmProgram *p = b->program[i].program;
        printf("%-10s %8lld %8d %14.1f\n", uses[b->program[i].use], (long long)p->batch, p->ntask,
               (double)memory_of(p, threads) / 1048576.0);
    }
}

VmStatus program_info(const Args *a) {
    int threads = vm_threads(0);
    if (a->o.json)
        print_json(&vm_built, threads);
    else
        print_text(&vm_built, threads);
    return VM_OK;
}
