// Every access of a kernel to its buffers and to shared memory, kept cube by cube for whoever counts them.
#pragma once

#include <cuda_runtime.h>

namespace host {

// Where an access goes: a buffer by its place among the parameters, or the shared memory of the cube.
constexpr unsigned int SHARED = 0xffff;

struct Access {
    unsigned int unit;
    // Of the text; 0 for a barrier.
    unsigned int line;
    unsigned int place;
    unsigned int store;
    unsigned long at, bytes;
};

static Access *log_start;
static unsigned long log_length, log_room;

static void note(unsigned int line, unsigned int place, bool store, unsigned long at, unsigned long bytes) {
    if (log_length == log_room) {
        log_room = log_room ? 2 * log_room : 4096;
        log_start = static_cast<Access *>(__builtin_realloc(log_start, log_room * sizeof(Access)));
    }
    unsigned int unit = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    log_start[log_length++] = {unit, line, place, store, at, bytes};
}

// Floating-point operations.
static unsigned long operations;

// A float that counts what is done with it. Comparisons and copies are none.
struct Float {
    float value;
    Float() = default;
    Float(float value) : value(value) {}
    Float(double value) : value(static_cast<float>(value)) {}
    Float(int value) : value(static_cast<float>(value)) {}
    Float(unsigned int value) : value(static_cast<float>(value)) {}
    operator float() const {
        return value;
    }
    Float operator-() const {
        return -value;
    }
};
static inline Float operator+(Float a, Float b) {
    ++operations;
    return a.value + b.value;
}
static inline Float operator-(Float a, Float b) {
    ++operations;
    return a.value - b.value;
}
static inline Float operator*(Float a, Float b) {
    ++operations;
    return a.value * b.value;
}
static inline Float operator/(Float a, Float b) {
    ++operations;
    return a.value / b.value;
}
static inline Float sqrt(Float a) {
    ++operations;
    return __builtin_sqrtf(a.value);
}

// An index, and the line of the text that it stands on.
struct Index {
    unsigned long value;
    unsigned int line;
    template <typename I>
    Index(I value, unsigned int line = __builtin_LINE()) : value(static_cast<unsigned long>(value)), line(line) {}
};

template <typename T>
struct Bare {
    typedef T Type;
};
template <typename T>
struct Bare<const T> {
    typedef T Type;
};

// A value in memory, which notes when it is read and written.
template <typename T>
struct Place {
    T &value;
    unsigned int line, place;
    unsigned long at;

    operator typename Bare<T>::Type() const {
        note(line, place, false, at, sizeof(T));
        return value;
    }
    const Place &operator=(const typename Bare<T>::Type &other) const {
        note(line, place, true, at, sizeof(T));
        value = other;
        return *this;
    }
    const Place &operator=(const Place &other) const {
        return *this = static_cast<typename Bare<T>::Type>(other);
    }
};

// An array in shared memory.
template <typename T>
struct Shared {
    T *start;
    unsigned long offset;

    Place<T> operator[](Index index) const {
        return {start[index.value], index.line, SHARED, offset + index.value * sizeof(T)};
    }
};

}  // namespace host
