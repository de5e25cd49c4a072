/* Shell commands in tests. */
#ifndef VMOEC_TESTS_UNIT_UTIL_SHELL_H
#define VMOEC_TESTS_UNIT_UTIL_SHELL_H

/* Runs a shell command; what system() returns. */
int __attribute__((format(printf, 1, 2))) shell(const char *fmt, ...);

#endif
