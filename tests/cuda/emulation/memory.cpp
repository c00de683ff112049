// Device memory. Every allocation has pages of its own, ends where they end, and has a page before and after that
// nobody may touch; addresses are used once. So accesses beyond an allocation, or after it was freed, are found.

#include <atomic>
#include <cstring>
#include <mutex>
#include <sys/mman.h>

#include "machine.h"

namespace emulation {

namespace {

constexpr size_t PAGE = 4096;
constexpr size_t ARENA = size_t(1) << 38;
// Starts are multiples of it, as the driver's are.
constexpr size_t ALIGNMENT = 256;
constexpr uint8_t UNTOUCHED = 0xa5;

struct Arena {
    uint8_t *base;
    // By page.
    std::atomic<Memory *> *owners;
    std::mutex lock;
    size_t used = PAGE;

    Arena() {
        int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        void *space = mmap(nullptr, ARENA, PROT_NONE, flags, -1, 0);
        void *table = mmap(nullptr, ARENA / PAGE * sizeof(void *), PROT_READ | PROT_WRITE, flags, -1, 0);
        base = space == MAP_FAILED || table == MAP_FAILED ? nullptr : static_cast<uint8_t *>(space);
        owners = static_cast<std::atomic<Memory *> *>(table);
    }
};

Arena &arena() {
    static Arena *arena = new Arena;
    return *arena;
}

uint8_t *first_page(const Memory &memory) {
    return reinterpret_cast<uint8_t *>(memory.start / PAGE * PAGE);
}

uint8_t *end(const Memory &memory) {
    size_t room = (memory.bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return reinterpret_cast<uint8_t *>(memory.start) + room;
}

} // namespace

uint64_t allocate(size_t bytes) {
    Arena &a = arena();
    if (!a.base || bytes > ARENA) return 0;
    size_t room = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT, count = (room + PAGE - 1) / PAGE;
    std::lock_guard<std::mutex> guard(a.lock);
    if (a.used + (count + 1) * PAGE > ARENA) return 0;
    uint8_t *first = a.base + a.used;
    if (mprotect(first, count * PAGE, PROT_READ | PROT_WRITE)) return 0;
    uint8_t *start = first + count * PAGE - room;
    memset(first, UNTOUCHED, start - first);
    memset(start, 0xff, bytes); // NaN in every type
    memset(start + bytes, UNTOUCHED, room - bytes);
    Memory *memory = new Memory(reinterpret_cast<uint64_t>(start), bytes);
    // The page after it too, so that what goes beyond is known for what it is.
    for (size_t i = 0; i <= count; i++) a.owners[a.used / PAGE + i].store(memory);
    a.used += (count + 1) * PAGE;
    return memory->start;
}

const Memory *memory_of(uint64_t address) {
    Arena &a = arena();
    uint64_t at = address - reinterpret_cast<uint64_t>(a.base);
    return a.base && at < ARENA ? a.owners[at / PAGE].load() : nullptr;
}

bool release(uint64_t start) {
    Arena &a = arena();
    std::lock_guard<std::mutex> guard(a.lock);
    Memory *memory = const_cast<Memory *>(memory_of(start));
    if (!memory || memory->start != start || !memory->live) return false;
    memory->live = false;
    uint8_t *first = first_page(*memory);
    size_t bytes = end(*memory) - first;
    madvise(first, bytes, MADV_DONTNEED);
    mprotect(first, bytes, PROT_NONE);
    if (void *beside = memory->beside.exchange(nullptr)) munmap(beside, memory->beside_bytes);
    return true;
}

void *beside(const Memory &memory, size_t bytes) {
    if (void *known = memory.beside.load(std::memory_order_acquire)) return known;
    Memory &mutable_memory = const_cast<Memory &>(memory);
    std::lock_guard<std::mutex> guard(arena().lock);
    if (void *known = memory.beside.load()) return known;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *fresh = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (fresh == MAP_FAILED) return nullptr;
    mutable_memory.beside_bytes = bytes;
    mutable_memory.beside.store(fresh, std::memory_order_release);
    return fresh;
}

bool damaged(const Memory &memory) {
    bool touched = false;
    const uint8_t *start = reinterpret_cast<uint8_t *>(memory.start);
    for (const uint8_t *p = first_page(memory); p < start; p++) touched |= *p != UNTOUCHED;
    for (const uint8_t *p = start + memory.bytes; p < end(memory); p++) touched |= *p != UNTOUCHED;
    return touched;
}

bool is_device(const void *p) {
    Arena &a = arena();
    return a.base && reinterpret_cast<uint64_t>(p) - reinterpret_cast<uint64_t>(a.base) < ARENA;
}

} // namespace emulation
