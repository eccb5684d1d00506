// Matrix units: the instructions mma.m16n8k16 on bf16 and f16, and mma.m16n8k8 on TF32, with f32 sums, by which the 32 units of a warp
// multiply together.
//
// CubeCL writes it as assembly in a function of the text, whose parameters are the registers of a unit:
//
//     inline __device__ void __mma_m16n8k16_…(uint32 const &reg_a_0, …, float &reg_d_3) {
//         asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32" …);
//     }
//
// The macros make of this a call. Which entries of the matrices lie in which registers is PTX's ("Matrix Fragments for mma.m16n8k16
// with floating point type", and those for mma.m16n8k8).
#pragma once

#define __device__
#define asm
#define volatile(...)                                                                                                            \
    host::multiply(#__VA_ARGS__, {reg_a_0, reg_a_1, reg_a_2, reg_a_3}, {reg_b_0, reg_b_1}, {reg_c_0, reg_c_1, reg_c_2, reg_c_3}, \
                   reg_d_0, reg_d_1, reg_d_2, reg_d_3)

namespace host {

// What the units of a cube hold of A and B. Units that have gone on to the next product do not disturb those that still read this one.
struct Fragments {
    unsigned int a[4], b[2];
    // The text's own, so that units that multiply by different instructions are seen.
    const char *instruction;
};
static Fragments fragments[2][1024];
static bool turns[1024];

// Whether `text` begins with `start`.
static bool begins(const char *text, const char *start) {
    while (*start)
        if (*text++ != *start++) return false;
    return true;
}

static double of_bf16(unsigned int bits) {
    return __builtin_bit_cast(float, bits << 16);
}
static double of_f16(unsigned int bits) {
    unsigned int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double magnitude = exponent == 31  ? (mantissa ? __builtin_nan("") : __builtin_inf())
                       : exponent == 0 ? mantissa * 0x1p-24
                                       : __builtin_ldexp(1024 + mantissa, int(exponent) - 25);
    return bits & 0x8000 ? -magnitude : magnitude;
}

// c + Σ terms as matrix units sum, as far as it is known (Fasi, Higham, Mikaitis, Pranesh, Numerical behavior of NVIDIA tensor cores,
// PeerJ Computer Science 7, 2021): digits below the 24th of the largest term are cut off, and so are those of the sum.
static float sum(float c, const double *terms, int count) {
    double largest = __builtin_fabs(c);
    double plain = c;
    for (int i = 0; i < count; ++i) {
        largest = __builtin_fmax(largest, __builtin_fabs(terms[i]));
        plain += terms[i];
    }
    // Of what is not finite, any order gives the same.
    if (!__builtin_isfinite(plain)) return plain;
    if (largest == 0) return plain;
    double unit = __builtin_ldexp(1, __builtin_ilogb(largest) - 23);
    double whole = __builtin_trunc(c / unit);
    for (int i = 0; i < count; ++i) whole += __builtin_trunc(terms[i] / unit);
    double exact = whole * unit;
    float rounded = exact;
    // Towards zero.
    if (__builtin_fabs(double(rounded)) > __builtin_fabs(exact))
        rounded = __builtin_nextafterf(rounded, 0);
    return rounded;
}

// A C + B of a warp, of which this unit computes rows g and g + 8 of columns 2t and 2t + 1.
template <typename F>
static void multiply(const char *instruction, const unsigned int (&a)[4], const unsigned int (&b)[2], const F (&c)[4], F &d0, F &d1,
                     F &d2, F &d3) {
    unsigned int unit = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    unsigned int warp = unit / 32 * 32, g = unit % 32 / 4, t = unit % 4;
    bool turn = turns[unit] = !turns[unit];
    Fragments *all = fragments[turn];
    all[unit] = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}, instruction};
    host_wait(0);
    bool halves = begins(instruction, "\"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32\"");
    bool brains = begins(instruction, "\"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32\"");
    bool tensors = begins(instruction, "\"mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32\"");
    if (!halves && !brains && !tensors) __builtin_trap();
    // Terms in a word.
    unsigned int packed = tensors ? 1 : 2;
    auto value = [&](unsigned int word, unsigned int half) {
        // The lower 13 bits of a TF32 are not read.
        if (tensors) return double(__builtin_bit_cast(float, word & 0xffffe000));
        unsigned int bits = word >> 16 * half & 0xffff;
        return halves ? of_f16(bits) : of_bf16(bits);
    };
    F *d[4] = {&d0, &d1, &d2, &d3};
    float results[4];
    for (unsigned int i = 0; i < 4; ++i) {
        unsigned int row = g + i / 2 * 8, column = 2 * t + i % 2;
        double terms[16];
        for (unsigned int k = 0; k < 8 * packed; ++k) {
            // The unit that has term k of this row, or this column, and the register and the half of it.
            unsigned int word = k / packed, owner = word % 4, far = word / 4, half = k % packed;
            const Fragments &left = all[warp + row % 8 * 4 + owner], &right = all[warp + column * 4 + owner];
            if (left.instruction != instruction || right.instruction != instruction) __builtin_trap();
            terms[k] = value(left.a[row / 8 + 2 * far], half) * value(right.b[far], half);
        }
        results[i] = sum(float(c[i]), terms, 8 * packed);
    }
    for (unsigned int i = 0; i < 4; ++i) *d[i] = results[i];
}

}  // namespace host
