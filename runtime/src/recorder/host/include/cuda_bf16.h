// CUDA's bf16 as far as CubeCL's texts of our kernels use it: bits that matrix units are given, no arithmetic and no conversions.
#pragma once

struct __nv_bfloat16 {
    unsigned short bits;
};

struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};
