// Threads, warps and blocks: who runs when, and what is wrong with it.

#include <atomic>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <mutex>
#include <numeric>
#include <sys/mman.h>
#include <ucontext.h>
#include <utility>

#include "block.h"

namespace emulation {

thread_local Here *here;
thread_local Counts counts;
thread_local Machine *machine;
Entry *entries;

namespace {

constexpr size_t PAGE = 4096;
constexpr size_t SHARED_PAGES = (MOST_SHARED + PAGE - 1) / PAGE;
constexpr uint8_t UNTOUCHED = 0xa5;

uint8_t *pages(size_t count) {
    void *p = mmap(nullptr, count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        perror("emulation: mmap");
        abort();
    }
    return static_cast<uint8_t *>(p);
}

struct Owner {
    Machine *owned = nullptr;
    ~Owner() {
        if (!owned) return;
        munmap(owned->stacks, owned->stack_count * STACK);
        munmap(owned->shared_pages, (SHARED_PAGES + 2) * PAGE);
        munmap(owned->emergency, STACK);
        free(owned->shadow);
        delete owned;
    }
};
thread_local Owner owner;

Machine &this_threads() {
    if (!owner.owned) {
        static std::atomic<uint16_t> machines{0};
        owner.owned = new Machine;
        owner.owned->id = ++machines;
        owner.owned->shared_pages_bytes = (SHARED_PAGES + 2) * PAGE;
        owner.owned->shared_pages = pages(SHARED_PAGES + 2);
        mprotect(owner.owned->shared_pages, PAGE, PROT_NONE);
        mprotect(owner.owned->shared_pages + (SHARED_PAGES + 1) * PAGE, PAGE, PROT_NONE);
        owner.owned->emergency = pages(STACK / PAGE);
    }
    return *owner.owned;
}

void leave() {
    Machine &m = *machine;
    switch_context(m.running->context, m.scheduler);
}

void make_ready(Fiber &fiber) {
    fiber.state = State::ready;
    machine->ready.push_back(static_cast<uint16_t>(fiber.number));
}

// Where nobody of the block is still to come, it goes on.
void end_barrier() {
    Machine &m = *machine;
    if (!m.at_barrier || m.at_barrier + m.ended < m.threads) return;
    m.at_barrier = 0;
    m.barriers++;
    for (Warp &warp : m.warps) warp.barrier = warp.waiting = 0;
    for (uint32_t i = 0; i < m.threads; i++)
        if (m.fibers[i].state == State::at_block) make_ready(m.fibers[i]);
}

void complete(Fiber &fiber, const Copy &copy) {
    if (copy.from) {
        require_global(fiber, copy.from, 16, "copies", copy.code);
        watch_global(fiber, copy.from, 16, false, copy.code);
        memcpy(copy.to, copy.from, 16);
    } else {
        memset(copy.to, 0, 16);
    }
}

// Waits for the copies of the groups below `group`.
void complete_copies(Fiber &fiber, uint32_t group) {
    size_t left = 0;
    for (const Copy &copy : fiber.copies) {
        if (copy.group >= group) {
            fiber.copies[left++] = copy;
            continue;
        }
        if (!copy.arrived) complete(fiber, copy);
        watch_copy_end(fiber, copy.to, 16, copy.code);
    }
    fiber.copies.resize(left);
}

void thread_main() {
    Machine &m = *machine;
    Fiber &fiber = *m.running;
    m.launch->entry->call(m.arguments);
    if (!fiber.copies.empty())
        fail_for(fiber, "ends with a copy under way", fiber.copies[0].code);
    Warp &warp = m.warps[fiber.warp];
    if (warp.arrived)
        fail_for(fiber, format("ends while others of its warp wait at %s", warp.name), warp.code);
    warp.ended++;
    fiber.state = State::ended;
    m.ended++;
    end_barrier();
    leave();
    abort();
}

std::string stuck(Machine &m) {
    uint32_t at_block = 0, at_warp = 0;
    std::string what;
    for (uint32_t i = 0; i < m.threads; i++) {
        const Fiber &fiber = m.fibers[i];
        if (fiber.state == State::ended) continue;
        const Warp &warp = m.warps[fiber.warp];
        bool block = fiber.state == State::at_block;
        if (what.empty()) {
            what = format("thread %u waits at %s", i, block ? "sync_block" : warp.name);
            m.fault = block ? warp.barrier_code : warp.code;
        }
        ++(block ? at_block : at_warp);
    }
    return format("deadlock: %s; %u threads wait for the block, %u for their warp, %u have ended", what.c_str(),
                  at_block, at_warp, m.ended);
}

void prepare(Machine &m, const Launch &launch) {
    m.threads = launch.threads;
    if (m.fibers.size() < m.threads) m.fibers.resize(m.threads);
    if (m.stack_count < m.threads) {
        if (m.stacks) munmap(m.stacks, m.stack_count * STACK);
        m.stack_count = m.threads;
        m.stacks = pages(m.stack_count * STACK / PAGE);
        for (size_t i = 0; i < m.stack_count; i++) mprotect(m.stacks + i * STACK, PAGE, PROT_NONE);
    }
    m.warps.resize(m.threads / 32);
    m.shared_bytes = launch.shared;
    size_t room = (launch.shared + 127) / 128 * 128;
    m.shared = m.shared_pages + (SHARED_PAGES + 1) * PAGE - room;
}

void run_block(Machine &m, const Launch &launch, Index3 block) {
    m.ended = m.at_barrier = 0;
    m.block_start = ++m.barriers;
    m.ready.clear();
    memset(m.shared, 0xff, m.shared_bytes);
    uint8_t *end = m.shared_pages + (SHARED_PAGES + 1) * PAGE;
    memset(m.shared + m.shared_bytes, UNTOUCHED, end - (m.shared + m.shared_bytes));
    if (m.shared - 128 > m.shared_pages + PAGE) memset(m.shared - 128, UNTOUCHED, 128);
    for (Warp &warp : m.warps) warp = Warp{};
    for (uint32_t i = 0; i < m.threads; i++) {
        Fiber &fiber = m.fibers[i];
        fiber.here = Here{{i, 0, 0}, block, {launch.threads, 1, 1}, launch.blocks};
        fiber.number = i;
        fiber.lane = i % 32;
        fiber.warp = i / 32;
        fiber.copies.clear();
        fiber.group = 0;
        fiber.context.start(m.stacks + i * STACK, STACK, thread_main);
        make_ready(fiber);
    }
    while (!m.ready.empty()) {
        // Mostly among those that became ready last, which is the memory that is at hand.
        uint32_t count = static_cast<uint32_t>(m.ready.size());
        uint32_t recent = (m.draw() & 15) && count > 32 ? 32 : count;
        uint32_t at = count - 1 - m.below(recent);
        Fiber &fiber = m.fibers[m.ready[at]];
        m.ready[at] = m.ready.back();
        m.ready.pop_back();
        m.running = &fiber;
        here = &fiber.here;
        switch_context(m.scheduler, fiber.context);
        if (!m.failure.empty()) return;
    }
    if (m.ended < m.threads) {
        std::string what = stuck(m);
        m.failure = format("%s block (%u, %u, %u): %s", launch.entry->name, block.x, block.y, block.z, what.c_str());
        return;
    }
    bool touched = false;
    for (uint8_t *p = m.shared + m.shared_bytes; p < end; p++) touched |= *p != UNTOUCHED;
    if (m.shared - 128 > m.shared_pages + PAGE)
        for (uint8_t *p = m.shared - 128; p < m.shared; p++) touched |= *p != UNTOUCHED;
    if (touched)
        m.failure = format("%s block (%u, %u, %u): writes beyond its %zu bytes of shared memory", launch.entry->name,
                           block.x, block.y, block.z, m.shared_bytes);
}

// ", at file:line" of code in this library, as far as addr2line tells, with the lines it is inlined to.
std::string place_of(const void *code, const char *before) {
    Dl_info info;
    if (!code || !dladdr(code, &info) || !info.dli_fname) return "";
    // a return address: the call is before it
    size_t offset = static_cast<const char *>(code) - static_cast<const char *>(info.dli_fbase) - 1;
    FILE *pipe = popen(format("addr2line -i -e '%s' 0x%zx 2>/dev/null", info.dli_fname, offset).c_str(), "r");
    if (!pipe) return "";
    std::string found;
    char line[512];
    while (fgets(line, sizeof line, pipe)) {
        line[strcspn(line, " \n")] = 0;
        const char *slash = strrchr(line, '/'), *name = slash ? slash + 1 : line;
        if (strchr(name, '?') || !strncmp(name, "emulation.h", 11) || !strncmp(name, "machine.h", 9)) continue;
        found += (found.empty() ? before : " in ") + std::string(name);
    }
    pclose(pipe);
    return found;
}

// A thread that touched what it may not: goes on in `broken`, on another stack.
thread_local const void *touched;
void broken() {
    Fiber &fiber = *machine->running;
    uintptr_t p = reinterpret_cast<uintptr_t>(touched), stacks = reinterpret_cast<uintptr_t>(machine->stacks);
    if (p - stacks < machine->stack_count * STACK) fail_for(fiber, "needs more than the stack");
    uintptr_t shared = reinterpret_cast<uintptr_t>(machine->shared_pages);
    if (p - shared < (SHARED_PAGES + 2) * PAGE)
        fail_for(fiber, format("accesses byte %td of %zu bytes of shared memory",
                               static_cast<const uint8_t *>(touched) - machine->shared, machine->shared_bytes));
    require_global(fiber, touched, 1, "accesses", nullptr);
    fail_for(fiber, format("accesses address %p, where nothing is", touched));
}

struct sigaction before_segv, before_bus;

void on_fault(int signal, siginfo_t *info, void *context) {
    if (machine && machine->running) {
        touched = info->si_addr;
        ucontext_t *saved = static_cast<ucontext_t *>(context);
        uintptr_t top = reinterpret_cast<uintptr_t>(machine->emergency + STACK - 64);
        (void)saved, (void)top;
#if defined(__linux__) && defined(__x86_64__)
        saved->uc_mcontext.gregs[REG_RIP] = reinterpret_cast<greg_t>(&broken);
        saved->uc_mcontext.gregs[REG_RSP] = static_cast<greg_t>(top - 8);
        return;
#elif defined(__linux__) && defined(__aarch64__)
        saved->uc_mcontext.pc = reinterpret_cast<uintptr_t>(&broken);
        saved->uc_mcontext.sp = top;
        return;
#endif
    }
    const struct sigaction &before = signal == SIGSEGV ? before_segv : before_bus;
    if (before.sa_flags & SA_SIGINFO) return before.sa_sigaction(signal, info, context);
    if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) return before.sa_handler(signal);
    ::signal(signal, SIG_DFL);
}

void watch_faults() {
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction action = {};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        sigaction(SIGSEGV, &action, &before_segv);
        sigaction(SIGBUS, &action, &before_bus);
    });
    // The handler needs a stack of its own, as the thread's may be what is used up.
    stack_t stack = {};
    sigaltstack(nullptr, &stack);
    if (stack.ss_flags & SS_DISABLE) {
        stack = {};
        stack.ss_size = 32 << 10;
        stack.ss_sp = pages(stack.ss_size / PAGE); // for as long as the OS thread may fault: for ever
        sigaltstack(&stack, nullptr);
    }
}

} // namespace

