/* trainer.json of a checkpoint. An input that begins with "+" gets the checksum that fits the rest,
 * so that what stands behind it is looked at, too. What is taken is written and read again, and
 * compared with another run's. */
#include "tests/fuzz/target.h"

#include <jansson.h>
#include <stdio.h>

#include "runtime/train/record.h"

/* The same JSON with its checksum, as record.c makes it; NULL: it is none. Free it. */
static char *with_checksum(const uint8_t *data, size_t size) {
    const size_t compact = JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17);
    json_t *o = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    char *bare = NULL, *text = NULL;
    if (json_is_object(o)) {
        (void)json_object_del(o, "checksum");
        bare = json_dumps(o, compact);
    }
    if (bare) {
        VmHashText sum = vm_hash_text(vm_hash((VmHash){0, 0}, bare, strlen(bare)));
        if (json_object_set_new(o, "checksum", json_string(sum.text)) == 0)
            text = json_dumps(o, compact);
    }
    free(bare);
    json_decref(o);
    return text;
}

static void put(const uint8_t *data, size_t size) {
    char *text = size && data[0] == '+' ? with_checksum(data + 1, size - 1) : NULL;
    fuzz_put(VM_RECORD_FILE, text ? (const void *)text : data, text ? strlen(text) : size);
    free(text);
}

static void compare(const VmRecordRun *run) {
    static const char other[] = "{\"recipe\":{\"data\":{\"batch\":2,\"dir\":\"d\"}},\"steps\":9,"
                                "\"train_data\":{\"images\":4,\"fingerprint\":\"00\"},"
                                "\"classes\":[\"a\",\"b\"],\"config\":{\"width\":\"4\"}}";
    char text[1024];
    for (int lengthens = 0; lengthens < 2; lengthens++) {
        VmRecordRun is = {json_loads(other, 0, NULL), lengthens};
        (void)vm_record_differences(run, &is, text, sizeof text);
        FUZZ_CHECK(memchr(text, 0, sizeof text), "the differences have no end");
        vm_record_free(&is);
    }
    FUZZ_CHECK(vm_record_differences(run, run, text, sizeof text) == 0, "differs from itself");
}

static void write_and_read(const VmDir *d, const VmRecord *r, const VmRecordRun *run) {
    VmRecord again;
    VmRecordRun run_again;
    VmError err;
    FUZZ_CHECK(!vm_record_write(d, run, r, &err), "%s", err.text);
    VmStatus s = vm_record_read(d, &again, &run_again, &err);
    FUZZ_CHECK(!s, "what was written is refused: %s", err.text);
    FUZZ_CHECK(json_equal(run->run, run_again.run), "the run differs");
    FUZZ_CHECK(!memcmp(&r->at, &again.at, offsetof(VmRunState, sums)), "the position differs");
    FUZZ_CHECK(r->at.sums.loss == again.at.sums.loss, "a sum differs");
    FUZZ_CHECK(!strcmp(r->at.weights, again.at.weights), "the weights' origin differs");
    vm_record_free(&run_again);
    json_decref(again.routes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    VmDir d;
    VmRecord r;
    VmRecordRun run;
    VmError err;
    put(data, size);
    FUZZ_CHECK(!vm_dir_open(&d, fuzz_folder(), false, &err), "%s", err.text);
    VmStatus s = vm_record_read(&d, &r, &run, &err);
    FUZZ_CHECK(s == VM_OK || s == VM_INPUT, "status %d: %s", s, err.text);
    if (!s) {
        compare(&run);
        write_and_read(&d, &r, &run);
    }
    vm_record_free(&run);
    json_decref(r.routes);
    vm_dir_close(&d);
    return 0;
}
