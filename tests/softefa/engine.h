/* SPDX-License-Identifier: MIT
 * The NICs' work for one process: what is posted waits for its turn on a link, lands part by part,
 * and completes. Done by whoever polls, and by a thread for those who do not: a NIC transmits also
 * while its user computes. */
#ifndef SOFTEFA_ENGINE_H
#define SOFTEFA_ENGINE_H

#include "objects.h"

/* Starts it anew, also in a forked child. 0 or -1. */
int engine_start(void);

/* Does what is due. */
void engine_poke(void);

/* A zeroed operation of the queue pair's own, or NULL: all are in flight. */
struct op *engine_take(struct qp *);

/* Gives operations that were not submitted back. */
void engine_give_back(struct op_list *);

/* Takes over all operations of the list, which all are one queue pair's. */
void engine_submit(struct qp *, struct op_list *);

/* Drops all that a queue pair has in flight; nothing of it lands after. */
void engine_forget(struct qp *);

/* A number below n (n > 0). For the engine's own use, and the posting side under no lock: whoever
 * races for it gets a worse number, which is no harm. */
uint32_t engine_random(uint32_t n);

#endif
