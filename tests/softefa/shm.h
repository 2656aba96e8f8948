/* SPDX-License-Identifier: MIT
 * The emulated fabric as its launcher and all its processes share it: one file, mapped by each.
 *
 * Everything here may be used by a process that is stopped or killed at any moment, so there are
 * no locks but the one a queue's producers take for the time of one entry, and that one is taken
 * away from a dead owner. A slot (process, queue, registration) is claimed by a compare-and-swap
 * of its state. Whoever copies into or out of a process says so in its own `held_` fields first;
 * whoever retires a queue or a registration waits for those: no byte lands afterwards. */
#ifndef SOFTEFA_SHM_H
#define SOFTEFA_SHM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SHM_MAGIC   0x61666574666f53ull
#define SHM_VERSION 1

#define MAX_HOSTS     64
#define MAX_NICS      32 /* of a host */
#define MAX_ADDRESSES (MAX_HOSTS * MAX_NICS)
#define MAX_PROCS     2048
#define MAX_QPS       2048
#define MAX_CQS       2048
#define MAX_MRS       (1u << 18)
#define RQ_MAX        8192 /* powers of two */
#define CQ_MAX        16384
#define RQ_SGES       3
#define NO_SLOT       UINT32_MAX

#define SOFTEFA_DIR_VARIABLE "SOFTEFA_DIR" /* the fabric's folder, for each of its processes */
#define SOFTEFA_FILE         "fabric"      /* the file in it */

enum slot_state { SLOT_FREE, SLOT_CLAIMED, SLOT_LIVE }; /* claimed: being made, or retired */
enum nic_state { NIC_UP, NIC_DOWN, NIC_BLACKHOLE };
enum host_state { HOST_UP, HOST_PAUSED, HOST_DEAD };

/* What an EFA device reports of an operation, by the driver's own numbers. */
enum efa_status {
	EFA_OK = 0,
	EFA_FLUSHED = 1,
	EFA_INVALID_AH = 4,
	EFA_INVALID_LKEY = 5,
	EFA_BAD_LENGTH = 6,
	EFA_REMOTE_BAD_ADDRESS = 7,
	EFA_REMOTE_ABORT = 8,
	EFA_REMOTE_BAD_QPN = 9,
	EFA_REMOTE_RNR = 10,
	EFA_REMOTE_BAD_LENGTH = 11,
	EFA_UNRESPONSIVE = 13,
	EFA_UNKNOWN_PEER = 14,
	EFA_UNREACHABLE = 15,
};

/* Bits of efadv_device_attr.device_caps; the last two are newer than some headers. */
enum device_cap {
	CAP_READ = 1 << 0,
	CAP_RNR_RETRY = 1 << 1,
	CAP_CQ_SGID = 1 << 2,
	CAP_WRITE = 1 << 3,
	CAP_UNSOLICITED = 1 << 4,
};

/* One direction of a NIC, shared by all processes of its host: when it is next free. */
struct shm_link {
	_Alignas(64) _Atomic uint64_t free_at; /* ns, CLOCK_MONOTONIC */
	_Atomic uint64_t bytes;
};

struct shm_nic {
	_Atomic uint32_t state;
	_Atomic uint32_t error_ppm;  /* of its operations fail */
	_Atomic uint64_t ns_per_mib; /* 0: as fast as it goes */
	_Atomic uint64_t latency_ns;
	struct shm_link tx, rx;
	/* Counted at the NIC that posted, but arrivals and overflows at the one that received. */
	_Atomic uint64_t sends, reads, writes, failed, rnr;
	_Atomic uint64_t arrivals, reordered; /* sends and immediates; behind a later one */
	_Atomic uint64_t overflows;           /* completions lost in a full queue */
};

struct shm_host {
	_Atomic uint64_t netns; /* inode of the network namespace it stands for; 0: none */
	_Atomic uint32_t state;
	struct shm_nic nic[MAX_NICS];
};

struct shm_proc {
	_Atomic uint32_t state;
	int32_t pid;
	uint64_t start; /* as in /proc/PID/stat: tells a new process of the same number */
	uint32_t host;
	_Atomic uint32_t busy;                /* its engine is at work: may hold a queue's lock */
	_Atomic uint32_t held_mr[3], held_qp; /* slot + 1 that it copies under: own two, a peer's */
	_Atomic uint64_t gone_at;             /* ns; when somebody first saw that it was dead */
	/* For whom it has made an address handle: a bit per NIC of the fabric, on each of its own.
	 */
	_Atomic uint64_t knows[MAX_NICS][MAX_ADDRESSES / 64];
};

