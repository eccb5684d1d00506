// CUDA's header of matrix units, of which the texts use nothing but the instruction that they write as assembly: matrix.h has it.
#pragma once
