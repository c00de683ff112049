// Every access of a kernel to memory, watched.
//
// Kernels are compiled with -fsanitize=thread and -fsanitize=alignment,…, which make the compiler call a function
// before each access; but not linked with those sanitizers' libraries: the functions are these. So an access outside of
// its memory is an error at once, to the byte, and so are two accesses to the same shared memory by different threads,
// one of them a write, without a barrier between them: sync_block orders all, sync_warp the threads of a warp. In
// global memory, blocks of one launch have no order at all; what threads of a warp do to each other there is not looked
// at.
//
// Without CLOZE_WATCHED kernels run as they are. What goes beyond memory is found where it meets a page that nobody may
// touch, or bytes beside the memory that have changed afterwards; and races where they show in results.

#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

#include "block.h"

#ifndef CLOZE_WATCHED

namespace emulation {
void watch_read(const Fiber &, const void *, size_t, const void *) {}
void watch_write(const Fiber &, const void *, size_t, const void *) {}
void watch_global(const Fiber &, const void *, size_t, bool, const void *) {}
void watch_copy_start(const Fiber &, const void *, size_t, const void *) {}
void watch_copy_end(const Fiber &, const void *, size_t, const void *) {}
} // namespace emulation

#else

namespace emulation {

namespace {

// One of the times that a thread used a piece of shared memory. Times are counted in barriers of blocks and, for the
// threads of one warp, in their own.
struct Access {
    uint32_t barriers;
    uint32_t syncs;
    uint16_t thread;
    uint16_t warp;
    uint32_t code; // its place, as `packed`
};

constexpr uint16_t SEVERAL = 0xffff;

// What happened to two bytes, the smallest that kernels use.
struct Cell {
    Access write, read;
    bool coming; // a copy is on its way here
};

// Code and this constant lie in one library, less than 2 GiB apart.
const char origin = 0;
uint32_t packed(const void *code) { return static_cast<uint32_t>(static_cast<const char *>(code) - &origin); }
const void *unpacked(uint32_t code) { return &origin + static_cast<int32_t>(code); }

Cell *cells_at(const void *p) {
    Machine &m = *machine;
    if (!m.shadow) m.shadow = calloc(MOST_SHARED / 2 + 64, sizeof(Cell));
    return static_cast<Cell *>(m.shadow) + (static_cast<const uint8_t *>(p) - m.shared) / 2;
}

Access access_of(const Fiber &fiber, const void *code) {
    return {machine->barriers, machine->warps[fiber.warp].syncs, static_cast<uint16_t>(fiber.number),
            static_cast<uint16_t>(fiber.warp), packed(code)};
}

// Whether what happened before is not known to have happened before.
bool unordered(const Access &before, const Access &now) {
    if (before.barriers != now.barriers || before.thread == now.thread) return false;
    return before.warp != now.warp || before.syncs == now.syncs;
}

[[noreturn]] void race(const Fiber &fiber, const char *what, const void *p, const Access &before, const char *did,
                       const void *code) {
    std::string who = before.thread == SEVERAL ? "several threads" : format("thread %u", before.thread);
    ptrdiff_t at = static_cast<const uint8_t *>(p) - machine->shared;
    const char *form = "%s byte %td of shared memory, which %s %s, without a barrier between";
    fail_for(fiber, format(form, what, at, who.c_str(), did), code, unpacked(before.code));
}

void coming(const Fiber &fiber, const char *what, const void *p, const Cell &cell, const void *code) {
    ptrdiff_t at = static_cast<const uint8_t *>(p) - machine->shared;
    fail_for(fiber, format("%s byte %td of shared memory, to which a copy of thread %u is under way", what, at,
                           cell.write.thread), code, unpacked(cell.write.code));
}

void note_read(Cell &cell, const Access &now) {
    Access &read = cell.read;
    if (read.barriers == now.barriers && read.thread != now.thread) {
        if (read.warp != now.warp) read.warp = SEVERAL;
        read.thread = SEVERAL;
        read.syncs = now.syncs;
        read.code = now.code;
        return;
    }
    read = now;
}

} // namespace

void watch_read(const Fiber &fiber, const void *p, size_t size, const void *code) {
    Access now = access_of(fiber, code);
    Cell *cell = cells_at(p), *end = cells_at(static_cast<const uint8_t *>(p) + size - 1) + 1;
    for (; cell < end; cell++) {
        if (cell->coming && cell->write.barriers >= machine->block_start) coming(fiber, "reads", p, *cell, code);
        if (unordered(cell->write, now)) race(fiber, "reads", p, cell->write, "wrote", code);
        note_read(*cell, now);
    }
}

void watch_write(const Fiber &fiber, const void *p, size_t size, const void *code) {
    Access now = access_of(fiber, code);
    Cell *cell = cells_at(p), *end = cells_at(static_cast<const uint8_t *>(p) + size - 1) + 1;
    for (; cell < end; cell++) {
        if (cell->coming && cell->write.barriers >= machine->block_start) coming(fiber, "writes", p, *cell, code);
        if (unordered(cell->write, now)) race(fiber, "writes", p, cell->write, "wrote", code);
        if (unordered(cell->read, now)) race(fiber, "writes", p, cell->read, "read", code);
        cell->write = now;
        cell->coming = false;
    }
}

namespace {

// What happened to two bytes of global memory.
struct GlobalUse {
    uint32_t time; // barriers
    uint16_t machine, thread;
};
struct GlobalCell {
    GlobalUse write, read;
    uint32_t write_code, read_code;
};
constexpr uint16_t SEVERAL_BLOCKS = 0xfffe;

bool of_this_launch(const GlobalUse &use) { return use.machine == machine->id && use.time >= machine->launch_start; }

// Who of this launch used it in no order with `fiber`; null where nobody.
const char *disorder(const GlobalUse &use, const Fiber &fiber) {
    if (!of_this_launch(use)) return nullptr;
    if (use.thread == SEVERAL_BLOCKS || use.time < machine->block_start) return "another block";
    if (use.time < machine->barriers || use.thread == fiber.number) return nullptr;
    if (use.thread != SEVERAL && use.thread / 32u == fiber.warp) return nullptr;
    return "another thread";
}

} // namespace

void watch_global(const Fiber &fiber, const void *p, size_t size, bool write, const void *code) {
    const Memory *memory = memory_of(reinterpret_cast<uint64_t>(p));
    GlobalCell *cells = static_cast<GlobalCell *>(beside(*memory, (memory->bytes + 1) / 2 * sizeof(GlobalCell)));
    if (!cells) return;
    uint64_t at = reinterpret_cast<uint64_t>(p) - memory->start;
    GlobalUse now{machine->barriers, machine->id, static_cast<uint16_t>(fiber.number)};
    auto fault = [&](const char *who, const char *did, uint32_t other) {
        const char *form = "%s byte %llu of an allocation of %zu bytes, which %s %s in the same launch";
        unsigned long long byte = at;
        fail_for(fiber, format(form, write ? "writes" : "reads", byte, memory->bytes, who, did), code, unpacked(other));
    };
    for (uint64_t i = at / 2; i <= (at + size - 1) / 2; i++) {
        GlobalCell &cell = cells[i];
        if (const char *who = disorder(cell.write, fiber)) fault(who, "wrote", cell.write_code);
        if (write) {
            if (const char *who = disorder(cell.read, fiber)) fault(who, "read", cell.read_code);
            cell.write = now;
            cell.write_code = packed(code);
            continue;
        }
        GlobalUse &read = cell.read;
        bool others = of_this_launch(read) && (read.time < machine->block_start || read.thread == SEVERAL_BLOCKS);
        bool several = of_this_launch(read) && read.time == now.time && read.thread != now.thread;
        read = {now.time, now.machine, others ? SEVERAL_BLOCKS : several ? SEVERAL : now.thread};
        cell.read_code = packed(code);
    }
}

void watch_copy_start(const Fiber &fiber, const void *p, size_t size, const void *code) {
    watch_write(fiber, p, size, code);
    Cell *cell = cells_at(p);
    for (size_t i = 0; i < size / 2; i++) cell[i].coming = true;
}

void watch_copy_end(const Fiber &fiber, const void *p, size_t size, const void *code) {
    Access now = access_of(fiber, code);
    Cell *cell = cells_at(p);
    for (size_t i = 0; i < size / 2; i++) {
        cell[i].write = now;
        cell[i].coming = false;
    }
}

namespace {

inline void access(const void *p, size_t size, bool write, const void *code) {
    Machine *m = machine;
    if (!m) return;
    if (reinterpret_cast<uintptr_t>(p) - reinterpret_cast<uintptr_t>(m->shared_pages) < m->shared_pages_bytes) {
        Fiber &fiber = *m->running;
        require_shared(fiber, p, size, write ? "writes" : "reads", code);
        write ? watch_write(fiber, p, size, code) : watch_read(fiber, p, size, code);
    } else if (is_device(p)) {
        require_global(*m->running, p, size, write ? "writes" : "reads", code);
        watch_global(*m->running, p, size, write, code);
    }
}

inline void aligned(const void *p, size_t size, bool write, const void *code) {
    if (reinterpret_cast<uintptr_t>(p) % size)
        fail_for(*machine->running,
                 format("%s %zu bytes at %p, no multiple of it", write ? "writes" : "reads", size, p), code);
    access(p, size, write, code);
}

} // namespace

} // namespace emulation

