/* SPDX-License-Identifier: MIT
 * A fabric's folder in /dev/shm. Whoever holds a lock on its file is its launcher; one whose lock
 * can be had is left over from a launcher that was killed. */
#include "fabric_dir.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ROOT      "/dev/shm"
#define PREFIX    ROOT "/softefa-"
#define ID_DIGITS 8
#define ROUNDS    100      /* of looking for processes, which may just be starting others */
#define ROUND_NAP 10000000 /* ns */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	remove(path);
	return 0;
}

/* libfabric names files after the NICs, and leaves them behind where it is killed. */
static void remove_leftovers(uint32_t id)
{
	char pattern[64];
	glob_t found;

	snprintf(pattern, sizeof(pattern), ROOT "/*fe80::2ff:%x:%x:*", id >> 16, id & 0xffff);
	if (glob(pattern, 0, NULL, &found))
		return;
	for (size_t i = 0; i < found.gl_pathc; i++)
		unlink(found.gl_pathv[i]);
	globfree(&found);
}

/* Whether a process was started in a fabric: its environment says so. */
static bool belongs(int pid, const char *dir)
{
	char path[64], wanted[FABRIC_DIR_MAX + 16], *entry = NULL;
	size_t room = 0;
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/environ", pid);
	snprintf(wanted, sizeof(wanted), SOFTEFA_DIR_VARIABLE "=%s", dir);
	f = fopen(path, "re");
	while (f && !found && getdelim(&entry, &room, 0, f) > 0)
		found = !strcmp(entry, wanted);
	free(entry);
	if (f)
		fclose(f);
	return found;
}

/* How many there were. */
static int kill_once(const char *dir)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int pid, n = 0;

	while (proc && (entry = readdir(proc))) {
		pid = isdigit((unsigned char)entry->d_name[0]) ? atoi(entry->d_name) : 0;
		if (!pid || pid == getpid() || !process_start(pid) || !belongs(pid, dir))
			continue;
		kill(pid, SIGKILL);
		n++;
	}
	if (proc)
		closedir(proc);
	return n;
}

static void kill_processes(const char *dir)
{
	const struct timespec nap = {.tv_nsec = ROUND_NAP};

	for (int i = 0; i < ROUNDS && kill_once(dir); i++)
		nanosleep(&nap, NULL);
}

static void remove_fabric(const char *dir, uint32_t id)
{
	kill_processes(dir);
	remove_leftovers(id);
	nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* One that has no launcher any more: also one without a file, as no other launcher is at work
 * while the root's lock is held. */
static bool is_stale(const char *dir)
{
	char path[FABRIC_DIR_MAX + 16];
	bool stale;
	int fd;

	snprintf(path, sizeof(path), "%s/" SOFTEFA_FILE, dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT;
	stale = !flock(fd, LOCK_EX | LOCK_NB);
	close(fd);
	return stale;
}

/* Of the number in a folder's name; false: it is none of ours, but only begins like one. */
static bool parse_id(const char *path, uint32_t *id)
{
	const char *digits = path + strlen(PREFIX);

	if (strlen(digits) != ID_DIGITS || strspn(digits, "0123456789abcdef") != ID_DIGITS)
		return false;
	*id = (uint32_t)strtoul(digits, NULL, 16);
	return true;
}

static void remove_stale(void)
{
	uint32_t id;
	glob_t found;

	if (glob(PREFIX "*", 0, NULL, &found))
		return;
	for (size_t i = 0; i < found.gl_pathc; i++)
		if (parse_id(found.gl_pathv[i], &id) && is_stale(found.gl_pathv[i]))
			remove_fabric(found.gl_pathv[i], id);
	globfree(&found);
}

/* Both halves of the number are parts of names, which would leave a zero out. */
static uint32_t choose_id(void)
{
	uint32_t id = 0;

	while (!(id >> 16) || !(id & 0xffff))
		if (getrandom(&id, sizeof(id), 0) != sizeof(id))
			id = (uint32_t)(now_ns() * 2654435761u);
	return id;
}

static int create(struct fabric_dir *dir)
{
	char path[FABRIC_DIR_MAX + 16];

	dir->id = choose_id();
	snprintf(dir->path, sizeof(dir->path), PREFIX "%08x", dir->id);
	if (mkdir(dir->path, 0700))
		return -1;
	dir->shm = shm_open_dir(dir->path, true);
	snprintf(path, sizeof(path), "%s/" SOFTEFA_FILE, dir->path);
	dir->lock = dir->shm ? open(path, O_RDWR | O_CLOEXEC) : -1;
	if (dir->lock < 0 || flock(dir->lock, LOCK_EX | LOCK_NB))
		return -1;
	dir->shm->launcher = getpid();
	dir->shm->config.id = dir->id;
	return 0;
}

int fabric_dir_create(struct fabric_dir *dir)
{
	int root = open(ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc, error;

	if (root < 0 || flock(root, LOCK_EX))
		return -1;
	remove_stale();
	rc = create(dir);
	error = errno;
	close(root);
	errno = error;
	return rc;
}

void fabric_dir_remove(struct fabric_dir *dir)
{
	munmap(dir->shm, sizeof(*dir->shm));
	remove_fabric(dir->path, dir->id);
	close(dir->lock);
}
