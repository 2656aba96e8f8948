/* SPDX-License-Identifier: MIT
 * For tests: what plain MPI moves. The first half of the ranks sends MEGABYTES MiB each to the
 * other half, with several messages on their way at once, and every byte is compared. Prints the
 * sum of the pairs' rates in Gb/s, measured from when the pipe is full.
 *
 *   mpirun -n 2 mpi_rate MEGABYTES */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE (1 << 20)
#define WINDOW  8
#define WARM    16 /* messages before the clock starts */

static char *buffers;
static MPI_Request requests[WINDOW];
static int peer, is_sender;

static void start(int slot)
{
	char *buffer = buffers + (size_t)slot * MESSAGE;

	if (is_sender) {
		MPI_Isend(buffer, MESSAGE, MPI_CHAR, peer, slot, MPI_COMM_WORLD, &requests[slot]);
	} else {
		memset(buffer, 0, MESSAGE);
		MPI_Irecv(buffer, MESSAGE, MPI_CHAR, peer, slot, MPI_COMM_WORLD, &requests[slot]);
	}
}

static void fill(void)
{
	for (size_t i = 0; i < (size_t)WINDOW * MESSAGE; i++)
		buffers[i] = is_sender ? (char)(i * 131 + (i >> 12)) : 0;
}

static int is_right(int slot)
{
	for (size_t i = (size_t)slot * MESSAGE; i < (size_t)(slot + 1) * MESSAGE; i++)
		if (buffers[i] != (char)(i * 131 + (i >> 12)))
			return 0;
	return 1;
}

/* Gb/s, or -1 if a byte was wrong. */
static double run(long messages)
{
	double began = 0;
	int last = 1;

	for (int slot = 0; slot < WINDOW; slot++)
		start(slot);
	for (long i = WINDOW; i < messages; i++) {
		if (i == WINDOW + WARM)
			began = MPI_Wtime();
		MPI_Wait(&requests[i % WINDOW], MPI_STATUS_IGNORE);
		start((int)(i % WINDOW));
	}
	/* What is counted has arrived between the two looks at the clock. */
	began = (double)(messages - WINDOW - WARM) * MESSAGE * 8 / (MPI_Wtime() - began) / 1e9;
	MPI_Waitall(WINDOW, requests, MPI_STATUSES_IGNORE);
	for (int slot = 0; !is_sender && slot < WINDOW; slot++)
		last &= is_right(slot);
	return last ? began : -1;
}

int main(int argc, char **argv)
{
	double rate, sum, least, began, took, longest;
	int rank, ranks;

	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	if (argc != 2 || ranks % 2 || atol(argv[1]) <= WINDOW + WARM) {
		fprintf(stderr, "usage: mpirun -n 2 mpi_rate MEGABYTES (more than %d)\n",
		        WINDOW + WARM);
		MPI_Abort(MPI_COMM_WORLD, 2);
	}
	is_sender = rank < ranks / 2;
	peer = is_sender ? rank + ranks / 2 : rank - ranks / 2;
	buffers = malloc((size_t)WINDOW * MESSAGE);
	if (!buffers)
		MPI_Abort(MPI_COMM_WORLD, 1);
	fill();
	MPI_Barrier(MPI_COMM_WORLD);
	began = MPI_Wtime();
	rate = run(atol(argv[1]));
	took = MPI_Wtime() - began;
	MPI_Reduce(&took, &longest, 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
	MPI_Reduce(&rate, &least, 1, MPI_DOUBLE, MPI_MIN, 0, MPI_COMM_WORLD);
	rate = is_sender ? 0 : rate; /* counted where it arrives */
	MPI_Reduce(&rate, &sum, 1, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
	if (!rank)
		printf("%.3f %.3f\n", least < 0 ? -1 : sum,
		       atof(argv[1]) * MESSAGE * 8 * (ranks / 2) / longest / 1e9);
	free(buffers);
	MPI_Finalize();
	return !rank && least < 0;
}
