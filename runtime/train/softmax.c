/* Scores as probabilities. */
#include "runtime/train/classify.h"

#include <math.h>

void vm_softmax(const float *score, int64_t n, double *probability) {
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        if ((double)score[i] > most) most = (double)score[i];
    for (int64_t i = 0; i < n; i++) sum += probability[i] = exp((double)score[i] - most);
    for (int64_t i = 0; i < n; i++) probability[i] /= sum;
}
