// ln Σ eˣ of rows of logits, and losses with their gradients. src/ops/softmax.rs, cross_entropy.rs,
// binary_cross_entropy.rs and squared_error.rs have the definitions.

#include "device.cuh"
#include "team.cuh"
#include "total.cuh"
#include "vector.cuh"

// Threads of a block for a row of more than 1,024 logits; shorter rows have a warp.
const int WIDE = 512;
// Numbers that a thread takes at a time.
const int TAKEN = 16;

INLINE f32 exponential(f32 x) { return exp2_fast(x * 1.44269504f); }

// Σ eˣ of numbers so far, as sum · e^largest. NaN and +∞ make the sum NaN; −∞ adds nothing.
struct Tally {
    f32 largest, sum;

    template <int N> INLINE void take(const f32 (&x)[N]) {
        f32 top = largest;
#pragma unroll
        for (int n = 0; n < N; n++) top = fmaxf(top, x[n]);
        f32 base = top == -INFINITE ? 0.0f : top;
        sum *= exponential(largest - base);
#pragma unroll
        for (int n = 0; n < N; n++) sum += exponential(x[n] - base);
        largest = top;
    }
};

// What a thread has of a row: of each TEAM·TAKEN numbers TAKEN/N pieces of N.
template <int TEAM, int N> INLINE u32 column_of(u32 sweep, int piece) {
    return sweep + (piece * TEAM + team_rank<TEAM>()) * N;
}

// ln Σ eˣ of the team's row, the same bits in every thread, and the largest x. `place` has room for 2·TEAM/32 numbers.
template <class T, int TEAM, int N> INLINE f32 log_sum_exp(const T *row, u32 width, f32 *place, f32 &largest) {
    Tally tally = {-INFINITE, 0.0f};
    for (u32 sweep = 0; sweep < width; sweep += TEAM * TAKEN) {
        f32 x[TAKEN];
#pragma unroll
        for (int i = 0; i < TAKEN / N; i++) {
            u32 column = column_of<TEAM, N>(sweep, i);
            f32 piece[N];
#pragma unroll
            for (int n = 0; n < N; n++) piece[n] = -INFINITE;
            if (column < width) load(row + column, piece);
#pragma unroll
            for (int n = 0; n < N; n++) x[i * N + n] = piece[n];
        }
        tally.take(x);
    }
    largest = team_max<TEAM>(tally.largest, place);
    f32 base = largest == -INFINITE ? 0.0f : largest;
    return largest + logf(team_sum<TEAM>(tally.sum * exponential(tally.largest - base), place + TEAM / 32));
}

// Runs `body` with pieces of four bytes, or where not all rows start at a multiple of four, of one number.
template <class T, class F> INLINE void with_pieces(u32 width, F body) {
    if (sizeof(T) == 4 || width % 2 == 0)
        body.template run<4 / sizeof(T)>();
    else
        body.template run<1>();
}

// y = ln Σ eˣ, or x[column] less that.
template <class T, int TEAM> struct LogSumExp {
    const T *row;
    u32 width;
    const u32 *column;
    f32 *y;

    template <int N> INLINE void run() {
        DYNAMIC_SHARED(memory);
        f32 largest, sum = log_sum_exp<T, TEAM, N>(row, width, (f32 *)memory, largest);
        if (team_rank<TEAM>() == 0) *y = column ? to_f32(row[*column]) - sum : sum;
    }
};

template <class T, int TEAM>
INLINE void log_sum_exps(const T *x, const u32 *columns, f32 *y, u32 rows, u32 width) {
    u32 row = team_row<TEAM>();
    if (row >= rows) return;
    with_pieces<T>(width, LogSumExp<T, TEAM>{x + (u64)row * width, width, columns ? columns + row : nullptr, y + row});
}

#define LOG_SUM_EXP(T)                                                                                                 \
    KERNEL(log_sum_exp_##T, 128, 4)(const T *x, const u32 *columns, f32 *y, u32 rows, u32 width) {                     \
        log_sum_exps<T, 32>(x, columns, y, rows, width);                                                               \
    }                                                                                                                  \
    KERNEL(log_sum_exp_wide_##T, 512, 2)(const T *x, const u32 *columns, f32 *y, u32 rows, u32 width) {                \
        log_sum_exps<T, WIDE>(x, columns, y, rows, width);                                                             \
    }
FOR_TYPES(LOG_SUM_EXP)

// Label of a row that does not count.
const u32 IGNORED = 0xffffffffu;

// What is the same for all rows.
struct Targets {
    // w, or null for all 1
    const f32 *weights;
    // 1 − ε, ε/C and Σ w
    f64 label, each, weight;
    // Factor on the gradient.
    f64 scale;
};

