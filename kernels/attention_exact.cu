// Attention and its gradients in f32 without relative positions.
#include "exact_attention.cuh"

FORWARD(attention_exact_forward, 3, false, ROWS)
// At most eight queries a piece.
FORWARD(attention_exact_forward_few, 4, false, 1)
BACKWARD(attention_exact_backward_query, attention_exact_backward_key, false)
