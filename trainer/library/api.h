/* A model as a library: trains, evaluates and predicts, without a compiler, in memory that you
 * hand in. This is C99 and C++.
 *
 * Status    Every call that can fail returns a vmlib_status; vmlib_error has the reason as a text,
 *           which says what was expected and what was found. A call that is refused has changed
 *           nothing, unless it says so below. Nothing is printed and nothing ends the process.
 * Memory    All that a handle needs lies in the block that vmlib_create gets: vmlib_memory_needed
 *           bytes, of any alignment (64 spares a few bytes), yours before and after. Beside it
 *           OpenMP's threads have stacks, and saving and loading use malloc for a file's header,
 *           vmlib_load also for the whole file, as long as they last.
 * Ownership What goes in (images, labels, paths, files in memory) is read during the call and may
 *           go away after it. Pointers that come out lie in the handle's block or are constants;
 *           nothing that a function returns is to be freed.
 * Threads   One call at a time for a handle: another one meanwhile, also one from within a
 *           vmlib_fill, is refused. Different handles share nothing and may be used at once, by
 *           any thread. Results do not depend on the number of threads.
 * Images    float[n][VMLIB_CHANNELS][VMLIB_HEIGHT][VMLIB_WIDTH], normalised as the recipe has it:
 *           vmlib_pixels makes them of bytes. A value that is not finite is refused. Labels are
 *           numbers of classes from 0 on. Augmentation is the caller's.
 * Sizes     n is one of the sizes the library was built for, which vmlib_sizes lists. */
#ifndef VMLIB_H
#define VMLIB_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

typedef enum vmlib_status {
    VMLIB_OK = 0,
    VMLIB_INPUT = 1, /* values or a file are wrong: images, labels, weights */
    VMLIB_USAGE = 2, /* the call is: its order, a size, too little memory */
    VMLIB_ENV = 3    /* the environment failed: threads, files, the system's memory */
} vmlib_status;

/* What a handle is for, as a set; 0: everything. Less needs less memory. */
enum { VMLIB_TRAIN = 1, VMLIB_EVALUATE = 2, VMLIB_PREDICT = 4 };

typedef struct vmlib vmlib;

/* ---- a handle -------------------------------------------------------------------------------- */

/* Bytes that vmlib_create needs. threads: 1 to 256; 0: as many as OMP_NUM_THREADS says or this
 * process has CPUs. 0 bytes: the library does not do what `uses` asks for. */
size_t vmlib_memory_needed(int threads, unsigned uses);

/* Makes a handle in memory[size]. After a failure *out has the reason for vmlib_error and is good
 * for nothing else; it is NULL where there is not even room for that. A CPU without the
 * instructions that the library was built for is VMLIB_ENV. */
vmlib_status vmlib_create(void *memory, size_t size, int threads, unsigned uses, vmlib **out);

/* Ends the use of the memory, which is the caller's to free. NULL is fine. */
void vmlib_close(vmlib *h);

/* Why the last call of this handle that failed did; "" when none has. Valid until the next failure.
 * It is written for people. */
const char *vmlib_error(const vmlib *h);

/* ---- weights --------------------------------------------------------------------------------- */

/* Initial weights from a seed, no step done, optimizer state zero: the weights that `vmoec train
 * --seed` begins with. images: how many an epoch of training has, which decides the length of
 * warm-up and schedule; 0: as many as the data had that the library was built with
 * (VMLIB_TRAIN_IMAGES). seed -1: the recipe's. */
vmlib_status vmlib_init(vmlib *h, int64_t seed, int64_t images);

typedef struct vmlib_tensor {
    const char *name;
    int32_t rank;
    int64_t dim[6];
    int64_t count;     /* of numbers: the product of dim */
    const float *data; /* dense, the last dimension fastest; changes with every step */
} vmlib_tensor;

int vmlib_weights(const vmlib *h);
/* Weight 0 .. vmlib_weights - 1, or by its name. out->data is good until vmlib_close. */
vmlib_status vmlib_weight(vmlib *h, int i, vmlib_tensor *out);
vmlib_status vmlib_weight_named(vmlib *h, const char *name, vmlib_tensor *out);
/* Replaces a weight's numbers, all of which are finite. */
vmlib_status vmlib_set_weight(vmlib *h, const char *name, const float *data, int64_t count);

/* Writes a safetensors file, complete or not at all: the weights alone, with the bytes of `vmoec
 * train`, or with_state, also the optimizer's state and how far the training has come, to go on
 * from. */
