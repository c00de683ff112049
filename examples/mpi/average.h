/* Means over all processes of a run, by whatever carries them. */
#ifndef AVERAGE_H
#define AVERAGE_H

#include <cloze.h>

/* Takes what the carrier needs; every process calls it once, with MPI initialised. 0, or -1 with a message on stderr. */
int average_begin(const char *device);

/* Replaces the numbers of every process by the sum over processes of numbers times that process's weight; weights add up
 * to 1. The buffers of all processes have the same sizes. Where it returns, it is done. 0, or -1 with a message on stderr. */
int average(const cloze_buffer *buffers, size_t count, float weight);

void average_end(void);

#endif
