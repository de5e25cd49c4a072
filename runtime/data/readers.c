/* The list of all readers, in an object of its own: a program that is built for one source defines
 * the list itself, and the others and the libraries they need stay out of it. */
#include "runtime/data/dataset.h"

const VmReader *const vm_readers[VM_READERS] = {
#define READER(name, files) [VM_READER_##name] = &vm_reader_##name,
#include "recipe/sources.def"
};
