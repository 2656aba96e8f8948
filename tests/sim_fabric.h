/* SPDX-License-Identifier: MIT
 * A fabric that exists only in the simulated world: NICs with a rate and a latency, operations that
 * land in parts and in any order, and what can go wrong with them. Its table of calls stands in
 * for fabric.c's. */
#ifndef TESTS_SIM_FABRIC_H
#define TESTS_SIM_FABRIC_H

#include "fabric.h"
#include "sim_world.h"
#include <sys/queue.h>

#define SIM_RANKS 4
#define SIM_RAILS 16
#define SIM_PARTS 4

enum nic_state {
	NIC_UP,
	NIC_DOWN, /* operations fail */
	NIC_HOLE, /* nothing completes and nothing fails; all may go on when the NIC is up again */
};

enum sim_kind { SIM_WRITE, SIM_READ, SIM_SEND };

/* How the bytes get to their place. */
enum sim_manner {
	BY_DEVICE, /* the NICs do it all */
	BY_COPY,   /* write: out of a provider's buffer, when the target polls; complete before */
	BY_TARGET, /* when the target polls, and complete after */
};

struct sim_op {
	enum sim_kind kind;
	enum sim_manner manner;
	struct fabric_nic *from, *to;
	uint32_t from_life, to_life, to_door;
	struct fabric_op *user;
	uint8_t *local, *copy; /* copy: of a message, or BY_COPY */
	uint64_t remote, key, len;
	bool notify, delivered;
	uint32_t immediate;

	struct { /* see faults_choose_fate */
		int error;
		bool late, lost_end, lost_arrival, target_error;
		unsigned int duplicates;
	} fate;

	unsigned int parts, land, left; /* land: parts that are to; left: that have not */
	unsigned int next;              /* part, where the target does it */
	uint64_t cut[SIM_PARTS + 1];
	bool doomed, desperate; /* its NIC gives up when the target is silent for long; has */
	bool dropped, ending,
		ended;            /* no byte of it lands any more; its completion is due, is out */
	unsigned int refs;        /* from the calendar, or a queue */
	TAILQ_ENTRY(sim_op) link; /* in a queue of its target */
	TAILQ_ENTRY(sim_op) all;  /* in flight */
};

TAILQ_HEAD(sim_queue, sim_op);

struct fabric_mr {
	struct fabric_mr *next;
	struct fabric_nic *nic;
	uint8_t *addr;
	size_t len;
	uint64_t key, base;
};

struct held {
	void (*fn)(void *, unsigned int);
	struct sim_op *op;
	unsigned int detail;
};

struct receive {
	void *buf;
	size_t len;
	struct fabric_op *op;
};

/* An endpoint: what it has started, and what it gets. */
struct end {
	uint32_t life; /* tells it from others; 0: there is none */
	uint32_t sends;
	struct receive *receives;
	size_t first, count, max;
	struct sim_queue backlog; /* messages that found no buffer */
};

/* Of an endpoint, as it is given up. */
struct part {
	bool closes, closed;
	int64_t at;       /* ns; when it is closed, ... */
	int64_t heals_at; /* ... if no NIC is silent; else then */
};

struct destination {
	struct fabric_nic *nic;
	uint32_t life, door;
	bool greeted; /* also for the second time, or it was tried */
};

struct fabric_nic {
	/* The NIC, which lasts. */
	unsigned int rank, index;
	enum nic_state state;
	bool dead; /* its host is */
	double ns_per_byte;
	int64_t latency, jitter, tx_free, rx_free;
	struct held *held;
	size_t held_count, held_room;

	/* Its endpoint. */
	bool is_open;
	uint32_t door;        /* by which peers write and read */
	struct part parts[3]; /* by enum fabric_part; ALL: the endpoint itself */
	uint32_t sends_max;
	struct fabric_event *cq;
	size_t cq_first, cq_count, cq_room;
	struct end end, old;      /* old: of the one before, that still gets messages */
	struct sim_queue waiting; /* operations that need this NIC to be polled */
	struct destination *av;
	size_t av_count, av_room;
	struct fabric_mr *mrs;
};

/* One seed's fabric as a whole. */
struct sim_fabric {
	bool virtual_addresses; /* and keys of the provider's; else offsets and keys of the caller's
	                         */
	bool stays;             /* no endpoint can be shut while anything is in flight */
	unsigned int queue;     /* operations in flight per NIC */
	struct dice dice;       /* how long doors take to be closed */
	unsigned int opening;   /* the rank whose NICs list offers */
	unsigned int rails[SIM_RANKS];
	struct fabric_nic nic[SIM_RANKS][SIM_RAILS];
	/* Where it stays: endpoints between which a message failed; later ones are held back. */
	struct sim_pair {
		uint32_t from, to; /* their lives */
	} held[SIM_RANKS][SIM_RAILS][SIM_RANKS][SIM_RAILS];
	struct sim_queue flying;
	uint64_t last_key, last_base;

	/* Who watches: bytes are about to move; something came for a rank. */
	void (*on_landing)(const void *to, const void *from, uint64_t len);
	void (*on_news)(unsigned int rank);
};

extern struct sim_fabric sim;
extern const struct fabric_ops sim_fabric_ops;

void sim_fabric_open(struct dice *);
void sim_fabric_close(void);

void nic_set_state(struct fabric_nic *, enum nic_state);
void nic_push(struct fabric_nic *, const struct fabric_event *);

/* The host is gone: whatever it had in flight ends there, and nobody hears of it. What its own
 * context asks for from now on fails at once, so that it can be closed. */
void sim_kill(unsigned int rank);

/* sim_end.c: a NIC's endpoints, as fabric_ops has them. */
struct end *end_of(struct fabric_nic *, uint32_t life); /* NULL: it is closed */
bool end_is_unread(const struct fabric_nic *, uint32_t life);
/* What follows a message that failed, between the same two: see sim.stays. */
void end_hold_back(const struct sim_op *);
bool end_is_held_back(const struct sim_op *);
void end_start(struct fabric_nic *); /* with a name that none had before */
void end_shut(struct fabric_nic *);
int end_reopen(struct fabric_nic *);
int end_replace(struct fabric_nic *);
int end_retire(struct fabric_nic *, enum fabric_part);
int end_renew(struct fabric_nic *);

/* sim_registry.c: a NIC's registrations, as fabric_ops has them. */
int registry_reg(struct fabric_nic *, const struct fabric_memory *, uint64_t key,
                 struct fabric_mr **out);
int registry_dereg(struct fabric_mr *);
uint64_t registry_key(const struct fabric_mr *);
uint64_t registry_base(const struct fabric_nic *, const void *addr);

/* sim_travel.c: an operation on its way. */
struct sim_op *travel_new(struct fabric_nic *, enum sim_kind, struct fabric_op *);
void travel_start(struct sim_op *);
void travel_shut(struct fabric_nic *);    /* its operations end here, unheard */
void travel_kill(struct fabric_nic *);    /* the same, but its own context is told */
void travel_serve(struct fabric_nic *);   /* what waits for this NIC to be polled */
void travel_receive(struct fabric_nic *); /* what waits for a buffer */
void travel_drop(struct sim_queue *);
void travel_close(void);

#endif
