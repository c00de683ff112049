/* By NCCL, in the memory of the GPUs: of models on CUDA. The gradients never come to the host. MPI only hands out NCCL's
 * identifier. Processes carry equal weights: global batches have to be a multiple of their number. */
#include "average.h"
#include <cuda_runtime.h>
#include <mpi.h>
#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static ncclComm_t communicator;
static cudaStream_t stream;
static int ranks;

static int failed(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    return -1;
}

int average_begin(const char *device) {
    int rank;
    ncclUniqueId id;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (strncmp(device, "cuda", 4) != 0) return failed(device, "NCCL sums in the memory of GPUs: --device cuda or cuda:N");
    cudaError_t set = cudaSetDevice(device[4] == ':' ? atoi(device + 5) : 0);
    if (set == cudaSuccess) set = cudaStreamCreate(&stream);
    if (set != cudaSuccess) return failed(device, cudaGetErrorString(set));
    if (rank == 0) ncclGetUniqueId(&id);
    MPI_Bcast(&id, sizeof id, MPI_BYTE, 0, MPI_COMM_WORLD);
    ncclResult_t made = ncclCommInitRank(&communicator, ranks, id, rank);
    return made == ncclSuccess ? 0 : failed("ncclCommInitRank", ncclGetErrorString(made));
}

int average(const cloze_buffer *buffers, size_t count, float weight) {
    float difference = weight * (float)ranks - 1;
    if (difference > 1e-6f || difference < -1e-6f) return failed("NCCL", "processes have batches of different sizes");
    ncclResult_t result = ncclGroupStart();
    for (size_t i = 0; i < count && result == ncclSuccess; i++)
        result = ncclAllReduce(buffers[i].data, buffers[i].data, buffers[i].count, ncclFloat, ncclAvg, communicator, stream);
    if (result == ncclSuccess) result = ncclGroupEnd();
    if (result != ncclSuccess) return failed("ncclAllReduce", ncclGetErrorString(result));
    cudaError_t waited = cudaStreamSynchronize(stream);
    return waited == cudaSuccess ? 0 : failed("ncclAllReduce", cudaGetErrorString(waited));
}

void average_end(void) {
    ncclCommDestroy(communicator);
    cudaStreamDestroy(stream);
}
