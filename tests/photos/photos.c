/* Photos that no memory limit of the tests holds, in class folders: two of three are PNG files of
 * 512 x 512 pixels, stored without compression so that making and reading them takes little time;
 * the others are JPEG files as cameras and programs write them, of sides from 480 to 1300, with and
 * without thinned colours, some progressive, some grey.
 *
 *   photos FOLDER TRAIN TEST [png]     images of each of two classes; png: no JPEG files */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <turbojpeg.h>
#include <zlib.h>

enum { SIDE = 512, LARGEST = 1300 };

static void fail(const char *what) {
    fprintf(stderr, "photos: %s: %s\n", what, strerror(errno));
    exit(3);
}

/* The same numbers on every machine. */
static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void make_folder(const char *path) {
    if (mkdir(path, 0777) != 0 && errno != EEXIST) fail(path);
}

/* ---- pixels ---------------------------------------------------------------------------------- */

/* One colour with a grain that differs from photo to photo; every row has the same one, a byte
 * further. */
static void paint(uint8_t *rgb, int height, int width, const uint8_t colour[3], uint32_t *state) {
    uint8_t grain[3 * LARGEST + LARGEST];
    for (size_t i = 0; i < sizeof grain; i++) grain[i] = (uint8_t)(next_random(state) % 20);
    for (int y = 0; y < height; y++)
        for (int i = 0; i < 3 * width; i++) *rgb++ = (uint8_t)(colour[i % 3] + grain[i + y]);
}

/* ---- files ----------------------------------------------------------------------------------- */

static void put32(uint8_t *to, uint32_t x) {
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)(x >> (24 - 8 * i));
}

static void put_chunk(FILE *f, const char *kind, const uint8_t *data, size_t n) {
    uint8_t number[4];
    uLong sum = crc32(crc32(0, (const Bytef *)kind, 4), data, (uInt)n);
    put32(number, (uint32_t)n);
    fwrite(number, 1, 4, f);
    fwrite(kind, 1, 4, f);
    fwrite(data, 1, n, f);
    put32(number, (uint32_t)sum);
    fwrite(number, 1, 4, f);
}

static void write_png(FILE *f, const uint8_t *rgb) {
    static uint8_t rows[SIDE][1 + 3 * SIDE], packed[sizeof rows + 65536];
    uint8_t head[13] = {[8] = 8, [9] = 2};
    uLongf n = sizeof packed;
    for (int y = 0; y < SIDE; y++) memcpy(rows[y] + 1, rgb + (size_t)y * 3 * SIDE, 3 * SIDE);
    if (compress2(packed, &n, rows[0], sizeof rows, 0) != Z_OK) fail("compress2");
    put32(head, SIDE);
    put32(head + 4, SIDE);
    fwrite("\x89PNG\r\n\x1a\n", 1, 8, f);
    put_chunk(f, "IHDR", head, sizeof head);
    put_chunk(f, "IDAT", packed, n);
    put_chunk(f, "IEND", head, 0);
}

static void write_jpeg(FILE *f, const uint8_t *rgb, int height, int width, int kind) {
    static const int sampling[] = {TJSAMP_420, TJSAMP_444, TJSAMP_422, TJSAMP_GRAY};
    tjhandle jpeg = tjInitCompress();
    unsigned char *bytes = NULL;
    unsigned long n = 0;
    int flags = TJFLAG_ACCURATEDCT | (kind % 5 == 0 ? TJFLAG_PROGRESSIVE : 0);
    if (!jpeg || tjCompress2(jpeg, rgb, width, 0, height, TJPF_RGB, &bytes, &n, sampling[kind % 4],
                             80 + kind % 15, flags) != 0)
        fail("tjCompress2");
    fwrite(bytes, 1, n, f);
    tjFree(bytes);
    tjDestroy(jpeg);
}

static void write_photo(const char *folder, int i, bool jpeg, const uint8_t colour[3],
                        uint32_t *state) {
    static uint8_t rgb[(size_t)LARGEST * LARGEST * 3];
    char path[4096];
    int height = SIDE, width = SIDE;
    if (jpeg) {
        height = 480 + (int)(next_random(state) % (LARGEST - 479));
        width = 480 + (int)(next_random(state) % (LARGEST - 479));
    }
    paint(rgb, height, width, colour, state);
    snprintf(path, sizeof path, "%s/%d.%s", folder, i, jpeg ? "jpg" : "png");
    FILE *f = fopen(path, "wb");
    if (!f) fail(path);
    if (jpeg)
        write_jpeg(f, rgb, height, width, i / 3);
    else
        write_png(f, rgb);
    if (ferror(f) | fclose(f)) fail(path);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        uint8_t colour[3];
    } class[] = {{"meadow", {60, 160, 40}}, {"sky", {90, 140, 230}}};
    bool plain = argc == 5 && strcmp(argv[4], "png") == 0;
    if (argc != 4 && !plain) return 2;
    uint32_t state = 7;
    make_folder(argv[1]);
    for (int part = 0; part < 2; part++) {
        char folder[2048], place[3000];
        snprintf(folder, sizeof folder, "%s/%s", argv[1], part ? "test" : "train");
        make_folder(folder);
        for (int k = 0; k < 2; k++) {
            snprintf(place, sizeof place, "%s/%s", folder, class[k].name);
            make_folder(place);
            int n = atoi(argv[2 + part]);
            for (int i = 0; i < n; i++)
                write_photo(place, i, !plain && i % 3 == 2, class[k].colour, &state);
        }
    }
    return 0;
}
