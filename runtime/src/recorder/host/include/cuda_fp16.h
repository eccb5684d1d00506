// CUDA's 16-bit float as far as CubeCL's texts of our kernels use it: storage and conversions, no arithmetic.
#pragma once

class __half {
    unsigned short bits;

    // A float's lower bits, shifted out, rounded to nearest and ties to even. A carry out of the mantissa is right: it
    // goes to the exponent.
    static unsigned int shifted(unsigned int value, unsigned int by) {
        unsigned int kept = value >> by, lost = value & ((1u << by) - 1), half = 1u << (by - 1);
        return kept + (lost > half || (lost == half && (kept & 1)));
    }

    static unsigned short narrowed(float x) {
        unsigned int word = __builtin_bit_cast(unsigned int, x);
        unsigned int sign = word >> 16 & 0x8000, magnitude = word & 0x7fffffff;
        if (magnitude > 0x7f800000) return sign | 0x7fff;  // CUDA's one NaN
        if (magnitude >= 0x47800000) return sign | 0x7c00;  // 2^16 and more
        if (magnitude < 0x33000000) return sign;            // less than 2^-25
        if (magnitude < 0x38800000) {                       // less than 2^-14: subnormal
            unsigned int exponent = magnitude >> 23;
            return sign | shifted((magnitude & 0x7fffff) | 0x800000, 126 - exponent);
        }
        // The exponents' biases are 127 and 15.
        return sign | shifted(magnitude - (112u << 23), 13);
    }

    static float widened(unsigned short bits) {
        unsigned int sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, mantissa = bits & 1023;
        if (exponent == 0) {
            float magnitude = mantissa * 0x1p-24f;
            return sign ? -magnitude : magnitude;
        }
        exponent = exponent == 31 ? 255 : exponent + 112;
        return __builtin_bit_cast(float, sign | exponent << 23 | mantissa << 13);
    }

public:
    // As CUDA's, with no value.
    __half() = default;
    __half(float x) : bits(narrowed(x)) {}
    __half(double x) : bits(narrowed(float(x))) {
        // The texts' literals; rounding twice would be wrong for others.
        if (double(float(x)) != x) __builtin_trap();
    }
    operator float() const {
        return widened(bits);
    }
};

// CubeCL declares it, and does not use it.
struct alignas(4) __half2 {
    __half x, y;
};