std::string format(const char *form, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, form);
    vsnprintf(text, sizeof text, form, arguments);
    va_end(arguments);
    return text;
}

void fail_for(const Fiber &fiber, const std::string &what, const void *code, const void *other) {
    Machine &m = *machine;
    const Index3 &block = fiber.here.block;
    m.failure = format("%s block (%u, %u, %u) thread %u: %s", m.launch->entry->name, block.x, block.y, block.z,
                       fiber.number, what.c_str());
    m.fault = code;
    m.other = other;
    for (;;) leave();
}

void require_shared(const Fiber &fiber, const void *p, size_t size, const char *what, const void *code) {
    const Machine &m = *machine;
    ptrdiff_t at = static_cast<const uint8_t *>(p) - m.shared;
    if (at < 0 || at + size > m.shared_bytes)
        fail_for(fiber,
                 format("%s %zu bytes at byte %td of %zu bytes of shared memory", what, size, at, m.shared_bytes), code);
}

void require_global(const Fiber &fiber, const void *p, size_t size, const char *what, const void *code) {
    uint64_t address = reinterpret_cast<uint64_t>(p);
    const Memory *memory = memory_of(address);
    if (!memory) fail_for(fiber, format("%s %zu bytes at %p, which is no memory of the device", what, size, p), code);
    int64_t at = static_cast<int64_t>(address - memory->start);
    if (!memory->live)
        fail_for(fiber, format("%s %zu bytes at byte %lld of %zu bytes that were freed", what, size,
                               static_cast<long long>(at), memory->bytes), code);
    if (at < 0 || at + size > memory->bytes)
        fail_for(fiber, format("%s %zu bytes at byte %lld of an allocation of %zu bytes", what, size,
                               static_cast<long long>(at), memory->bytes), code);
}

