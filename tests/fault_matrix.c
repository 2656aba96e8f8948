/* SPDX-License-Identifier: MIT
 * One cell of the matrix of faults and operations, on the software EFA with two hosts of four NICs.
 * Rank 0, on host 0, writes to ranks of both hosts or reads from them while a fault strikes. In the
 * end every byte is right, none has come late, and each batch was counted once; or, where host 1
 * was killed, all that waits for it has ended with -EHOSTUNREACH in time. See softefa/matrix.sh.
 *
 *   fault_matrix [--spoil] SOFTEFA FAULT write|read|scatter|gather
 *   fault_matrix SOFTEFA FAULT replay BYTES COMMAND...
 *
 * BYTES: what the command moves. It must succeed, or end in time where host 1 was killed.
 * --spoil: damages a byte where it arrived, which must be found. */
#include "job.h"
#include "strike.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK        (64u << 10)
#define BATCH_BLOCKS 96u
#define BATCHES      8u
#define IN_FLIGHT    3u
#define BYTES        ((uint64_t)BLOCK * BATCH_BLOCKS * BATCHES)
#define FED          100u /* the counter of rank 0 that a rank of host 1 moves, once */
#define NEVER        101u /* one that nobody moves */
#define CANARY       0xc5
#define LATE         150   /* ms; what was held up and is let go would have come by then */
#define LIMIT        20000 /* ms; against hangs, of one wait */
#define SECONDS      30    /* the same, of all */
#define PEER_TIMEOUT 3000  /* ms, where host 1 is killed */
#define SLACK        2000  /* ms; of a machine that has other things to do */
#define END_SLACK    3000  /* ms more, until a launcher has ended */
#define SINCE_KILL   UINT64_MAX

#define TEXT(x)  TEXT_(x)
#define TEXT_(x) #x

struct cell {
	const char *op;
	bool is_read;
	int ranks;
	bool kills, spoils;
	struct strike_board *board;
};

static const struct cell ops[] = {
	{.op = "write", .ranks = 2},
	{.op = "read", .is_read = true, .ranks = 2},
	{.op = "scatter", .ranks = 4},
	{.op = "gather", .is_read = true, .ranks = 4},
};

/* Block i of a batch: whose it is beside rank 0's, and where its bytes are. Neither side is in
 * order, so that no two blocks touch. */
struct place {
	int peer;
	uint64_t from, to;
};

static struct place place_of(const struct cell *cell, unsigned int batch, unsigned int i)
{
	uint64_t base = (uint64_t)batch * BATCH_BLOCKS;

	return (struct place){
		.peer = 1 + (int)i % (cell->ranks - 1),
		.from = (base + i * 53 % BATCH_BLOCKS) * BLOCK,
		.to = (base + (i * 37 + 11) % BATCH_BLOCKS) * BLOCK,
	};
}

static bool is_mine(const struct cell *cell, const struct job *job, const struct place *place)
{
	return job->rank == (cell->is_read ? 0 : place->peer);
}

static bool receives(const struct cell *cell, const struct job *job)
{
	return cell->is_read == !job->rank;
}

static uint64_t word(int rank, uint64_t i)
{
	uint64_t x = (i + ((uint64_t)rank << 40) + 1) * 0x9e3779b97f4a7c15;

	return x ^ x >> 29;
}

static void fill(const struct cell *cell, struct job *job)
{
	uint64_t *words = (uint64_t *)job->memory;

	memset(job->memory, CANARY, job->bytes);
	for (uint64_t i = 0; !receives(cell, job) && i < BYTES / 8; i++)
		words[i] = word(job->rank, i);
}

static void check_block(const struct job *job, const struct place *place, int source)
{
	const uint64_t *words = (const uint64_t *)(job->memory + place->to);

	for (uint64_t i = 0; i < BLOCK / 8; i++) {
		if (words[i] == word(source, place->from / 8 + i))
			continue;
		fprintf(stderr, "wrong bytes: rank %d, offset %llu: %016llx, not %016llx\n",
		        job->rank, (unsigned long long)(place->to + i * 8),
		        (unsigned long long)words[i],
		        (unsigned long long)word(source, place->from / 8 + i));
		_exit(98);
	}
}

