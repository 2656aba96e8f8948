/* SPDX-License-Identifier: MIT
 * softefa: sets up an emulated fabric, runs a command on it, and cleans up, whatever ends it. */
#include "ctl.h"
#include "devices.h"
#include "events.h"
#include "fabric_dir.h"
#include "options.h"
#include "report.h"
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE    5000000000ull /* ns between a signal that ends it and the one that must */
#define NOT_STARTED 127

/* Those that end a command, by way of us. */
static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

struct run {
	struct options options;
	struct fabric_dir dir;
	struct schedule schedule;
	uint64_t start;
	sigset_t mask;        /* as it was before ours */
	void (*on_pipe)(int); /* likewise */
	int signals;          /* a descriptor */
	pid_t child;
	int status;
	uint64_t kill_at; /* ns; UINT64_MAX: nobody asked us to end */
	int ended_by;     /* a signal of ours, or 0 */
};

static void fill_fabric(struct run *run)
{
	struct shm *shm = run->dir.shm;
	struct stat netns;

	run->options.config.id = run->dir.id;
	if (!stat("/proc/self/ns/net", &netns))
		run->options.config.netns = netns.st_ino;
	shm->config = run->options.config;
	shm->host[0].netns = shm->config.netns;
	for (uint32_t h = 0; h < shm->config.hosts; h++) {
		for (uint32_t n = 0; n < shm->config.nics; n++) {
			shm->host[h].nic[n].ns_per_mib = shm->config.ns_per_mib;
			shm->host[h].nic[n].latency_ns = run->options.latency_ns;
		}
	}
}

/* Our library, which lies beside the program; false: said why. Spaces and colons end a name in
 * LD_PRELOAD, so a path with any gets a link in the fabric's folder. */
static bool find_library(const struct run *run, char library[PATH_MAX + 16])
{
	char self[PATH_MAX] = {0}, link[FABRIC_DIR_MAX + 16];

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return false;
	snprintf(library, PATH_MAX + 16, "%s/libsoftefa.so", dirname(self));
	if (access(library, R_OK)) {
		fprintf(stderr, "softefa: %s: %s; it belongs beside the program\n", library,
		        strerror(errno));
		return false;
	}
	if (!strpbrk(library, " :"))
		return true;
	snprintf(link, sizeof(link), "%s/libsoftefa.so", run->dir.path);
	if (symlink(library, link))
		return false;
	strcpy(library, link);
	return true;
}

/* Libraries to preload: a sanitizer's own first, then ours, then what was there. */
static bool set_preload(const struct run *run)
{
	char library[PATH_MAX + 16], all[4 * PATH_MAX];
	const char *before = getenv("LD_PRELOAD"), *runtime = "";

#ifdef SOFTEFA_RUNTIME
	runtime = SOFTEFA_RUNTIME ":";
#endif
	if (!find_library(run, library))
		return false;
	snprintf(all, sizeof(all), "%s%s%s%s", runtime, library, before ? ":" : "",
	         before ? before : "");
	return !setenv("LD_PRELOAD", all, 1);
}

static bool set_environment(const struct run *run)
{
	const struct options *options = &run->options;
	char text[FABRIC_DIR_MAX + 16], path[PATH_MAX];

	snprintf(text, sizeof(text), "%s/sys", run->dir.path);
	if (setenv("SYSFS_PATH", text, 1) || setenv(SOFTEFA_DIR_VARIABLE, run->dir.path, 1))
		return false;
	snprintf(text, sizeof(text), "%u", options->config.hosts);
	if (options->topology &&
	    (!realpath(options->topology, path) || setenv("HWLOC_XMLFILE", path, 1)))
		return false;
	return !setenv("SOFTEFA_HOSTS", text, 1) && !setenv("FI_EFA_ENABLE_SHM_TRANSFER", "0", 0) &&
	       set_preload(run);
}

static void exec_command(const struct run *run)
{
	signal(SIGPIPE, run->on_pipe);
	sigprocmask(SIG_SETMASK, &run->mask, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != run->dir.shm->launcher) /* gone before we asked to be told */
		_exit(NOT_STARTED);
	if (set_environment(run))
		execvp(run->options.command[0], run->options.command);
	fprintf(stderr, "softefa: %s: %s\n", run->options.command[0], strerror(errno));
	_exit(NOT_STARTED);
}

/* From now on signals wait for us, so that none leaves a folder behind. What we were started to
 * ignore, as nohup does, stays ignored; but a child's end is always to be seen. */
static bool catch_signals(struct run *run)
{
	struct sigaction before;
	sigset_t ours;

	signal(SIGCHLD, SIG_DFL);
	run->on_pipe = signal(SIGPIPE, SIG_IGN); /* whoever reads our words may be gone */
	sigemptyset(&ours);
	sigaddset(&ours, SIGCHLD);
	for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
		if (!sigaction(ending[i], NULL, &before) && before.sa_handler != SIG_IGN)
			sigaddset(&ours, ending[i]);
	sigprocmask(SIG_BLOCK, &ours, &run->mask);
	run->signals = signalfd(-1, &ours, SFD_CLOEXEC);
	return run->signals >= 0;
}