void together(Exchange &exchange, Collective *collective, const char *name, int line) {
    const void *code = __builtin_return_address(0);
    Machine &m = *machine;
    Fiber &fiber = *m.running;
    Warp &warp = m.warps[fiber.warp];
    if (warp.ended) fail_for(fiber, format("waits at %s for lanes of its warp that have ended", name), code);
    if (warp.waiting)
        fail_for(fiber, format("comes to %s while others of its warp wait at sync_block", name), code,
                 warp.barrier_code);
    if (warp.arrived && (warp.collective != collective || warp.line != line))
        fail_for(fiber, format("comes to %s while others of its warp wait at %s", name, warp.name), code,
                 warp.code);
    warp.collective = collective;
    warp.name = name;
    warp.line = line;
    warp.code = code;
    fiber.exchange = &exchange;
    fiber.state = State::at_warp;
    if (++warp.arrived < 32) return leave();
    warp.arrived = 0;
    Fiber *first = &m.fibers[fiber.warp * 32];
    if (collective) {
        Exchange *lanes[32];
        for (int lane = 0; lane < 32; lane++) lanes[lane] = first[lane].exchange;
        collective(lanes, code);
    } else {
        warp.syncs++;
    }
    for (int lane = 0; lane < 32; lane++)
        if (&first[lane] != &fiber) make_ready(first[lane]);
    fiber.state = State::ready;
}