static void check_batch(const struct cell *cell, struct job *job, unsigned int batch)
{
	for (unsigned int i = 0; i < BATCH_BLOCKS; i++) {
		struct place place = place_of(cell, batch, i);

		if (!is_mine(cell, job, &place))
			continue;
		if (cell->spoils && batch == BATCHES / 2 && i > BATCH_BLOCKS / 2)
			job->memory[place.to + BLOCK / 3] ^= 1;
		check_block(job, &place, cell->is_read ? place.peer : 0);
	}
}

/* Its memory is somebody else's from now on: nothing may change it any more. */
static void refill(const struct cell *cell, struct job *job, unsigned int batch)
{
	for (unsigned int i = 0; i < BATCH_BLOCKS; i++) {
		struct place place = place_of(cell, batch, i);

		if (is_mine(cell, job, &place))
			memset(job->memory + place.to, CANARY, BLOCK);
	}
}

static void check_canary(const struct job *job)
{
	for (uint64_t i = 0; i < BYTES; i++) {
		if (job->memory[i] == CANARY)
			continue;
		fprintf(stderr, "late bytes: rank %d, offset %llu: %02x\n", job->rank,
		        (unsigned long long)i, job->memory[i]);
		_exit(97);
	}
}

/* What moves data when nothing is waited for; never because a peer is dead. */
static void serve(struct job *job, unsigned int ms)
{
	expect_rc(kvr_counter_wait(job->kvr, NEVER, 1, (int)ms, NULL), -ETIMEDOUT);
}

/* waited: ms for which something has been wanted. A host may be dead for long, and nobody knows
 * while nothing is wanted from it. */
static void expect_in_time(const struct cell *cell, const char *what, uint64_t waited)
{
	uint64_t age = strike_age(cell->board);

	if (waited > age)
		waited = age;
	if (waited <= PEER_TIMEOUT + SLACK)
		return;
	fprintf(stderr, "%s: after %llu ms, %llu ms after the host was killed; the bound is %d\n",
	        what, (unsigned long long)waited, (unsigned long long)age, PEER_TIMEOUT);
	_exit(96);
}

/* Whether a result tells that host 1 is dead, which it must then be, and in time. */
static bool tells_death(const struct cell *cell, const char *what, int rc, uint64_t waited)
{
	if (rc == -EHOSTUNREACH && cell->kills && cell->board->struck_at) {
		expect_in_time(cell, what, waited);
		return true;
	}
	if (!rc)
		return false;
	fprintf(stderr, "%s: %s\n", what, kvr_strerror(rc));
	_exit(95);
}

static int start(const struct cell *cell, struct job *job, unsigned int batch,
                 struct kvr_request **out)
{
	struct kvr_op all[BATCH_BLOCKS];

	for (unsigned int i = 0; i < BATCH_BLOCKS; i++) {
		struct place place = place_of(cell, batch, i);

		all[i] = (struct kvr_op){
			.local = job->region,
			.remote = job->remote[place.peer],
			.local_offset = cell->is_read ? place.to : place.from,
			.remote_offset = cell->is_read ? place.from : place.to,
			.len = BLOCK,
			.count = 1,
		};
	}
	return cell->is_read ? kvr_read(job->kvr, all, BATCH_BLOCKS, out)
	                     : kvr_write(job->kvr, all, BATCH_BLOCKS, batch, out);
}

/* Whether a batch ended well; else host 1 is dead. */
static bool finish(const struct cell *cell, struct job *job, unsigned int batch,
                   struct kvr_request *request)
{
	char what[64];
	int rc = kvr_request_wait(request, LIMIT);
	bool is_well;

