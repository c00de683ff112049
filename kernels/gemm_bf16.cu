// Products of matrices of bf16.
#include "gemm_tensor.cuh"

GEMM_KERNELS(bf16)
