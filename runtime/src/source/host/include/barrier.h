// Barriers: each unit of a cube has a stack of its own and runs until it reaches one; then the next unit goes on.
#pragma once

#include <ucontext.h>

namespace host {

constexpr unsigned long STACK = 256 << 10;

struct Unit {
    ucontext_t context;
    bool ended;
    // The text's line of the barrier that it waits at.
    int line;
};

static Unit fibers[1024];
static Unit *current;
static unsigned char *stacks;
static ucontext_t between;
static const void *work;
static void (*work_on)(const void *);

static void live() {
    work_on(work);
    current->ended = true;
}

// Starts a unit on its stack, or lets it go on.
static void resume(Unit &unit) {
    current = &unit;
    swapcontext(&between, &unit.context);
}

template <typename F>
static void prepare(unsigned int units, const F &kernel) {
    work = &kernel;
    work_on = [](const void *kernel) { (*static_cast<const F *>(kernel))(); };
    // Memory that is not touched costs nothing.
    if (!stacks) stacks = static_cast<unsigned char *>(__builtin_malloc(1024 * STACK));
    for (unsigned int i = 0; i < units; ++i) {
        fibers[i].ended = false;
        getcontext(&fibers[i].context);
        fibers[i].context.uc_stack.ss_sp = stacks + i * STACK;
        fibers[i].context.uc_stack.ss_size = STACK;
        fibers[i].context.uc_link = &between;
        makecontext(&fibers[i].context, live, 0);
    }
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
        if (any_ended) return "some units of a cube wait at a barrier and others have ended";
        if (!one_line) return "units of a cube wait at different barriers";
    }
}

}  // namespace host

static void host_barrier(int line) {
#ifdef HOST_TRACE
    host::note(0, host::SHARED, false, 0, 0);
#endif
    host::Unit *unit = host::current;
    unit->line = line;
    swapcontext(&unit->context, &host::between);
}
