/* SPDX-License-Identifier: MIT
 * Bootstrap from an MPI communicator: the only source that knows MPI. */
#include <errno.h>
#include <kvrail_mpi.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>

_Static_assert(sizeof(MPI_Comm) <= sizeof(void *), "a communicator travels as a pointer");

static int allgather(void *arg, const void *mine, void *all, size_t len)
{
	MPI_Comm comm;

	memcpy(&comm, &arg, sizeof(comm));
	if (len > INT_MAX)
		return -E2BIG;
	return MPI_Allgather(mine, len, MPI_BYTE, all, len, MPI_BYTE, comm) == MPI_SUCCESS ? 0
	                                                                                   : -EIO;
}

int kvr_mpi_bootstrap(MPI_Comm comm, struct kvr_bootstrap *out)
{
	struct kvr_bootstrap b = {.allgather = allgather};
	int inter;

	if (comm == MPI_COMM_NULL)
		return -EINVAL;
	if (MPI_Comm_test_inter(comm, &inter) != MPI_SUCCESS)
		return -EIO;
	if (inter)
		return -EINVAL;
	if (MPI_Comm_rank(comm, &b.rank) != MPI_SUCCESS ||
	    MPI_Comm_size(comm, &b.nranks) != MPI_SUCCESS)
		return -EIO;
	memcpy(&b.arg, &comm, sizeof(comm));
	*out = b;
	return 0;
}