	snprintf(what, sizeof(what), "batch %u of %u", batch, BATCHES);
	is_well = !tells_death(cell, what, rc, SINCE_KILL);
	expect_rc(kvr_request_close(request), 0);
	if (cell->is_read && is_well)
		check_batch(cell, job, batch);
	if (cell->is_read)
		refill(cell, job, batch);
	cell->board->ended = batch + 1;
	return is_well;
}

/* Rank 0. All that is in flight ends, also when host 1 is dead; then nothing more is started. */
static bool move_batches(const struct cell *cell, struct job *job)
{
	struct kvr_request *requests[BATCHES];
	unsigned int started = 0, ended = 0;
	bool is_dead = false;

	while (ended < BATCHES && !(is_dead && ended == started)) {
		while (!is_dead && started < BATCHES && started < ended + IN_FLIGHT) {
			is_dead = tells_death(cell, "a new batch",
			                      start(cell, job, started, &requests[started]),
			                      SINCE_KILL);
			started += !is_dead;
		}
		if (ended < started) {
			is_dead |= !finish(cell, job, ended, requests[ended]);
			ended++;
		}
	}
	cell->board->ended = BATCHES;
	return is_dead;
}

/* Also who only waits for the dead is told; and nothing new begins. */
static void check_death(const struct cell *cell, struct job *job)
{
	struct kvr_request *request;
	uint64_t value = 0;
	uint64_t before = strike_age(cell->board);
	int rc = kvr_counter_wait(job->kvr, FED, 2, LIMIT, &value);

	expect(tells_death(cell, "waiting for a counter that the dead fed", rc,
	                   strike_age(cell->board) - before));
	expect(value == 1);
	expect_rc(start(cell, job, 0, &request), -EHOSTUNREACH);
}

/* A rank that is written to. What counts has come; and then its memory is used for other things as
 * soon as the request has ended. */
static void take_batch(const struct cell *cell, struct job *job, unsigned int batch)
{
	bool has_come = false, has_ended;

	do {
		has_ended = cell->board->ended > batch;
		if (!has_come && !kvr_counter_wait(job->kvr, batch, 1, 5, NULL)) {
			has_come = true;
			check_batch(cell, job, batch);
		} else if (!has_ended) {
			serve(job, 5);
		}
	} while (!has_ended);
	if (!has_come && !cell->kills) {
		fprintf(stderr, "batch %u has ended, and its counter has not moved\n", batch);
		_exit(94);
	}
	refill(cell, job, batch);
}

static void expect_counted_once(const struct cell *cell, struct job *job)
{
	uint64_t value;

	for (unsigned int batch = 0; batch < BATCHES; batch++) {
		expect_rc(kvr_counter_wait(job->kvr, batch, 0, 0, &value), 0);
		expect(value == 1 || (!value && cell->kills));
	}
}

static void feed(struct job *job)
{
	struct kvr_op op = {.local = job->region,
	                    .remote = job->remote[0],
	                    .local_offset = BYTES,
	                    .remote_offset = BYTES,
	                    .len = 8,
	                    .count = 1};

	if (job->rank == job->n - 1)
		job_write(job, &op, 1, FED);
	if (!job->rank)
		expect_rc(kvr_counter_wait(job->kvr, FED, 1, LIMIT, NULL), 0);
	job_barrier(job);
}

static void work(const struct cell *cell, struct job *job)
{
	/* A barrier is over for rank 0 before it is for others, who may need the victims for it. */
	while (cell->board->ready < (uint64_t)job->n)
		serve(job, 1);
	cell->board->begun = 1;
	if (move_batches(cell, job))
		check_death(cell, job);
	else
		expect(!cell->kills);
	cell->board->over = 1;
}

