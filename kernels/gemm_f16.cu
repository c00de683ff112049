// Products of matrices of f16.
#include "gemm_tensor.cuh"

GEMM_KERNELS(f16)
