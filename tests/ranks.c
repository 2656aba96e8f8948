/* SPDX-License-Identifier: MIT
 * Runs a function as n ranks, each a process of its own. */
#include "ranks.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct board {
	pthread_barrier_t barrier;
	uint8_t blobs[]; /* of KVR_ADDRESS_MAX bytes */
};

struct seat {
	struct board *board;
	int rank, n;
};

static int allgather(void *arg, const void *mine, void *all, size_t len)
{
	struct seat *seat = arg;

	if (len > KVR_ADDRESS_MAX)
		return -E2BIG;
	memcpy(seat->board->blobs + (size_t)seat->rank * KVR_ADDRESS_MAX, mine, len);
	pthread_barrier_wait(&seat->board->barrier);
	for (int i = 0; i < seat->n; i++)
		memcpy((char *)all + i * len, seat->board->blobs + (size_t)i * KVR_ADDRESS_MAX,
		       len);
	return 0;
}

static struct board *make_board(int n, size_t *size)
{
	pthread_barrierattr_t attr;
	struct board *board;

	*size = sizeof(*board) + (size_t)n * KVR_ADDRESS_MAX;
	board = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (board == MAP_FAILED)
		abort();
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&board->barrier, &attr, n);
	pthread_barrierattr_destroy(&attr);
	return board;
}

static int status_of(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* A rank that failed leaves the others waiting: end them. */
static int reap(pid_t *pids, int n)
{
	int first = 0, status, left = n;
	pid_t pid;

	while (left-- && (pid = wait(&status)) > 0) {
		for (int i = 0; i < n; i++) {
			if (pids[i] == pid)
				pids[i] = 0;
			else if (status && !first && pids[i])
				kill(pids[i], SIGKILL);
		}
		if (!first)
			first = status_of(status);
	}
	return first;
}

/* Under the software EFA, ranks spread over its hosts in blocks, as a launcher's would. */
static void choose_host(int rank, int n)
{
	const char *hosts = getenv("SOFTEFA_HOSTS");
	char host[16];

	if (!hosts)
		return;
	snprintf(host, sizeof(host), "%d", rank * atoi(hosts) / n);
	setenv("SOFTEFA_HOST", host, 1);
}

int ranks_run(int n, int seconds, int (*fn)(const struct kvr_bootstrap *, void *arg), void *arg)
{
	size_t size;
	struct board *board = make_board(n, &size);
	pid_t *pids = calloc(n, sizeof(*pids));
	int rc;

	fflush(NULL);
	for (int i = 0; i < n; i++) {
		struct seat seat = {.board = board, .rank = i, .n = n};
		struct kvr_bootstrap b = {
			.rank = i, .nranks = n, .allgather = allgather, .arg = &seat};

		pids[i] = fork();
		if (!pids[i]) {
			free(pids);
			alarm(seconds);
			/* More ranks than cores are slow to answer, and not dead. */
			setenv("KVR_PEER_TIMEOUT", "60000", 0);
			choose_host(i, n);
			rc = fn(&b, arg);
			fflush(NULL);
			exit(rc);
		}
	}
	rc = reap(pids, n);
	free(pids);
	munmap(board, size);
	return rc;
}

void ranks_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: pid %d: not so: %s\n", file, line, (int)getpid(), what);
	_exit(99);
}

void ranks_expect_rc(const char *file, int line, const char *what, long rc, long wanted)
{
	char text[512];

	if (rc == wanted)
		return;
	snprintf(text, sizeof(text), "%s is %ld (%s), wanted %ld", what, rc,
	         rc < 0 ? kvr_strerror(rc) : "", wanted);
	ranks_fail(file, line, text);
}
