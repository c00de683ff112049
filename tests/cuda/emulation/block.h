// A block of threads under way: what machine.cpp, warp.cpp and watch.cpp share.
#pragma once

#include <string>
#include <vector>

#include "machine.h"
#include "switch.h"

namespace emulation {

// 16 bytes on their way from global to shared memory.
struct Copy {
    uint8_t *to;
    const uint8_t *from; // null: zeros
    uint32_t group;
    const void *code; // where it was issued
    bool arrived;
};

enum class State : uint8_t { ready, at_block, at_warp, ended };

struct Fiber {
    Here here;
    Context context;
    uint32_t number, lane, warp;
    State state;
    Exchange *exchange;
    std::vector<Copy> copies;
    uint32_t group; // of the copies that are issued now
};

struct Warp {
    uint32_t arrived, ended;
    Collective *collective;
    const char *name;
    int line;
    const void *code;
    // Times that the lanes came together to see each other's memory.
    uint32_t syncs;
    int waiting; // lanes that wait for the block, at this line
    int barrier;
    const void *barrier_code;
};

constexpr size_t MOST_SHARED = 100 << 10;
constexpr size_t STACK = 128 << 10;

struct Machine {
    const Launch *launch = nullptr;
    void **arguments = nullptr;
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    std::vector<uint16_t> ready;
    uint8_t *stacks = nullptr; // one each, below it a page that nobody may touch
    size_t stack_count = 0;
    uint8_t *shared_pages = nullptr;
    size_t shared_pages_bytes = 0;
    uint8_t *shared = nullptr;
    size_t shared_bytes = 0;
    Fiber *running = nullptr;
    Context scheduler;
    uint32_t threads = 0, ended = 0, at_barrier = 0;
    // Barriers of all blocks so far, the starts of blocks included; what they were when this block and this launch
    // began.
    uint32_t barriers = 0, block_start = 0, launch_start = 0;
    uint16_t id = 0; // no other's
    uint64_t random = 1;
    std::string failure;
    const void *fault = nullptr, *other = nullptr; // code
    uint8_t *emergency = nullptr; // a stack for what a broken thread still has to do
    void *shadow = nullptr;       // of shared memory, see watch.cpp

    uint32_t draw() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        return static_cast<uint32_t>(random >> 32);
    }
    uint32_t below(uint32_t n) { return static_cast<uint32_t>((uint64_t(draw()) * n) >> 32); }
};
extern thread_local Machine *machine __attribute__((tls_model("initial-exec")));

// As `fail`, for a thread that is not the running one.
[[noreturn]] void fail_for(const Fiber &fiber, const std::string &what, const void *code = nullptr,
                           const void *other = nullptr);

// The bytes [p, p + size) as an access by a thread: within shared memory, or the launch fails.
void require_shared(const Fiber &fiber, const void *p, size_t size, const char *what, const void *code);
void require_global(const Fiber &fiber, const void *p, size_t size, const char *what, const void *code);

std::string format(const char *form, ...) __attribute__((format(printf, 1, 2)));

// watch.cpp: what threads do with memory. Without CLOZE_WATCHED they do nothing.
void watch_read(const Fiber &fiber, const void *p, size_t size, const void *code);
void watch_write(const Fiber &fiber, const void *p, size_t size, const void *code);
void watch_global(const Fiber &fiber, const void *p, size_t size, bool write, const void *code);
void watch_copy_start(const Fiber &fiber, const void *p, size_t size, const void *code);
void watch_copy_end(const Fiber &fiber, const void *p, size_t size, const void *code);

} // namespace emulation
