/* SPDX-License-Identifier: MIT
 * A fabric's folder in /dev/shm: made, found again when its launcher is gone, removed with all that
 * belongs to it. */
#ifndef SOFTEFA_FABRIC_DIR_H
#define SOFTEFA_FABRIC_DIR_H

#include "shm.h"

#define FABRIC_DIR_MAX 64

struct fabric_dir {
	char path[FABRIC_DIR_MAX];
	uint32_t id;
	int lock; /* held for as long as the launcher lives */
	struct shm *shm;
};

/* Removes what launchers left that are no more, ending their processes; then makes a new folder
 * with a fabric in it. 0, or -1 with errno. */
int fabric_dir_create(struct fabric_dir *);

/* Ends the processes that still belong to it, and removes it. */
void fabric_dir_remove(struct fabric_dir *);

#endif
