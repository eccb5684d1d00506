// Runs the cubes of a kernel one after the other. It comes after the text, with the kernel's name as HOST_ENTRY, the bytes
// of its shared memory as HOST_SHARED_BYTES, and HOST_BARRIERS where it has barriers.
#pragma once

#ifdef HOST_BARRIERS
#include "barrier.h"
#endif

extern "C" {
alignas(1024) unsigned char dynamic_shared_mem[HOST_SHARED_BYTES + 1];
}

namespace host {

struct Memory {
    void *start;
    unsigned long bytes;
};

struct Launch {
    const Memory *buffers;
    unsigned long buffer_count;
    const void *info;
    unsigned long info_bytes;
    uint3 cubes, units;
    // Whether the last cube and the last unit come first.
    unsigned int descending;
    // So many cubes run at most, those that come first.
    unsigned int most;
    // Shown the accesses of each cube, where there is a trace.
    void (*seen)(void *listener, const void *accesses, unsigned long count, unsigned long operations);
    void *listener;
};

// A parameter's value from what the launch has next: a buffer, memory without an end of ours, or the lengths.
template <typename A>
struct Parameter {
    static constexpr unsigned long BUFFERS = 0, INFO_BYTES = sizeof(A);
    static A value(const Launch &launch, unsigned int &) {
        return *static_cast<const A *>(launch.info);
    }
};
template <typename T>
struct Parameter<Buffer<T>> {
    static constexpr unsigned long BUFFERS = 1, INFO_BYTES = 0;
    static Buffer<T> value(const Launch &launch, unsigned int &next) {
        Memory memory = launch.buffers[next];
        return {static_cast<T *>(memory.start), memory.bytes / sizeof(T), next++};
    }
};

struct Call {
    template <typename... A>
    Call(void (*kernel)(A...), A... values) {
        kernel(values...);
    }
};

static void enter(unsigned int unit) {
    threadIdx.x = unit % blockDim.x;
    threadIdx.y = unit / blockDim.x % blockDim.y;
    threadIdx.z = unit / blockDim.x / blockDim.y;
}

template <typename F>
static const char *cube(unsigned int units, bool descending, const F &kernel) {
    // All ones are NaN in every format, and far outside as an index.
    __builtin_memset(dynamic_shared_mem, 0xff, HOST_SHARED_BYTES);
#ifdef HOST_BARRIERS
    return cube(units, descending, kernel, enter);
#else
    for (unsigned int i = 0; i < units; ++i) {
        enter(descending ? units - 1 - i : i);
        kernel();
    }
    return nullptr;
#endif
}

template <typename... A>
static const char *run(void (*entry)(A...), const Launch &launch) {
    if ((Parameter<A>::BUFFERS + ...) != launch.buffer_count) return "the text takes another number of buffers";
    if ((Parameter<A>::INFO_BYTES + ...) > launch.info_bytes) return "the text takes more scalars and lengths";
    auto kernel = [&] {
        unsigned int next = 0;
        // The values of a list in braces come in their order.
        Call{entry, Parameter<A>::value(launch, next)...};
    };
    outside.seen = false;
    gridDim = launch.cubes;
    blockDim = launch.units;
    unsigned int cubes = gridDim.x * gridDim.y * gridDim.z, units = blockDim.x * blockDim.y * blockDim.z;
    for (unsigned int i = 0; i < cubes && i < launch.most; ++i) {
        unsigned int at = launch.descending ? cubes - 1 - i : i;
        blockIdx = {at % gridDim.x, at / gridDim.x % gridDim.y, at / gridDim.x / gridDim.y};
        if (const char *wrong = cube(units, launch.descending, kernel)) return wrong;
#ifdef HOST_TRACE
        launch.seen(launch.listener, log_start, log_length, operations);
        log_length = operations = 0;
#endif
    }
    if (!outside.seen) return nullptr;
    static char text[128];
    __builtin_snprintf(text, sizeof text, "buffer_%u is accessed at %lu and has %lu values", outside.buffer, outside.index,
                       outside.length);
    return text;
}

}  // namespace host

extern "C" __attribute__((visibility("default"))) const char *host_run(const host::Launch *launch) {
    return host::run(HOST_ENTRY, *launch);
}