// Loss and gradient of one row, and 1 where no logit is greater than the label's.
template <class T, int TEAM> struct CrossEntropy {
    const T *z;
    u32 width, label;
    Targets targets;
    T *dz;
    f64 *loss, *correct;

    template <int N> INLINE void run() {
        DYNAMIC_SHARED(memory);
        f32 *place = (f32 *)memory;
        if (label == IGNORED) {
            f32 zeros[N] = {};
            if (dz)
                for (u32 column = team_rank<TEAM>() * N; column < width; column += TEAM * N) store(dz + column, zeros);
            if (team_rank<TEAM>() == 0) *loss = *correct = 0.0;
            return;
        }
        f32 largest, l = log_sum_exp<T, TEAM, N>(z, width, place, largest), own_logit = to_f32(z[label]);
        f64 own = targets.label * (targets.weights ? targets.weights[label] : 1.0f), sum = own * (f64)(l - own_logit);
        bool smooth = targets.each > 0.0;
        if (dz || smooth) {
            f32 factor = (f32)(targets.scale * (own + targets.each * targets.weight));
            f32 share = (f32)(targets.scale * targets.each), pull = (f32)(targets.scale * own), spread = 0.0f;
#pragma unroll 2
            for (u32 column = team_rank<TEAM>() * N; column < width; column += TEAM * N) {
                f32 x[N], d[N];
                load(z + column, x);
#pragma unroll
                for (int n = 0; n < N; n++) {
                    d[n] = exponential(x[n] - l) * factor;
                    if (smooth) {
                        f32 w = targets.weights ? targets.weights[column + n] : 1.0f;
                        spread += w * (l - x[n]);
                        d[n] -= share * w;
                    }
                    if (column + n == label) d[n] -= pull;
                }
                if (dz) store(dz + column, d);
            }
            if (smooth) {
                if constexpr (TEAM > 32) sync_block();
                sum += targets.each * team_sum<TEAM>((f64)spread, (f64 *)memory);
            }
        }
        if (team_rank<TEAM>() == 0) {
            *loss = sum;
            // a sum that is not finite is not below infinity, nor above its negative
            *correct = own_logit == largest && l < INFINITE && l > -INFINITE ? 1.0 : 0.0;
        }
    }
};

// outcomes: [2, rows], losses and whether each is correct.
template <class T, int TEAM>
INLINE void cross_entropies(const T *z, const u32 *labels, const Targets &targets, T *dz, f64 *outcomes, u32 rows, u32 width) {
    u32 row = team_row<TEAM>();
    if (row >= rows) return;
    u64 start = (u64)row * width;
    T *gradient = dz ? dz + start : nullptr;
    with_pieces<T>(width, CrossEntropy<T, TEAM>{z + start, width, labels[row], targets, gradient, outcomes + row,
                                                outcomes + rows + row});
}

#define CROSS_ENTROPY(T)                                                                                               \
    KERNEL(cross_entropy_##T, 128, 4)(const T *z, const u32 *labels, const f32 *weights, f64 label, f64 each,          \
                                      f64 weight, f64 scale, T *dz, f64 *outcomes, u32 rows, u32 width) {              \
        cross_entropies<T, 32>(z, labels, Targets{weights, label, each, weight, scale}, dz, outcomes, rows, width);    \
    }                                                                                                                  \
    KERNEL(cross_entropy_wide_##T, 512, 2)(const T *z, const u32 *labels, const f32 *weights, f64 label, f64 each,     \
                                           f64 weight, f64 scale, T *dz, f64 *outcomes, u32 rows, u32 width) {         \
        cross_entropies<T, WIDE>(z, labels, Targets{weights, label, each, weight, scale}, dz, outcomes, rows, width);  \
    }
FOR_TYPES(CROSS_ENTROPY)

// −t·ln σ(z) − (1 − t)·ln(1 − σ(z)). A comparison instead of fmax, for NaN.
struct Binary {
    static INLINE f64 loss(f64 z, f64 t) { return (z < 0.0 ? 0.0 : z) - z * t + log1p(exp(z < 0.0 ? z : -z)); }
    static INLINE f64 slope(f64 z, f64 t) { return 1.0 / (1.0 + exp(-z)) - t; }
};

// (z − t)²
struct Squared {
    static INLINE f64 loss(f64 z, f64 t) { return (z - t) * (z - t); }
    static INLINE f64 slope(f64 z, f64 t) { return 2.0 * (z - t); }
};

// Losses of 1,024 values a block, and where there is a `dz`, scale · their slopes.
template <class L, class T>
INLINE void losses(const T *z, const f32 *targets, f64 scale, T *dz, f64 *parts, u64 count) {
    DYNAMIC_SHARED(memory);
    f64 sum = 0.0;
    for (int i = 0; i < 4; i++) {
        u64 at = (u64)blockIdx.x * 1024 + i * 256 + threadIdx.x;
        if (at < count) {
            f64 x = to_f32(z[at]), t = targets[at];
            sum += L::loss(x, t);
            if (dz) dz[at] = from_f32<T>((f32)(scale * L::slope(x, t)));
        }
    }
    sum = team_sum<256>(sum, (f64 *)memory);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

#define LOSSES(T)                                                                                                      \
    KERNEL(binary_cross_entropy_##T, 256, 2)(const T *z, const f32 *targets, f64 scale, T *dz, f64 *parts,             \
                                             u64 count) {                                                              \
        losses<Binary>(z, targets, scale, dz, parts, count);                                                           \
    }                                                                                                                  \
    KERNEL(squared_error_##T, 256, 2)(const T *z, const f32 *targets, f64 scale, T *dz, f64 *parts, u64 count) {       \
        losses<Squared>(z, targets, scale, dz, parts, count);                                                          \
    }
FOR_TYPES(LOSSES)

KERNEL(losses_total, 1024, 1)(const f64 *parts, u32 count, f64 *out) { add_up(parts, count, out); }
