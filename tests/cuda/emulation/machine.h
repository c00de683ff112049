// A machine that runs CUDA kernels on the CPU: one fiber per CUDA thread, one block at a time. This is the side that
// launches see; kernels see emulation.h.
#pragma once

#include <atomic>
#include <string>

#include "inside.h"

namespace emulation {

struct Launch {
    const Entry *entry;
    Index3 blocks;
    uint32_t threads;
    uint32_t shared;
    uint64_t seed;
};

// Runs a grid. Empty when all went well, else what did not.
std::string run(const Launch &launch, void **arguments);

// Counts of this OS thread.
struct Counts {
    uint64_t launches;
    // Rows of eight addresses that ldmatrix reads at once, and the additional ones that bank conflicts cost.
    uint64_t matrices, conflicts;
};
extern thread_local Counts counts __attribute__((tls_model("initial-exec")));

// Device memory: addresses that nothing else has, each allocation between pages that nobody may touch.
struct Memory {
    uint64_t start;
    size_t bytes;
    bool live;
    std::atomic<void *> beside{nullptr};
    size_t beside_bytes = 0;
    Memory(uint64_t start, size_t bytes) : start(start), bytes(bytes), live(true) {}
};
// 0 where there is no room.
uint64_t allocate(size_t bytes);
// `bytes` zero bytes that belong to the memory while it lives, the same at each call.
void *beside(const Memory &memory, size_t bytes);
// What `address` lies in, or at the end of; freed memory too. Null elsewhere.
const Memory *memory_of(uint64_t address);
// False where nothing live starts there.
bool release(uint64_t start);
// Whether somebody wrote just beside the memory.
bool damaged(const Memory &memory);
bool is_device(const void *p);

} // namespace emulation
