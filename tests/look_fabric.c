/* SPDX-License-Identifier: MIT
 * Rails on which nothing moves, and which only look at what memory is registered. */
#include "look_fabric.h"
#include "cuda_memory.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct look look;

static int look_list(const char *provider, struct fabric_list *out, char why[FABRIC_WHY])
{
	(void)provider;
	(void)why;
	*out = (struct fabric_list){.provider = "look", .count = LOOK_RAILS};
	out->offers = calloc(LOOK_RAILS, sizeof(*out->offers));
	for (int i = 0; out->offers && i < LOOK_RAILS; i++)
		snprintf(out->offers[i].name, sizeof(out->offers[i].name), "look%d", i);
	return out->offers ? 0 : -ENOMEM;
}

static void look_list_close(struct fabric_list *list)
{
	free(list->offers);
}

static int look_open(const struct fabric_offer *offer, const struct fabric_limits *limits,
                     struct fabric_nic **out, char why[FABRIC_WHY])
{
	(void)offer;
	(void)limits;
	(void)why;
	*out = (struct fabric_nic *)&look;
	return 0;
}

static void look_close(struct fabric_nic *nic)
{
	(void)nic;
}

static ssize_t look_address(struct fabric_nic *nic, void *buf, size_t len)
{
	(void)nic;
	(void)len;
	memcpy(buf, "look", 4);
	return 4;
}

static int look_warm(struct fabric_nic *nic, bool door)
{
	(void)nic;
	if (door)
		look.doors_warmed++;
	else
		look.warmed++;
	return 0;
}

static enum fabric_memory_kind look_gpu(const struct fabric_nic *nic)
{
	(void)nic;
	return look.how;
}

/* Whether as many have begun as are to be under way at once. */
static bool wait_for_others(void)
{
	for (int ms = 0; look.tries < look.together && ms < 10000; ms++)
		usleep(1000);
	return look.tries >= look.together;
}

static int look_reg(struct fabric_nic *nic, const struct fabric_memory *memory, uint64_t key,
                    struct fabric_mr **out)
{
	struct fabric_mr *mr;
	struct stat stat;

	(void)nic;
	look.tries++;
	if (!wait_for_others())
		return -ETIMEDOUT;
	if (look.refused[memory->kind])
		return look.refused[memory->kind];
	mr = calloc(1, sizeof(*mr));
	if (!mr)
		return -ENOMEM;
	*mr = (struct fabric_mr){*memory, key, cuda_memory_context(), -1};
	if (memory->kind == FABRIC_DMABUF && !fstat(memory->fd, &stat))
		mr->file = stat.st_size;
	look.open++;
	*out = mr;
	return 0;
}

static int look_dereg(struct fabric_mr *mr)
{
	look.open--;
	free(mr);
	return 0;
}

static uint64_t look_key(const struct fabric_mr *mr)
{
	return mr->key;
}

static uint64_t look_base(const struct fabric_nic *nic, const void *addr)
{
	(void)nic;
	return (uintptr_t)addr;
}

static int look_recv(struct fabric_nic *nic, void *buf, size_t len, struct fabric_mr *mr,
                     struct fabric_op *op)
{
	(void)nic;
	(void)buf;
	(void)len;
	(void)mr;
	(void)op;
	return 0;
}

static int look_poll(struct fabric_nic *nic, struct fabric_event *events, int max)
{
	(void)nic;
	(void)events;
	(void)max;
	return 0;
}

const struct fabric_ops look_ops = {
	.list = look_list,
	.list_close = look_list_close,
	.open = look_open,
	.shut = look_close,
	.close = look_close,
	.address = look_address,
	.warm = look_warm,
	.gpu = look_gpu,
	.reg = look_reg,
	.dereg = look_dereg,
	.key = look_key,
	.base = look_base,
	.recv = look_recv,
	.poll = look_poll,
};
