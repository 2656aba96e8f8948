/* SPDX-License-Identifier: MIT
 * This process's place in the emulated fabric. */
#ifndef SOFTEFA_PROCESS_H
#define SOFTEFA_PROCESS_H

#include "shm.h"

/* An address on the fabric, as one number: also the device's for its address handles. */
#define ADDRESS(host, nic) ((host)*MAX_NICS + (nic))
#define NO_ADDRESS         UINT32_MAX

struct process {
	struct shm *shm; /* NULL: not in a fabric */
	char dir[64];    /* the fabric's folder */
	uint32_t slot;
	uint32_t host;
};

extern struct process process;

/* Joins the fabric that the environment names, once (and again in a forked child). false: there is
 * none, or it is full; why is said once on standard error. From any thread. */
bool process_join(void);

static inline struct shm_proc *process_self(void)
{
	return &process.shm->proc[process.slot];
}

static inline struct shm_nic *fabric_nic(uint32_t host, uint32_t nic)
{
	return &process.shm->host[host].nic[nic];
}

/* The 16 bytes that a NIC goes by, and back: NO_ADDRESS if they are none of this fabric's. */
void gid_make(uint32_t host, uint32_t nic, uint8_t gid[16]);
uint32_t gid_address(const uint8_t gid[16]);

/* Whether somebody in slot `proc`, on its `nic`, has made a handle for an address. */
static inline bool proc_knows(const struct shm_proc *proc, uint32_t nic, uint32_t address)
{
	return atomic_load(&proc->knows[nic][address / 64]) >> address % 64 & 1;
}

#endif
