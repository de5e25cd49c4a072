/* Messages to the language server: each line of the input is one, after the server was initialized;
 * behind a "!" the bytes are sent as they are. Whatever comes, all that is answered is framed JSON.
 */
#include "tests/fuzz/target.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "driver/lsp/lsp.h"

static int fresh_file(void) {
    int fd = memfd_create("lsp", MFD_CLOEXEC);
    FUZZ_CHECK(fd >= 0, "%s", strerror(errno));
    return fd;
}

static void send(int fd, const void *data, size_t n) {
    FUZZ_CHECK(write(fd, data, n) == (ssize_t)n, "%s", strerror(errno));
}

static void send_message(int fd, const void *data, size_t n) {
    char header[64];
    send(fd, header, (size_t)snprintf(header, sizeof header, "Content-Length: %zu\r\n\r\n", n));
    send(fd, data, n);
}

static void send_lines(int fd, const char *p, size_t n) {
    static const char *const begin[] = {
        "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{}}",
        "{\"jsonrpc\":\"2.0\",\"method\":\"initialized\",\"params\":{}}"};
    for (int i = 0; i < 2; i++) send_message(fd, begin[i], strlen(begin[i]));
    while (n > 0) {
        const char *end = memchr(p, '\n', n);
        size_t k = end ? (size_t)(end - p) : n;
        send_message(fd, p, k);
        p += k + (end != NULL);
        n -= k + (end != NULL);
    }
}

static void check_answers(int fd) {
    off_t size = lseek(fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)size + 1), *p = text;
    FUZZ_CHECK(text && pread(fd, text, (size_t)size, 0) == size, "%s", strerror(errno));
    while (p < text + size) {
        size_t n;
        int header = 0;
        FUZZ_CHECK(sscanf(p, "Content-Length: %zu\r\n\r\n%n", &n, &header) == 1, "%.80s", p);
        char *body = strstr(p, "\r\n\r\n") + 4;
        FUZZ_CHECK(n <= (size_t)(text + size - body), "an answer is cut off");
        json_t *o = json_loadb(body, n, JSON_REJECT_DUPLICATES, NULL);
        FUZZ_CHECK(json_is_object(o), "no JSON: %.*s", (int)n, body);
        json_decref(o);
        p = body + n;
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int in = fresh_file(), out = fresh_file();
    if (size && data[0] == '!')
        send(in, data + 1, size - 1);
    else
        send_lines(in, (const char *)data, size);
    FUZZ_CHECK(lseek(in, 0, SEEK_SET) == 0, "%s", strerror(errno));
    VmStatus s = lsp_serve(&(LspOptions){in, out, "models"});
    FUZZ_CHECK(s == VM_OK || s == VM_INPUT, "status %d", s);
    check_answers(out);
    close(in);
    close(out);
    return 0;
}
