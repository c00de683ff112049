// Fibers: stacks that are switched by hand. swapcontext asks the kernel for the signal mask each time, which costs more
// than everything a thread does between two barriers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emulation {

#if defined(__x86_64__)

// Saves the registers that a call keeps, stores the stack pointer to *from, and goes on where `to` was saved.
extern "C" void cloze_emulation_switch(void **from, void *to);
asm(R"(
.pushsection .text
.p2align 4
.hidden cloze_emulation_switch
.weak cloze_emulation_switch
.type cloze_emulation_switch, @function
cloze_emulation_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size cloze_emulation_switch, . - cloze_emulation_switch
.popsection
)");

struct Context {
    void *sp = nullptr;
    // Starts with `entry` at the top of a stack; `entry` does not return.
    void start(uint8_t *stack, size_t bytes, void (*entry)()) {
        void **top = reinterpret_cast<void **>(reinterpret_cast<uintptr_t>(stack + bytes) & ~uintptr_t(15));
        *--top = nullptr; // where a function finds its return address
        *--top = reinterpret_cast<void *>(entry);
        for (int i = 0; i < 6; i++) *--top = nullptr;
        sp = top;
    }
};
inline void switch_context(Context &from, Context &to) { cloze_emulation_switch(&from.sp, to.sp); }

#elif defined(__aarch64__)

extern "C" void cloze_emulation_switch(void **from, void *to);
asm(R"(
.pushsection .text
.p2align 4
.hidden cloze_emulation_switch
.weak cloze_emulation_switch
.type cloze_emulation_switch, %function
cloze_emulation_switch:
    sub sp, sp, #176
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #176
    ret
.size cloze_emulation_switch, . - cloze_emulation_switch
.popsection
)");

struct Context {
    void *sp = nullptr;
    void start(uint8_t *stack, size_t bytes, void (*entry)()) {
        uint64_t *top = reinterpret_cast<uint64_t *>(reinterpret_cast<uintptr_t>(stack + bytes) & ~uintptr_t(15));
        top -= 22;
        for (int i = 0; i < 22; i++) top[i] = 0;
        top[11] = reinterpret_cast<uint64_t>(entry); // x30
        sp = top;
    }
};
inline void switch_context(Context &from, Context &to) { cloze_emulation_switch(&from.sp, to.sp); }

#else

} // namespace emulation
#include <ucontext.h>
namespace emulation {

struct Context {
    ucontext_t saved;
    void start(uint8_t *stack, size_t bytes, void (*entry)()) {
        getcontext(&saved);
        saved.uc_stack.ss_sp = stack;
        saved.uc_stack.ss_size = bytes;
        saved.uc_link = nullptr;
        makecontext(&saved, entry, 0);
    }
};
inline void switch_context(Context &from, Context &to) { swapcontext(&from.saved, &to.saved); }

#endif

} // namespace emulation
