// Trains a digit classifier from C++: an RAII handle around the library `tiny`.
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <vector>

#include <tiny.h>

class Model {
public:
    explicit Model(int threads = 1)
        : memory(tiny_memory_needed(threads, 0)), handle(create(threads)) {}
    ~Model() { tiny_close(handle); }
    Model(const Model &) = delete;
    Model &operator=(const Model &) = delete;

    void init(int64_t images) { must(tiny_init(handle, -1, images)); }
    double step(const std::vector<float> &images, const std::vector<int32_t> &labels) {
        must(tiny_step(handle, images.data(), labels.data(), int64_t(labels.size())));
        return tiny_loss(handle);
    }
    std::vector<double> predict(const std::vector<float> &images, int64_t n) {
        std::vector<double> p(size_t(n) * TINY_CLASSES);
        must(tiny_predict(handle, images.data(), n, p.data()));
        return p;
    }

private:
    tiny *create(int threads) {
        tiny *h = nullptr;
        if (tiny_create(memory.data(), memory.size(), threads, 0, &h))
            throw std::runtime_error(tiny_error(h));
        return h;
    }
    void must(tiny_status s) {
        if (s) throw std::runtime_error(tiny_error(handle));
    }

    std::vector<unsigned char> memory; // the handle lies in it
    tiny *handle;
};

int main() try {
    const int64_t n = TINY_BATCH, size = TINY_CHANNELS * TINY_HEIGHT * TINY_WIDTH;
    std::vector<float> images(size_t(n * size));
    std::vector<int32_t> labels(n);
    for (int64_t i = 0; i < n; i++) { // a bright row per class
        labels[size_t(i)] = int32_t(i % TINY_CLASSES);
        for (int64_t x = 0; x < TINY_WIDTH; x++)
            images[size_t(i * size + labels[size_t(i)] * TINY_WIDTH + x)] = 1;
    }
    Model model;
    model.init(n * 10);
    double first = model.step(images, labels), last = first;
    for (int i = 1; i < 60; i++) last = model.step(images, labels);
    std::vector<double> p = model.predict(images, n);
    int right = 0;
    for (int64_t i = 0; i < n; i++) {
        int best = 0;
        for (int c = 1; c < TINY_CLASSES; c++)
            if (p[size_t(i * TINY_CLASSES + c)] > p[size_t(i * TINY_CLASSES + best)]) best = c;
        right += best == labels[size_t(i)];
    }
    std::printf("loss %.3f -> %.3f, %d of %d right\n", first, last, right, int(n));
    return last < first / 2 ? 0 : 1;
} catch (const std::exception &e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
}
