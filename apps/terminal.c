/* SPDX-License-Identifier: MIT
 * For human eyes: sizes and rates in words, and a progress bar. */
#include "app.h"
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BAR_CELLS  30
#define BAR_PERIOD 0.1 /* seconds */

double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

const char *human_bytes(uint64_t bytes, char buf[static 32])
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		snprintf(buf, 32, "%" PRIu64 " bytes", bytes);
		return buf;
	}
	for (; value >= 1024 && unit < 5; unit++)
		value /= 1024;
	snprintf(buf, 32, "%.2f %s", value, units[unit]);
	return buf;
}

const char *human_rate(double bytes_per_second, char buf[static 32])
{
	static const char *const units[] = {"B/s", "kB/s", "MB/s", "GB/s", "TB/s"};
	double value = bytes_per_second;
	size_t unit = 0;

	for (; value >= 1000 && unit < 4; unit++)
		value /= 1000;
	snprintf(buf, 32, "%.1f %s", value, units[unit]);
	return buf;
}

/* mpirun gives its ranks a pipe for standard error, whatever its own is. Where it runs on this host
 * it is the parent, and its own can be opened. */
static int open_terminal(void)
{
	char path[64];
	int fd;

	if (isatty(STDERR_FILENO))
		return dup(STDERR_FILENO);
	snprintf(path, sizeof(path), "/proc/%d/fd/2", (int)getppid());
	fd = open(path, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0 && !isatty(fd)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

void progress_start(struct progress_bar *bar, const char *what, uint64_t total)
{
	*bar = (struct progress_bar){.what = what, .total = total, .fd = open_terminal()};
	bar->visible = bar->fd >= 0;
	progress_show(bar, 0, 0);
}

void progress_show(struct progress_bar *bar, uint64_t done, uint64_t bytes)
{
	double now, share = bar->total ? (double)done / (double)bar->total : 1;
	char cells[BAR_CELLS + 1], size[32];

	if (!bar->visible)
		return;
	now = seconds_now();
	if (now - bar->shown_at < BAR_PERIOD)
		return;
	bar->shown_at = now;
	for (int i = 0; i < BAR_CELLS; i++)
		cells[i] = i < share * BAR_CELLS ? '#' : '.';
	cells[BAR_CELLS] = 0;
	dprintf(bar->fd, "\r%s [%s] %3.0f %%  %" PRIu64 " of %" PRIu64 ", %s\033[K", bar->what,
	        cells, 100 * share, done, bar->total, human_bytes(bytes, size));
}

void progress_end(struct progress_bar *bar)
{
	if (!bar->visible)
		return;
	dprintf(bar->fd, "\r\033[K");
	close(bar->fd);
	bar->visible = false;
}
