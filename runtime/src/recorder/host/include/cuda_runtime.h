// The names of CUDA C++ that CubeCL's texts of our kernels use, on the host's processor. A text that uses another
// one does not compile, and so is not executed.
#pragma once

#define __global__
#define __launch_bounds__(units)
// A parameter by value is a copy anyway.
#define __grid_constant__
#define __align__(bytes) __attribute__((aligned(bytes)))
// It is `extern` in the texts; launch.h has it.
#define __shared__

struct uint3 {
    unsigned int x, y, z;
};
typedef uint3 dim3;

static inline uint3 make_uint3(unsigned int x, unsigned int y, unsigned int z) {
    return {x, y, z};
}

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;

static inline unsigned int min(unsigned int a, unsigned int b) {
    return b < a ? b : a;
}
static inline unsigned int max(unsigned int a, unsigned int b) {
    return a < b ? b : a;
}
// Of a number and a NaN, the number.
static inline float min(float a, float b) {
    return __builtin_fminf(a, b);
}
static inline float max(float a, float b) {
    return __builtin_fmaxf(a, b);
}

// The host's are correctly rounded or within a unit in the last place, CUDA's within a few.
static inline float sqrt(float x) {
    return __builtin_sqrtf(x);
}
static inline float abs(float x) {
    return __builtin_fabsf(x);
}
static inline float floor(float x) {
    return __builtin_floorf(x);
}
static inline float exp(float x) {
    return __builtin_expf(x);
}
static inline float log(float x) {
    return __builtin_logf(x);
}
extern "C" float powf(float, float);

// Waits for the other units of the cube; `line` is where. barrier.h has it.
static void host_barrier(int line);
#define __syncthreads() host_barrier(__LINE__)

// The same without a barrier for memory.
static void host_wait(int line);
