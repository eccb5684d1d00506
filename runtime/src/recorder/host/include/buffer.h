// A kernel's buffer, with an end: what is outside of it on a GPU is somebody else's memory.
#pragma once

#ifdef HOST_TRACE
#include "trace.h"
#endif

namespace host {

// The first access outside of a buffer, while a kernel runs.
struct Outside {
    bool seen;
    unsigned int buffer;
    unsigned long index, length;
};
static Outside outside;

// `T` is const for a buffer that is only read.
template <typename T>
struct Buffer {
    T *start;
    unsigned long length;
    // Its place among the parameters.
    unsigned int place;

    T &at(unsigned long index) const {
        if (index < length) return start[index];
        if (!outside.seen) outside = {true, place, index, length};
        static unsigned char nothing[sizeof(T)] __attribute__((aligned(64)));
        return *reinterpret_cast<T *>(nothing);
    }

#ifdef HOST_TRACE
    Place<T> operator[](Index index) const {
        return {at(index.value), index.line, place, index.value * sizeof(T)};
    }
#else
    T &operator[](unsigned long index) const {
        return at(index);
    }
#endif
};

}  // namespace host