vmlib_status vmlib_save(vmlib *h, const char *path, int with_state);
/* The same file into to[room]. *needed is its size, also when `room` is less, which is refused, and
 * when `to` is NULL, which only asks. */
vmlib_status vmlib_save_memory(vmlib *h, void *to, size_t room, int with_state, size_t *needed);

/* Takes weights of a file of vmlib_save, of vmoec, or of any program that gives them these names
 * and shapes. A file with state goes on where it was saved, bit for bit; any other begins a new
 * training at step 0; weights that only another model of the same .vmoe file has are passed over. A
 * file that is damaged, has a value that is not finite, or does not fit in every name and shape
 * changes nothing. */
vmlib_status vmlib_load(vmlib *h, const char *path);
/* The same of a file in memory. */
vmlib_status vmlib_load_memory(vmlib *h, const void *bytes, size_t size);
/* The same of the weights that `vmoec build --weights` put inside the library. */
vmlib_status vmlib_load_inside(vmlib *h);

/* ---- training -------------------------------------------------------------------------------- */

/* Of images that went through the model: means. */
typedef struct vmlib_result {
    int64_t images, steps;
    double loss;       /* the weighted losses; NAN: there are none */
    double objective;  /* with the auxiliary losses: what training lowers */
    int32_t metrics;   /* how many of the following there are */
    double metric[16]; /* vmlib_metric_name(i) says which */
} vmlib_result;

/* One step of the recipe's optimizer at its schedule's place: the bits of `vmoec train` for the
 * same batches. A loss that is not finite is VMLIB_INPUT, and that step has changed nothing. */
vmlib_status vmlib_step(vmlib *h, const float *images, const int32_t *labels, int64_t n);

/* A batch that somebody fills: images `first` .. `first + images - 1` of an epoch or of a set. */
typedef struct vmlib_batch {
    int64_t epoch; /* from 0 */
    int64_t index; /* of the batch in it, from 0 */
    int64_t first, images;
    float *image;   /* [images][C][H][W], to be written */
    int32_t *label; /* [images], to be written; NULL: the model takes none */
} vmlib_batch;
/* 0: it is filled. Anything else breaks the call off, with VMLIB_USAGE. */
typedef int (*vmlib_fill)(void *user, const vmlib_batch *to);

/* Trains to the end of the present epoch: all of it, or what vmlib_step or a file with state left
 * of it. Batches have VMLIB_BATCH images, the last one the rest (with drop_last there is none). out
 * may be NULL. Broken off, the steps until then are done, and the next call goes on from there. */
vmlib_status vmlib_epoch(vmlib *h, vmlib_fill fill, void *user, vmlib_result *out);
/* The order in which `vmoec train` goes through the images in that epoch, from 0 on: place i has
 * image order[i]. images: as vmlib_init was told. */
vmlib_status vmlib_order(vmlib *h, int64_t epoch, int64_t *order, int64_t images);

/* Of the last step, or evaluation of one batch; NAN: there was none. */
double vmlib_loss(const vmlib *h);
int64_t vmlib_steps(const vmlib *h);     /* done */
int64_t vmlib_all_steps(const vmlib *h); /* of the recipe; more are made at its last rate */
double vmlib_rate(const vmlib *h);       /* learning rate of the next step */

/* ---- evaluating, predicting ------------------------------------------------------------------ */

/* Loss and metrics of n images in one batch; of a whole set, in batches of VMLIB_BATCH and the
 * rest. */
vmlib_status vmlib_evaluate(vmlib *h, const float *images, const int32_t *labels, int64_t n,
                            vmlib_result *out);
vmlib_status vmlib_evaluate_all(vmlib *h, int64_t images, vmlib_fill fill, void *user,
                                vmlib_result *out);
/* probability[n][VMLIB_CLASSES], each image's sum to 1. */
vmlib_status vmlib_predict(vmlib *h, const float *images, int64_t n, double *probability);
/* Bytes of n images, channels first, as the recipe normalises them. */
void vmlib_pixels(const uint8_t *bytes, int64_t n, float *to);

/* ---- facts ----------------------------------------------------------------------------------- */

/* Sizes of batches for one use, in to[room]; returns how many there are. */
int vmlib_sizes(unsigned use, int64_t *to, int room);
/* NULL: there is none of that number; the data may have no names for classes. */
const char *vmlib_class_name(int64_t label);
const char *vmlib_metric_name(int i);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif

#endif