using emulation::access;
using emulation::aligned;

#define CODE __builtin_return_address(0)
#define ACCESSES(size)                                                                                                 \
    extern "C" void __tsan_read##size(void *p) { aligned(p, size, false, CODE); }                                      \
    extern "C" void __tsan_write##size(void *p) { aligned(p, size, true, CODE); }                                      \
    extern "C" void __tsan_unaligned_read##size(void *p) { access(p, size, false, CODE); }                             \
    extern "C" void __tsan_unaligned_write##size(void *p) { access(p, size, true, CODE); }                             \
    extern "C" void __tsan_volatile_read##size(void *p) { aligned(p, size, false, CODE); }                             \
    extern "C" void __tsan_volatile_write##size(void *p) { aligned(p, size, true, CODE); }
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void **, void *) {}
void __tsan_vptr_read(void **) {}
void __tsan_read_range(void *p, size_t size) { access(p, size, false, CODE); }
void __tsan_write_range(void *p, size_t size) { access(p, size, true, CODE); }
void *__tsan_memcpy(void *to, const void *from, size_t size) {
    access(from, size, false, CODE);
    access(to, size, true, CODE);
    return memcpy(to, from, size);
}
void *__tsan_memmove(void *to, const void *from, size_t size) {
    access(from, size, false, CODE);
    access(to, size, true, CODE);
    return memmove(to, from, size);
}
void *__tsan_memset(void *to, int value, size_t size) {
    access(to, size, true, CODE);
    return memset(to, value, size);
}

// What -fsanitize=alignment and its like call.
struct Mismatch {
    struct {
        const char *file;
        uint32_t line, column;
    } location;
    const void *type;
    unsigned char log_alignment, kind;
};
void __ubsan_handle_type_mismatch_v1(Mismatch *data, uintptr_t p) {
    using namespace emulation;
    const char *form = p ? "accesses address %#zx, no multiple of %d" : "accesses a null pointer";
    fail_for(*machine->running, format(form, size_t(p), 1 << data->log_alignment), CODE);
}
#define FINDING(name, what)                                                                                            \
    void __ubsan_handle_##name() { emulation::fail_for(*emulation::machine->running, what, CODE); }
FINDING(out_of_bounds, "indexes beyond an array")
FINDING(shift_out_of_bounds, "shifts by more bits than there are")
FINDING(divrem_overflow, "divides by zero")
FINDING(float_cast_overflow, "converts a number that is beyond the integer type")
}

#endif
