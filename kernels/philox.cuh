// Philox4x32-10 (Salmon et al. 2011) and the dropout masks that it decides, as src/ops/dropout.rs has them to the bit.
#pragma once

// The masks of one place at one step.
struct Draw {
    u32 key[2];
    u32 site;
    u32 step;
    // Lanes below it drop their value.
    u32 threshold;
    // 1/(1 − p): what stays is multiplied by it.
    f32 scale;
};

// The four words of a counter under a key.
INLINE void philox(u32 (&words)[4], u32 key0, u32 key1) {
#pragma unroll
    for (int round = 0; round < 10; round++) {
        u64 first = (u64)words[0] * 0xD2511F53u, second = (u64)words[2] * 0xCD9E8D57u;
        words[0] = (u32)(second >> 32) ^ words[1] ^ key0;
        words[1] = (u32)second;
        words[2] = (u32)(first >> 32) ^ words[3] ^ key1;
        words[3] = (u32)first;
        // Weyl sequences of the golden ratio and of √3 − 1.
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

// Which of the columns 4·group … 4·group + 3 of row `row` stay: bit i tells of the i-th.
INLINE u32 kept(const Draw &draw, u32 row, u32 group) {
    u32 words[4] = {group, row, draw.site, draw.step};
    philox(words, draw.key[0], draw.key[1]);
    u32 bits = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) bits |= (words[i] < draw.threshold ? 0u : 1u) << i;
    return bits;
}
