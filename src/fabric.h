/* SPDX-License-Identifier: MIT
 * The seam between kvrail and what moves its bytes: one NIC's endpoint behind a table of calls.
 * fabric.c fills the table with libfabric; a test may fill it with anything. */
#ifndef KVR_FABRIC_H
#define KVR_FABRIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FABRIC_WHY         256 /* room for one line that says what failed and why */
#define FABRIC_ADDRESS_MAX 96  /* two endpoints' names, at the longest those of shm */

struct fabric_nic;
struct fabric_mr;

/* A NIC as a provider offers it. */
struct fabric_offer {
	char name[32]; /* rdmap85s0, eth0 */
	char pci[16];  /* 0000:55:00.0 or empty */
	char link[64]; /* its address there, EFA's GID: no other NIC has it; or empty */
	uint64_t bits_per_second;
	bool spare;    /* loopback or bridge: only on demand, or when there is nothing else */
	bool emulated; /* by the software EFA: no hardware */
	void *handle;  /* the provider's own description */
};

struct fabric_list {
	char provider[32];
	unsigned int count;
	struct fabric_offer *offers;
	void *handle;
};

struct fabric_limits {
	uint32_t sends;    /* operations of ours in flight: writes, reads and messages */
	uint32_t receives; /* buffers posted */
};

/* The provider's scratch space for an operation in flight (as its FI_CONTEXT modes ask for): the
 * first member of whatever the caller wants back. */
struct fabric_op {
	void *space[8];
};

/* What can be given up by itself. */
enum fabric_part {
	FABRIC_DOOR, /* by which peers write and read */
	FABRIC_OLD,  /* what was replaced; nothing is reported any more of what it had started */
	FABRIC_ALL,  /* both, and the endpoint; then shut is all that is left */
};

enum fabric_memory_kind {
	FABRIC_HOST,
	FABRIC_GPU,    /* named by its address; the GPU's context is the calling thread's */
	FABRIC_DMABUF, /* a GPU's too, named by a file, which is needed only during the call */
};

/* Memory to be registered: an address and a length will do for the host's. */
struct fabric_memory {
	void *addr;
	size_t len;
	enum fabric_memory_kind kind;
	int device;      /* a GPU's, as CUDA counts */
	int fd;          /* FABRIC_DMABUF */
	uint64_t offset; /* of addr in it */
};

struct fabric_rma {
	void *local;
	struct fabric_mr *mr; /* local's */
	uint64_t len;
	uint64_t peer; /* from insert */
	uint64_t remote, key;
	bool notify; /* writes: raise `immediate` at the peer, after the bytes */
	uint32_t immediate;
	bool delivered; /* writes: done means that no byte can land any more */
};

enum fabric_event_kind {
	FABRIC_DONE,    /* op ended: its bytes or buffer are the caller's again */
	FABRIC_MESSAGE, /* a receive ended: op's buffer holds len bytes */
	FABRIC_ARRIVAL, /* a peer's write with an immediate is visible here; no op */
};

struct fabric_event {
	enum fabric_event_kind kind;
	int error; /* 0 or negative; then kind does not count, and op may be NULL */
	struct fabric_op *op;
	size_t len;
	uint32_t immediate;
};

/*
 * All return 0 or a negative errno; -EAGAIN from write, read, greet, send and recv means that
 * nothing was started: poll, and try again. Calls for different NICs are independent; those for one
 * NIC may come from any thread. insert and reg may be called while others poll.
 */
struct fabric_ops {
	/* No devices, nothing slow: its NICs have no place in the machine, and open and reg are
	 * called one after the other, in order. */
	bool simulated;
	/* provider: a name, or empty for the best there is. Never an empty list: -ENODEV. */
	int (*list)(const char *provider, struct fabric_list *out, char why[FABRIC_WHY]);
	void (*list_close)(struct fabric_list *);
	int (*open)(const struct fabric_offer *, const struct fabric_limits *,
	            struct fabric_nic **out, char why[FABRIC_WHY]);
	/* Ends all operations: nothing of them is sent or lands here any more, nor is reported, and
	 * their buffers are the caller's again. Then reopen; or dereg, then close. Where it waits:
	 * after retire of all. */
	void (*shut)(struct fabric_nic *);
	/* Whether it imitates writes by messages, but reads by the device. NULL: it does not. */
	bool (*prefers_reads)(const struct fabric_nic *);
	/* Whether shut waits for operations in flight, for ever if need be. NULL: it does not. */
	bool (*shut_waits)(const struct fabric_nic *);
	/* After shut: a new endpoint, with a new address and no peers; registrations stay. */
	int (*reopen)(struct fabric_nic *);
	/* Instead, where shut waits, after retire of the door: the endpoint before it ends what was
	 * started, and gets messages in the buffers that it has, until it is retired as well; not
	 * before that again. */
	int (*replace)(struct fabric_nic *);
	/* Where shut waits: gives something up in the background. 0: it is; nothing that peers
	 * write or read by that address lands here, or is read from here, any more. -EAGAIN: not
	 * yet, ask again. NULL: there is nothing to wait for. */
	int (*retire)(struct fabric_nic *, enum fabric_part);
	/* After retire of the door: a new one, with a new address. */
	int (*renew)(struct fabric_nic *);
	/* What retire has not ended never ends; the NIC is not used any more, nor closed. NULL:
	 * there is nothing to do. */
	void (*abandon)(struct fabric_nic *);
	void (*close)(struct fabric_nic *);
	ssize_t (*address)(struct fabric_nic *, void *buf, size_t len);
	int (*insert)(struct fabric_nic *, const void *address, uint64_t *peer);
	void (*remove)(struct fabric_nic *, uint64_t peer);
	/* Does now what would otherwise be done when the first peer is inserted or heard of, and
	 * takes long and memory; door: by those who write and read here. NULL: nothing does. */
	int (*warm)(struct fabric_nic *, bool door);
	/* The best way in which it takes GPU memory; FABRIC_HOST, or NULL: it does not. */
	enum fabric_memory_kind (*gpu)(const struct fabric_nic *);
	/* key: what to use where the provider makes none of its own. */
	int (*reg)(struct fabric_nic *, const struct fabric_memory *, uint64_t key,
	           struct fabric_mr **out);
	int (*dereg)(struct fabric_mr *);
	uint64_t (*key)(const struct fabric_mr *);
	/* What a peer names the region's first byte: its address, or 0. */
	uint64_t (*base)(const struct fabric_nic *, const void *addr);
	int (*write)(struct fabric_nic *, const struct fabric_rma *, struct fabric_op *);
	int (*read)(struct fabric_nic *, const struct fabric_rma *, struct fabric_op *);
	/* Where shut waits: makes the endpoints known to each other, by reading a byte of the
	 * peer's that is always there. answered: once that has ended, writes one; -EAGAIN as long
	 * as operations would be imitated by messages, though the devices can do without. */
	int (*greet)(struct fabric_nic *, uint64_t peer, bool answered, struct fabric_op *);
	int (*send)(struct fabric_nic *, const void *buf, size_t len, struct fabric_mr *,
	            uint64_t peer, struct fabric_op *);
	int (*recv)(struct fabric_nic *, void *buf, size_t len, struct fabric_mr *,
	            struct fabric_op *);
	int (*poll)(struct fabric_nic *, struct fabric_event *, int max); /* a count */
};

extern const struct fabric_ops fabric_libfabric;

/* Static text for an errno or one of libfabric's own. */
const char *fabric_strerror(int err);

#endif
