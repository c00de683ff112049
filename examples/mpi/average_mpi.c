/* By MPI, in main memory: of models on the CPU. */
#include "average.h"
#include <limits.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

int average_begin(const char *device) {
    (void)device;
    return 0;
}

int average(const cloze_buffer *buffers, size_t count, float weight) {
    MPI_Request *requests = malloc((count ? count : 1) * sizeof *requests);
    if (!requests) {
        fprintf(stderr, "no memory for %zu requests\n", count);
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        if (buffers[i].count > INT_MAX) { /* a count of MPI is an int */
            fprintf(stderr, "tensor %zu: %zu numbers, expected at most %d\n", i, buffers[i].count, INT_MAX);
            free(requests);
            return -1;
        }
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < buffers[i].count; j++) buffers[i].data[j] *= weight;
        /* the sum of one tensor travels while the next is scaled */
        MPI_Iallreduce(MPI_IN_PLACE, buffers[i].data, (int)buffers[i].count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD,
                       &requests[i]);
    }
    MPI_Waitall((int)count, requests, MPI_STATUSES_IGNORE);
    free(requests);
    return 0;
}

void average_end(void) {}
