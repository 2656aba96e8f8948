/* SPDX-License-Identifier: MIT
 * kvrail: bootstrap from an MPI communicator. The only part that knows MPI. */
#ifndef KVRAIL_MPI_H
#define KVRAIL_MPI_H

#include <kvrail.h>
#include <mpi.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Fills *out for kvr_open from comm, which is not copied: it must live until kvr_open returns, and
 * is not used after. comm needs MPI_ERRORS_RETURN for MPI's own failures to come back as errors.
 * -EINVAL: comm is MPI_COMM_NULL or an intercommunicator. -EIO: MPI failed.
 */
KVR_API int kvr_mpi_bootstrap(MPI_Comm comm, struct kvr_bootstrap *out);

#ifdef __cplusplus
}
#endif
#endif
