// What a kernel that runs, or waits to be run, sees of the machine. Nothing of the standard library: what is compiled
// with watched accesses must not stand for what is not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace emulation {

struct Index3 {
    uint32_t x, y, z;
};

// What a running thread knows of itself.
struct Here {
    Index3 thread, block, threads, blocks;
};
extern thread_local Here *here __attribute__((tls_model("initial-exec")));

// What a lane brings to a collective of its warp, and takes from it.
struct Exchange {
    uint64_t address;
    uint32_t in[10];
    uint32_t out[4];
};

// What a collective does once every lane has come; `code` is where it was called.
typedef void Collective(Exchange *lanes[32], const void *code);

// All 32 lanes come together; `name` tells of it in messages. Lanes that come to
// different ones, or to another line of the source, are an error.
void together(Exchange &exchange, Collective *collective, const char *name, int line);
void sync_block(int line);

void copy_async_16(void *shared, const void *global, bool there);
void copy_commit();
void copy_wait(uint32_t pending);

uint8_t *shared_memory();
uint32_t shared_address(const void *p);

// Collectives.
void shuffle(Exchange *lanes[32], const void *code);
void load_matrices(Exchange *lanes[32], const void *code);
void load_matrices_transposed(Exchange *lanes[32], const void *code);
void multiply_add_bf16(Exchange *lanes[32], const void *code);
void multiply_add_f16(Exchange *lanes[32], const void *code);

float f16_to_f32(uint16_t bits);
uint16_t f32_to_f16(float x);
uint16_t f32_to_bf16(float x);

// A kernel.
struct Parameter {
    size_t size;
    bool pointer;
};
struct Entry {
    const char *name;
    const Parameter *parameters;
    size_t count;
    void (*call)(void **arguments);
    Entry *next;
};
extern Entry *entries;

template <class... A, size_t... I> void call(void (*kernel)(A...), void **arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<A> *>(arguments[I])...);
}
template <auto kernel> struct Entered;
template <class... A, void (*kernel)(A...)> struct Entered<kernel> {
    static_assert(((sizeof(A) <= 8) && ...), "arguments are given in eight bytes each");
    static constexpr Parameter parameters[sizeof...(A) + 1] = {Parameter{sizeof(A), std::is_pointer_v<A>}...};
    Entry entry;
    static void go(void **arguments) { call(kernel, arguments, std::index_sequence_for<A...>{}); }
    explicit Entered(const char *name) : entry{name, parameters, sizeof...(A), go, entries} { entries = &entry; }
};
#define ENTER(kernel) static emulation::Entered<&kernel> entered_##kernel(#kernel);

} // namespace emulation