struct shm_sge {
	uint64_t addr;
	uint32_t len, lkey;
};

struct shm_rwqe {
	uint64_t wr_id;
	uint32_t sges, len;
	struct shm_sge sge[RQ_SGES];
};

struct shm_cqe {
	uint64_t wr_id;
	uint32_t status, opcode, flags, len;
	uint32_t imm, qpn, src_qpn;
	uint8_t src_host, src_nic, is_arrival, is_unsolicited;
};

struct shm_qp {
	_Atomic uint32_t state;
	uint32_t generation;
	uint32_t proc, host, nic;
	uint32_t recv_cq;
	uint32_t rq_size; /* a power of two */
	uint32_t rq_limit;
	bool unsolicited;
	_Atomic uint32_t qkey;
	_Atomic uint32_t head, tail; /* of its receives: everybody takes, the owner adds */
};

struct shm_cq {
	_Atomic uint32_t state;
	uint32_t proc, host, nic;
	uint32_t limit;        /* entries asked for */
	_Atomic uint32_t lock; /* of its producers: process slot + 1 */
	_Atomic uint32_t head, tail;
};

struct shm_mr {
	_Atomic uint32_t state;
	uint32_t key; /* generation and slot */
	uint32_t proc, host, nic;
	uint32_t access;
	uint64_t iova, len, addr; /* iova: what others call addr */
};

struct shm_config {
	uint32_t nics, hosts;
	uint32_t vendor_part_id, caps;
	uint64_t ns_per_mib; /* of every NIC, to begin with; 0: as fast as it goes */
	uint64_t jitter_ns;
	uint64_t dead_ns;        /* until a dead peer is noticed */
	uint64_t reg_ns_per_mib; /* what a registration takes */
	uint64_t seed;
	uint32_t id;    /* in the NICs' addresses, and in the names that libfabric makes of them */
	uint64_t netns; /* the launcher's */
	char name[MAX_NICS][32]; /* rdmap85s0 */
	char pci[MAX_NICS][16];  /* 0000:55:00.0 */
};

struct shm {
	uint64_t magic;
	uint32_t version;
	int32_t launcher;
	struct shm_config config; /* not changed once the first process starts */
	_Atomic uint32_t next_mr, next_qp, next_cq;
	struct shm_host host[MAX_HOSTS];
	struct shm_proc proc[MAX_PROCS];
	struct shm_qp qp[MAX_QPS];
	struct shm_cq cq[MAX_CQS];
	struct shm_mr mr[MAX_MRS];
	struct shm_rwqe receives[MAX_QPS][RQ_MAX];
	struct shm_cqe completions[MAX_CQS][CQ_MAX];
};

/* Maps the fabric in `dir`, made new by the launcher (`create`) or found there. NULL with errno:
 * EPROTO if the file is of another version. */
struct shm *shm_open_dir(const char *dir, bool create);

uint64_t now_ns(void);

/* When a process started, as the kernel counts it; 0 if there is none (a zombie is none). */
uint64_t process_start(int pid);

/* Whether the process in a slot still lives. Asks the kernel. */
bool proc_is_alive(const struct shm_proc *);

/* Takes a process slot for the caller, on `host`. NO_SLOT: none is free. */
uint32_t proc_claim(struct shm *, uint32_t host);

/* A table of slots, whose first member is their state, and where to look for a free one next. */
struct slots {
	void *first;
	size_t size;
	uint32_t count;
	_Atomic uint32_t *next;
};

#define SLOTS_OF(shm, table)                                                                       \
	(&(struct slots){(shm)->table, sizeof((shm)->table[0]),                                    \
	                 sizeof((shm)->table) / sizeof((shm)->table[0]), &(shm)->next_##table})

/* Takes a free one of qp, cq or mr, SLOT_CLAIMED; NO_SLOT: there is none, not even a dead one's. */
uint32_t slot_claim(struct shm *, const struct slots *);

/* Frees what dead processes left: their queues, registrations and slots. Only when slots are short:
 * until then peers find out as they would, after a while. */
void shm_reap(struct shm *);

/* Waits until no living process copies under the slot: of a registration or a queue pair. */
void shm_wait_mr(struct shm *, uint32_t mr);
void shm_wait_qp(struct shm *, uint32_t qp);

#endif
