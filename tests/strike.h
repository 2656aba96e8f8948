/* SPDX-License-Identifier: MIT
 * Faults that strike on the software EFA at known points of a transfer: when so many of its bytes
 * have arrived. Whoever strikes takes no part in the transfer, and is on no host. */
#ifndef TESTS_STRIKE_H
#define TESTS_STRIKE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct strike_fault {
	const char *name;
	const char *strikes[2]; /* events: at a quarter and at half of the bytes; NULL: none */
	const char *lifts[2];   /* and what ends them, when the transfer is over, but: */
	unsigned int hold_ms;   /* ... after so long */
	unsigned int flap_ms;   /* ... all the time: one strikes, so long later it is lifted, ... */
};

/* NULL: there is none of that name. */
const struct strike_fault *strike_find(const char *name);

/* What whoever strikes and those who move data tell each other: memory that they share. */
struct strike_board {
	_Atomic uint64_t ready;     /* by them: so many ranks */
	_Atomic uint64_t begun;     /* by them: bytes count from now on */
	_Atomic uint64_t ended;     /* by them: so many requests */
	_Atomic uint64_t over;      /* by them: nothing is to come */
	_Atomic uint64_t struck_at; /* ns, CLOCK_MONOTONIC; 0: not yet */
	_Atomic uint64_t lifted;    /* then no fault is left */
};

struct strike {
	const struct strike_fault *fault;
	struct strike_board *board;
	const char *softefa;
	uint64_t bytes; /* that the transfer moves */
	pid_t runner;   /* a child that moves them; its end is the end of the transfer */
	bool is_gone;   /* it has ended: */
	int status;     /* its exit status, or 128 and the signal's number */
	uint64_t base;  /* bytes that had arrived before it began */
	uint64_t end;   /* ns; it is ended then: */
	bool is_late;
};

/* Strikes, lifts, and returns when the runner has ended, which it must within `seconds`. false:
 * said why. */
bool strike_run(struct strike *, unsigned int seconds);

/* How long ago it struck, in ms. */
uint64_t strike_age(const struct strike_board *);

void strike_nap(unsigned int ms);

#endif
