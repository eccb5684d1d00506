// Barriers, and matrix units, at which units wait for each other too: each unit of a cube has a stack of its own and runs until it
// reaches one; then the next unit goes on.
#pragma once

#include <ucontext.h>

// libc's, which leave signals alone: a switch by swapcontext asks the kernel twice. Declared here, for its header may put functions in
// their place that take a jump to another stack for a mistake.
extern "C" int _setjmp(void *) __attribute__((returns_twice));
extern "C" void _longjmp(void *, int) __attribute__((noreturn));

namespace host {

constexpr unsigned long STACK = 256 << 10;

// More than any jmp_buf.
struct alignas(16) Jump {
    unsigned char place[512];
};

struct Unit {
    ucontext_t context;
    Jump jump;
    // Whether it has a stack, on which it waits for its next cube or at a barrier.
    bool lives;
    bool ended;
    // The text's line of the barrier that it waits at.
    int line;
};

static Unit fibers[1024];
static Unit *current;
static unsigned char *stacks;
static Jump between;
static const void *work;
static void (*work_on)(const void *);

// Leaves the current unit where it is.
__attribute__((noinline)) static void leave() {
    if (!_setjmp(&current->jump)) _longjmp(&between, 1);
}

// A unit's cubes, one after the other.
static void live() {
    for (;;) {
        work_on(work);
        current->ended = true;
        leave();
    }
}

// Starts a unit on its stack, or lets it go on.
__attribute__((noinline)) static void resume(Unit &unit) {
    current = &unit;
    if (_setjmp(&between)) return;
    if (unit.lives) _longjmp(&unit.jump, 1);
    unit.lives = true;
    setcontext(&unit.context);
}

template <typename F>
static void prepare(unsigned int units, const F &kernel) {
    work = &kernel;
    work_on = [](const void *kernel) { (*static_cast<const F *>(kernel))(); };
    // Memory that is not touched costs nothing.
    if (!stacks) stacks = static_cast<unsigned char *>(__builtin_malloc(1024 * STACK));
    for (unsigned int i = 0; i < units; ++i) {
        fibers[i].ended = false;
        if (fibers[i].lives) continue;
        getcontext(&fibers[i].context);
        fibers[i].context.uc_stack.ss_sp = stacks + i * STACK;
        fibers[i].context.uc_stack.ss_size = STACK;
        fibers[i].context.uc_link = nullptr;
        makecontext(&fibers[i].context, live, 0);
    }
}

// Units that stand in the midst of a cube are not gone on with.
static const char *abandoned(unsigned int units, const char *wrong) {
    for (unsigned int i = 0; i < units; ++i) fibers[i].lives = false;
    return wrong;
}

// Runs a cube from barrier to barrier; `enter` makes a unit the current one. Null, or what is wrong.
template <typename F, typename E>
static const char *cube(unsigned int units, bool descending, const F &kernel, const E &enter) {
    prepare(units, kernel);
    for (;;) {
        for (unsigned int i = 0; i < units; ++i) {
            unsigned int unit = descending ? units - 1 - i : i;
            enter(unit);
            resume(fibers[unit]);
        }
        bool any_ended = false, all_ended = true, one_line = true;
        for (unsigned int i = 0; i < units; ++i) {
            any_ended |= fibers[i].ended;
            all_ended &= fibers[i].ended;
            one_line &= fibers[i].line == fibers[0].line;
        }
        if (all_ended) return nullptr;
        if (any_ended) return abandoned(units, "some units of a cube wait at a barrier and others have ended");
        if (!one_line) return abandoned(units, "units of a cube wait at different barriers");
    }
}

}  // namespace host

static void host_barrier(int line) {
#ifdef HOST_TRACE
    host::note(0, host::SHARED, false, 0, 0);
#endif
    host_wait(line);
}

static void host_wait(int line) {
    host::current->line = line;
    host::leave();
}
