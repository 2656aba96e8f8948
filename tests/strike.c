/* SPDX-License-Identifier: MIT
 * Faults that strike on the software EFA at known points of a transfer. */
#include "strike.h"
#include "softefa/shm.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#define MS 1000000ull /* ns */

/* Two NICs of four, one at either side, so that half of the ways between two hosts are well; or one
 * alone. */
static const struct strike_fault faults[] = {
	{.name = "none"},
	{.name = "one-down", .strikes = {"down 1:1"}, .lifts = {"up 1:1"}},
	{.name = "one-blackhole", .strikes = {"blackhole 1:1"}, .lifts = {"up 1:1"}},
	{.name = "down", .strikes = {"down 1:1", "down 0:2"}, .lifts = {"up 1:1", "up 0:2"}},
	{.name = "blackhole",
         .strikes = {"blackhole 1:1", "blackhole 0:2"},
         .lifts = {"up 1:1", "up 0:2"}},
	{.name = "rate",
         .strikes = {"rate 1:1 0.1", "rate 0:2 0.1"},
         .lifts = {"rate 1:1 1", "rate 0:2 1"}},
	{.name = "error",
         .strikes = {"error 1:1 5", "error 0:2 5"},
         .lifts = {"error 1:1 0", "error 0:2 0"}},
	{.name = "flapping",
         .strikes = {"down 1:1", "blackhole 0:2"},
         .lifts = {"up 1:1", "up 0:2"},
         .flap_ms = 60},
	{.name = "kill", .strikes = {"kill 1"}},
	{.name = "pause", .strikes = {"pause 1"}, .lifts = {"resume 1"}, .hold_ms = 3000},
};

const struct strike_fault *strike_find(const char *name)
{
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		if (!strcmp(faults[i].name, name))
			return &faults[i];
	return NULL;
}

void strike_nap(unsigned int ms)
{
	const struct timespec nap = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * (long)MS};

	nanosleep(&nap, NULL);
}

uint64_t strike_age(const struct strike_board *board)
{
	return (now_ns() - board->struck_at) / MS;
}

/* What NICs have received, the launcher's bytes among them. */
static uint64_t arrived(const struct shm *shm)
{
	uint64_t sum = 0;

	for (uint32_t h = 0; h < shm->config.hosts; h++)
		for (uint32_t n = 0; n < shm->config.nics; n++)
			sum += shm->host[h].nic[n].rx.bytes;
	return sum;
}

/* Ends it where it takes too long; what it has started ends with the software EFA. */
static bool is_gone(struct strike *s)
{
	int status;

	if (s->is_gone)
		return true;
	if (now_ns() > s->end && !s->is_late) {
		fprintf(stderr, "strike: it takes too long\n");
		s->is_late = true;
		kill(s->runner, SIGKILL);
	}
	if (waitpid(s->runner, &status, WNOHANG) != s->runner)
		return false;
	s->is_gone = true;
	s->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return true;
}

static bool is_over(struct strike *s)
{
	return is_gone(s) || s->board->over;
}

static void make_happen(const struct strike *s, const char *event)
{
	char command[4096];

	snprintf(command, sizeof(command), "'%s' ctl %s", s->softefa, event);
	if (!system(command))
		return;
	fprintf(stderr, "strike: failed: %s\n", command);
	abort();
}

/* false: the transfer was over before. */
static bool wait_for_bytes(struct strike *s, const struct shm *shm, uint64_t bytes)
{
	while (!is_over(s)) {
		if (arrived(shm) >= s->base + bytes)
			return true;
		strike_nap(2);
	}
	return false;
}

static void wait_to_begin(struct strike *s, const struct shm *shm)
{
	while (!is_over(s) && !s->board->begun)
		strike_nap(2);
	s->base = arrived(shm);
}

static void hold(struct strike *s, unsigned int ms)
{
	uint64_t end = now_ns() + ms * MS;

	while (now_ns() < end && !is_gone(s))
		strike_nap(2);
}

static bool strike(struct strike *s, const struct shm *shm)
{
	for (int i = 0; i < 2 && s->fault->strikes[i]; i++) {
		if (!wait_for_bytes(s, shm, s->bytes * (unsigned int)(i + 1) / 4)) {
			if (!s->is_late)
				fprintf(stderr, "strike: it was over before: %s\n",
				        s->fault->strikes[i]);
			return false;
		}
		if (!i)
			s->board->struck_at = now_ns();
		make_happen(s, s->fault->strikes[i]);
	}
	return true;
}

static void lift(const struct strike *s)
{
	for (int i = 0; i < 2 && s->fault->lifts[i]; i++)
		make_happen(s, s->fault->lifts[i]);
}

static void flap(struct strike *s)
{
	for (unsigned int i = 0; !is_over(s); i++) {
		make_happen(s, (i & 1 ? s->fault->strikes : s->fault->lifts)[i / 2 % 2]);
		hold(s, s->fault->flap_ms);
	}
}

bool strike_run(struct strike *s, unsigned int seconds)
{
	struct shm *shm = shm_open_dir(getenv(SOFTEFA_DIR_VARIABLE), false);
	bool has_struck;

	if (!shm) {
		fprintf(stderr, "strike: no software EFA: %s\n", strerror(errno));
		return false;
	}
	s->end = now_ns() + seconds * 1000 * MS;
	wait_to_begin(s, shm);
	has_struck = strike(s, shm);
	if (s->fault->flap_ms)
		flap(s);
	else if (s->fault->hold_ms)
		hold(s, s->fault->hold_ms);
	else
		while (!is_over(s))
			strike_nap(2);
	lift(s);
	s->board->lifted = 1;
	while (!is_gone(s))
		strike_nap(2);
	return has_struck;
}