/* Those that survived; with a farewell, which is not for the dead. */
static void leave(const struct cell *cell, struct job *job)
{
	if (!cell->kills) {
		job_close(job);
		return;
	}
	for (int i = 0; i < job->n; i++)
		expect_rc(kvr_remote_close(job->remote[i]), 0);
	expect_rc(kvr_region_close(job->region), 0);
	expect_rc(kvr_close(job->kvr), 0);
	free(job->memory);
}

static int run_rank(const struct kvr_bootstrap *b, void *arg)
{
	const struct cell *cell = arg;
	struct job job;

	job_open(&job, b, BYTES + 4096);
	fill(cell, &job);
	job_barrier(&job);
	feed(&job);
	cell->board->ready++;
	if (!job.rank)
		work(cell, &job);
	for (unsigned int batch = 0; job.rank && !cell->is_read && batch < BATCHES; batch++)
		take_batch(cell, &job, batch);
	while (!cell->board->lifted)
		serve(&job, 5);
	serve(&job, LATE);
	if (receives(cell, &job))
		check_canary(&job);
	if (job.rank && !cell->is_read)
		expect_counted_once(cell, &job);
	leave(cell, &job);
	return 0;
}

/* A rank that will be killed is a child of the one that ranks_run() knows, which is on no host. */
static int run_victim(const struct kvr_bootstrap *b, void *arg)
{
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		exit(run_rank(b, arg));
	}
	expect(pid > 0 && waitpid(pid, &status, 0) == pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? 0 : 93;
}

static int run(const struct kvr_bootstrap *b, void *arg)
{
	const struct cell *cell = arg;

	return cell->kills && b->rank >= cell->ranks / 2 ? run_victim(b, arg) : run_rank(b, arg);
}

static void usage(void)
{
	fprintf(stderr, "usage: fault_matrix [--spoil] SOFTEFA FAULT OP [BYTES COMMAND...]\n");
	exit(2);
}

static bool find_op(const char *name, struct cell *cell)
{
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		if (strcmp(ops[i].op, name))
			continue;
		*cell = ops[i];
		return true;
	}
	return false;
}

static pid_t start_runner(struct cell *cell, char **command)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	if (!command)
		_exit(ranks_run(cell->ranks, SECONDS, run, cell));
	cell->board->begun = 1;
	execvp(command[0], command);
	_exit(127);
}

static struct strike_board *make_board(void)
{
	struct strike_board *board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
	                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (board == MAP_FAILED)
		abort();
	return board;
}

/* What is known of a command. Where host 1 was killed only that it has ended: a launcher that lets
 * the others live may call that a success. */
static bool has_ended_well(const struct cell *cell, const struct strike *s)
{
	uint64_t age = strike_age(cell->board);

	if (cell->op || !cell->kills)
		return !s->status;
	if (age <= PEER_TIMEOUT + SLACK + END_SLACK)
		return true;
	fprintf(stderr, "it ended %llu ms after the host was killed\n", (unsigned long long)age);
	return false;
}

int main(int argc, char **argv)
{
	bool spoils = argc > 1 && !strcmp(argv[1], "--spoil");
	struct cell cell = {.op = NULL};
	struct strike s = {.fault = NULL};

	argc -= spoils;
	argv += spoils;
	if (argc < 4 || !(s.fault = strike_find(argv[2])) ||
	    (!find_op(argv[3], &cell) && (argc < 6 || strcmp(argv[3], "replay"))))
		usage();
	cell.spoils = spoils;
	cell.kills = !strcmp(s.fault->name, "kill");
	cell.board = s.board = make_board();
	s.softefa = argv[1];
	s.bytes = cell.op ? BYTES : strtoull(argv[4], NULL, 10);
	if (cell.kills)
		setenv("KVR_PEER_TIMEOUT", TEXT(PEER_TIMEOUT), 1);
	s.runner = start_runner(&cell, cell.op ? NULL : &argv[5]);
	if (strike_run(&s, SECONDS) && has_ended_well(&cell, &s))
		return 0;
	fprintf(stderr, "ended with status %d\n", s.status);
	return 1;
}
