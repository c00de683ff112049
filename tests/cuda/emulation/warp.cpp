// What the 32 lanes of a warp do together, as PTX defines it, and the numbers it is done with.

#include <cstring>

#include "block.h"

namespace emulation {

namespace {

uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

float bf16_to_f32(uint16_t bits) { return float_of(uint32_t(bits) << 16); }

// The rows that lanes give, checked; counts how often banks are in each other's way.
void check_rows(Exchange *lanes[32], const void *code) {
    const Fiber *first = &machine->fibers[machine->running->warp * 32];
    for (int lane = 0; lane < 32; lane++) {
        const void *row = reinterpret_cast<const void *>(lanes[lane]->address);
        if (lanes[lane]->address % 16)
            fail_for(first[lane], format("loads a matrix row from %p, no multiple of 16", row), code);
        require_shared(first[lane], row, 16, "loads a matrix row of", code);
        watch_read(first[lane], row, 16, code);
    }
    for (int matrix = 0; matrix < 4; matrix++) {
        // Sixteen bytes are four banks of 32; rows at the same address are read at once.
        int most = 1, of_banks[8] = {};
        for (int row = 0; row < 8; row++) {
            uint64_t address = lanes[matrix * 8 + row]->address;
            bool again = false;
            for (int other = 0; other < row; other++) again |= lanes[matrix * 8 + other]->address == address;
            if (!again && ++of_banks[address / 16 % 8] > most) most = of_banks[address / 16 % 8];
        }
        counts.matrices++;
        counts.conflicts += most - 1;
    }
}

uint16_t element(Exchange *lanes[32], int matrix, int row, int column) {
    return reinterpret_cast<const uint16_t *>(lanes[matrix * 8 + row]->address)[column];
}

template <class Decode> void multiply_add(Exchange *lanes[32], Decode decode) {
    float a[16][16], b[8][16];
    for (int lane = 0; lane < 32; lane++) {
        const uint32_t *in = lanes[lane]->in;
        int row = lane / 4, column = lane % 4 * 2;
        for (int half = 0; half < 2; half++) {
            auto at = [&](uint32_t word) { return decode(static_cast<uint16_t>(word >> (16 * half))); };
            for (int i = 0; i < 4; i++) a[row + i % 2 * 8][column + i / 2 * 8 + half] = at(in[i]);
            for (int i = 0; i < 2; i++) b[row][column + i * 8 + half] = at(in[4 + i]);
        }
    }
    for (int lane = 0; lane < 32; lane++) {
        for (int i = 0; i < 4; i++) {
            const float *row = a[lane / 4 + i / 2 * 8], *column = b[lane % 4 * 2 + i % 2];
            float sums[4] = {};
            for (int k = 0; k < 16; k += 4)
                for (int j = 0; j < 4; j++) sums[j] += row[k + j] * column[k + j];
            float sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
            lanes[lane]->out[i] = bits_of(float_of(lanes[lane]->in[6 + i]) + sum);
        }
    }
}

} // namespace

void shuffle(Exchange *lanes[32], const void *) {
    for (int lane = 0; lane < 32; lane++) lanes[lane]->out[0] = lanes[lanes[lane]->in[1]]->in[0];
}

void load_matrices(Exchange *lanes[32], const void *code) {
    check_rows(lanes, code);
    for (int lane = 0; lane < 32; lane++)
        for (int matrix = 0; matrix < 4; matrix++) {
            uint32_t low = element(lanes, matrix, lane / 4, lane % 4 * 2);
            uint32_t high = element(lanes, matrix, lane / 4, lane % 4 * 2 + 1);
            lanes[lane]->out[matrix] = low | high << 16;
        }
}

void load_matrices_transposed(Exchange *lanes[32], const void *code) {
    check_rows(lanes, code);
    for (int lane = 0; lane < 32; lane++)
        for (int matrix = 0; matrix < 4; matrix++) {
            uint32_t low = element(lanes, matrix, lane % 4 * 2, lane / 4);
            uint32_t high = element(lanes, matrix, lane % 4 * 2 + 1, lane / 4);
            lanes[lane]->out[matrix] = low | high << 16;
        }
}

void multiply_add_bf16(Exchange *lanes[32], const void *) { multiply_add(lanes, bf16_to_f32); }

void multiply_add_f16(Exchange *lanes[32], const void *) {
    // 2¹⁶ numbers, so a table
    static const float *table = [] {
        float *table = new float[1 << 16];
        for (uint32_t bits = 0; bits < 1 << 16; bits++) table[bits] = f16_to_f32(static_cast<uint16_t>(bits));
        return table;
    }();
    multiply_add(lanes, [](uint16_t bits) { return table[bits]; });
}

float f16_to_f32(uint16_t bits) {
    uint32_t sign = uint32_t(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 31) return float_of(sign | 0x7f800000 | fraction << 13);
    if (exponent) return float_of(sign | (exponent + 112) << 23 | fraction << 13);
    float magnitude = static_cast<float>(fraction) * 0x1p-24f; // exact: zero or subnormal
    return sign ? -magnitude : magnitude;
}

uint16_t f32_to_f16(float x) {
    uint32_t bits = bits_of(x), magnitude = bits & 0x7fffffff, sign = bits >> 16 & 0x8000;
    if (magnitude > 0x7f800000) return 0x7fff; // NaN, the one that cvt makes
    // 65520 lies in the middle between the largest f16 and 2¹⁶, and goes to even: infinity
    if (magnitude >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);
    if (magnitude < 0x38800000) {
        // Below 2⁻¹⁴: multiples of 2⁻²⁴, of which f32 has no finer ones at 0.5 + …, where its own rounding does the
        // work.
        float moved = float_of(magnitude) + 0.5f;
        return static_cast<uint16_t>(sign | (bits_of(moved) - bits_of(0.5f)));
    }
    uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return static_cast<uint16_t>(sign | (rounded - 0x38000000) >> 13);
}

uint16_t f32_to_bf16(float x) {
    uint32_t bits = bits_of(x);
    if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fff; // NaN, the one that cvt makes
    return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

} // namespace emulation
