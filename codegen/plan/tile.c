/* The register tile of a matrix product.
 *
 * A tile of R rows and V vectors keeps R*V accumulators, V vectors of b and one broadcast of a in
 * registers, so R*V + V + 1 <= registers. Per step of the inner dimension it loads V + R times for
 * R*V FMAs; two loads and two FMAs issue per cycle, so any R*V >= R + V keeps the FMA units busy,
 * and R*V >= 8 hides their latency. R is at most 8 because every row has its own address register.
 * Cost of a width: the columns it pads to, times what its loads cost beside its FMAs; three vectors
 * are as good as four, and tiles of 8 rows pad the 16 rows of a small batch less than tiles of 6.
 */
#include "codegen/plan/plan.h"

static int rows_for(const CgTarget *t, int vectors) {
    int rows = (t->vector_registers - 1 - vectors) / vectors;
    return rows > 8 ? 8 : rows;
}

Tile tile_choose(const CgTarget *t, int64_t n) {
    int widest = t->vector_registers >= 32 ? 4 : 2;
    int64_t need = (n + t->vector_floats - 1) / t->vector_floats;
    static const int percent[] = {0, 130, 105, 99, 100};
    int best = 1;
    int64_t best_cost = INT64_MAX;
    for (int v = widest; v >= 1; v--) {
        int64_t cost = (need + v - 1) / v * v * percent[v];
        if (cost < best_cost) {
            best_cost = cost;
            best = v;
        }
    }
    return (Tile){rows_for(t, best), best, best * t->vector_floats, 0};
}

/* Rows are limited by the accumulators only. Two vectors wide, a panel of b is half as long as with
 * four and more rows use it: such products stream both operands from the second level cache. Fewest
 * rows of padding; the taller tile when equal. */
Tile tile_choose_side_by_side(const CgTarget *t, int64_t rows, int64_t n) {
    enum { VECTORS = 2 };
    if (n <= t->vector_floats) return tile_choose(t, n);
    int most = (t->vector_registers - 1 - VECTORS) / VECTORS, best = most;
    for (int r = most; r >= most - 2 && r >= 6; r--)
        if ((rows + r - 1) / r * r < (rows + best - 1) / best * best) best = r;
    return (Tile){best, VECTORS, VECTORS * t->vector_floats, 0};
}

/* Few columns: a vector per column and as many rows as lanes. Rows side by side: as many such
 * vectors of rows as leave registers for the operands and cut the rows without a rest. */
Tile tile_choose_narrow(const CgTarget *t, int cols, int64_t rows, bool side_by_side) {
    int vl = t->vector_floats, vectors = side_by_side ? 4 : 1,
        most_sums = t->vector_registers * 3 / 4;
    while (vectors > 1 && (vectors * cols > most_sums || rows % (vectors * vl))) vectors--;
    return (Tile){vectors * vl, 1, vl, cols};
}