void sync_block(int line) {
    const void *code = __builtin_return_address(0);
    Machine &m = *machine;
    Fiber &fiber = *m.running;
    Warp &warp = m.warps[fiber.warp];
    if (warp.arrived)
        fail_for(fiber, format("comes to sync_block while others of its warp wait at %s", warp.name), code,
                 warp.code);
    if (warp.waiting && warp.barrier != line)
        fail_for(fiber, "comes to another sync_block than others of its warp", code, warp.barrier_code);
    warp.barrier = line;
    warp.barrier_code = code;
    warp.waiting++;
    fiber.state = State::at_block;
    m.at_barrier++;
    end_barrier();
    leave();
}

void copy_async_16(void *shared, const void *global, bool there) {
    const void *code = __builtin_return_address(0);
    Machine &m = *machine;
    Fiber &fiber = *m.running;
    if ((reinterpret_cast<uintptr_t>(shared) | reinterpret_cast<uintptr_t>(global)) % 16)
        fail_for(fiber, format("copies 16 bytes from %p to %p: not multiples of 16", global, shared), code);
    require_shared(fiber, shared, 16, "copies to", code);
    if (there) require_global(fiber, global, 16, "copies", code);
    Copy copy{static_cast<uint8_t *>(shared), there ? static_cast<const uint8_t *>(global) : nullptr, fiber.group, code,
              false};
    watch_copy_start(fiber, shared, 16, code);
    // Some arrive at once, some only when they are waited for; which shows reads that come too early, and too late.
    copy.arrived = m.draw() & 1;
    if (copy.arrived) complete(fiber, copy);
    fiber.copies.push_back(copy);
}

void copy_commit() { machine->running->group++; }

void copy_wait(uint32_t pending) {
    Fiber &fiber = *machine->running;
    complete_copies(fiber, fiber.group > pending ? fiber.group - pending : 0);
}

uint8_t *shared_memory() { return machine->shared; }

uint32_t shared_address(const void *p) {
    require_shared(*machine->running, p, 0, "addresses", nullptr);
    return static_cast<uint32_t>(static_cast<const uint8_t *>(p) - machine->shared);
}

std::string run(const Launch &launch, void **arguments) {
    if (launch.threads % 32) return format("%s: %u threads are no whole warps", launch.entry->name, launch.threads);
    watch_faults();
    Machine &m = this_threads();
    m.launch = &launch;
    m.arguments = arguments;
    m.random = launch.seed * 0x9e3779b97f4a7c15u | 1;
    for (int i = 0; i < 8; i++) m.draw();
    m.failure.clear();
    m.fault = m.other = nullptr;
    prepare(m, launch);
    counts.launches++;
    m.launch_start = m.barriers + 1;
    machine = &m;
    // All blocks, in an order that says nothing: a step that shares no factor with their number.
    const Index3 &grid = launch.blocks;
    uint64_t count = uint64_t(grid.x) * grid.y * grid.z, step = 1 + m.draw() % count, at = m.draw() % count;
    while (std::gcd(step, count) != 1) step++;
    for (uint64_t i = 0; i < count && m.failure.empty(); i++, at = (at + step) % count) {
        uint32_t x = static_cast<uint32_t>(at % grid.x), y = static_cast<uint32_t>(at / grid.x % grid.y);
        run_block(m, launch, {x, y, static_cast<uint32_t>(at / grid.x / grid.y)});
    }
    m.running = nullptr;
    machine = nullptr;
    here = nullptr;
    if (m.failure.empty()) {
        for (size_t i = 0; i < launch.entry->count; i++) {
            if (!launch.entry->parameters[i].pointer) continue;
            uint64_t address;
            memcpy(&address, arguments[i], sizeof address);
            const Memory *memory = memory_of(address);
            if (memory && damaged(*memory))
                return format("%s: writes beside an allocation of %zu bytes, its argument %zu", launch.entry->name,
                              memory->bytes, i);
        }
        return "";
    }
    return m.failure + place_of(m.fault, ", at ") + place_of(m.other, ", and ");
}

} // namespace emulation
