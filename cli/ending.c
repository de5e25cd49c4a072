/* What a program says and ends with when a library ends it. libgomp calls exit(1) when it finds no
 * memory or can make no thread, from its constructor on; to a caller that would say that the input
 * is wrong. It has said why; its own cleaning up may need what it does not have. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool main_is_through;

static void say(const char *text) {
    (void)!write(STDERR_FILENO, text, strlen(text));
}

static void leave(void) {
    if (main_is_through) return;
    say(cli_name());
    say(": error: a library could not go on, most likely without memory\n");
    _exit(VM_ENV);
}

static void watch(void) {
    (void)atexit(leave);
}

/* Runs before the constructors of libraries; those of ThreadSanitizer have to run first. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WHEN ".init_array"
#endif
#endif
#ifndef WHEN
#define WHEN ".preinit_array"
#endif
__attribute__((section(WHEN), used)) static void (*const before_libraries)(void) = watch;

int drv_end(int status) {
    main_is_through = true;
    return status;
}
