// Attention and its gradients in f32 without relative positions.
#include "exact_attention.cuh"

KERNELS(attention_exact, false, 3)