static bool start_command(struct run *run)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	run->child = fork();
	if (!run->child)
		exec_command(run);
	return run->child > 0;
}

/* false: the command itself has ended. Orphans of it become ours, and are only buried. */
static bool reap(struct run *run)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != run->child)
			continue;
		run->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		return false;
	}
	return true;
}

/* Passes it on; the second time, or when that did not help, it is the end. A terminal has told the
 * command already: told twice, mpirun would give up at once. */
static void pass_on(struct run *run, const struct signalfd_siginfo *info)
{
	bool from_terminal = info->ssi_code == SI_KERNEL;

	if (run->ended_by)
		kill(run->child, SIGKILL);
	else if (!from_terminal)
		kill(run->child, (int)info->ssi_signo);
	run->ended_by = (int)info->ssi_signo;
	run->kill_at = now_ns() + PATIENCE;
}

/* Until the next event of the schedule, a signal, or the end of our patience. */
static void wait_until(struct run *run, uint64_t at)
{
	struct pollfd poll_signals = {.fd = run->signals, .events = POLLIN};
	struct signalfd_siginfo info;
	uint64_t now = now_ns();
	struct timespec wait;

	at = at < run->kill_at ? at : run->kill_at;
	at = at > now ? at - now : 0;
	wait = (struct timespec){.tv_sec = (time_t)(at / 1000000000u), .tv_nsec = at % 1000000000u};
	if (ppoll(&poll_signals, 1, at > UINT64_MAX / 4 ? NULL : &wait, NULL) > 0 &&
	    read(run->signals, &info, sizeof(info)) == sizeof(info) && info.ssi_signo != SIGCHLD)
		pass_on(run, &info);
	if (now_ns() >= run->kill_at)
		kill(run->child, SIGKILL);
}

static void supervise(struct run *run)
{
	uint64_t next;

	while (reap(run)) {
		next = schedule_run(run->dir.shm, &run->schedule, now_ns() - run->start);
		wait_until(run, next == UINT64_MAX ? next : run->start + next);
	}
}

static bool stats_failed(const struct run *run)
{
	fprintf(stderr, "softefa: --stats=%s: %s\n", run->options.stats_json, strerror(errno));
	return false;
}

/* Before hours of work are for nothing. */
static bool can_report(const struct run *run)
{
	FILE *f = run->options.stats_json ? fopen(run->options.stats_json, "ae") : NULL;

	if (!run->options.stats_json)
		return true;
	return f ? !fclose(f) : stats_failed(run);
}

static bool report(const struct run *run)
{
	FILE *f;
	int rc;

	if (!run->options.stats)
		return true;
	if (!run->options.stats_json) {
		report_table(run->dir.shm, stderr);
		return true;
	}
	f = fopen(run->options.stats_json, "we");
	if (!f)
		return stats_failed(run);
	rc = report_json(run->dir.shm, f);
	return (!fclose(f) && !rc) || stats_failed(run);
}

static int run_command(struct run *run)
{
	fill_fabric(run);
	if (devices_write_sysfs(&run->options.config, run->dir.path)) {
		fprintf(stderr, "softefa: %s: %s\n", run->dir.path, strerror(errno));
		return EXIT_FAILURE;
	}
	/* What is due at once is so before anything starts. */
	run->start = now_ns();
	schedule_run(run->dir.shm, &run->schedule, 0);
	if (!start_command(run)) {
		fprintf(stderr, "softefa: cannot start a process: %s\n", strerror(errno));
		return EXIT_FAILURE;
	}
	supervise(run);
	if (!report(run) && !run->status)
		run->status = EXIT_FAILURE;
	return run->ended_by ? 128 + run->ended_by : run->status;
}

int main(int argc, char **argv)
{
	struct run run = {.kill_at = UINT64_MAX};
	int status;

	if (argc > 1 && !strcmp(argv[1], "ctl"))
		return ctl_main(argc - 1, argv + 1);
	options_parse(&run.options, argc, argv);
	if (!devices_choose(&run.options.config, run.options.topology))
		return 2;
	if (run.options.schedule &&
	    !schedule_read(&run.options.config, run.options.schedule, &run.schedule))
		return 2;
	if (!can_report(&run))
		return 2;
	if (!catch_signals(&run) || fabric_dir_create(&run.dir)) {
		fprintf(stderr, "softefa: cannot make a fabric in /dev/shm: %s\n", strerror(errno));
		return EXIT_FAILURE;
	}
	status = run_command(&run);
	fabric_dir_remove(&run.dir);
	schedule_close(&run.schedule);
	return status;
}
