/* SPDX-License-Identifier: MIT
 * What happens to NICs and hosts while a program runs. */
#include "events.h"
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define WORDS_MAX  8
#define SETTLE     200     /* looks at whether a paused host's processes have left their work */
#define SETTLE_NAP 1000000 /* ns between them */

static const struct kind {
	const char *name;
	bool of_host, has_value;
	double least, most; /* of the value */
} kinds[] = {
	[FAULT_UP] = {"up", false, false, 0, 0},
	[FAULT_DOWN] = {"down", false, false, 0, 0},
	[FAULT_BLACKHOLE] = {"blackhole", false, false, 0, 0},
	[FAULT_RATE] = {"rate", false, true, 1e-6, 1000},
	[FAULT_LATENCY] = {"latency", false, true, 0, 10e6},
	[FAULT_ERROR] = {"error", false, true, 0, 100},
	[FAULT_KILL] = {"kill", true, false, 0, 0},
	[FAULT_PAUSE] = {"pause", true, false, 0, 0},
	[FAULT_RESUME] = {"resume", true, false, 0, 0},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static bool find_kind(const char *name, enum fault *out)
{
	for (size_t i = 0; i < KINDS; i++) {
		if (strcmp(kinds[i].name, name))
			continue;
		*out = (enum fault)i;
		return true;
	}
	return false;
}

/* A number below `limit`, or a star; *end is what follows. */
static bool parse_index(const char *text, uint32_t limit, uint32_t *out, char **end)
{
	unsigned long value;

	if (*text == '*') {
		*out = ALL;
		*end = (char *)text + 1;
		return true;
	}
	value = strtoul(text, end, 10);
	*out = (uint32_t)value;
	return *end != text && *text != '-' && value < limit;
}

static bool parse_place(const struct shm_config *config, const char *text,
                        struct fault_event *event, char why[EVENT_WHY])
{
	bool of_host = kinds[event->fault].of_host;
	char *end;

	event->nic = ALL;
	if (parse_index(text, config->hosts, &event->host, &end) &&
	    (of_host || (*end++ == ':' && parse_index(end, config->nics, &event->nic, &end))) &&
	    !*end)
		return true;
	if (of_host)
		snprintf(why, EVENT_WHY, "'%.40s' is no host: 0 to %u, or *", text,
		         config->hosts - 1);
	else
		snprintf(why, EVENT_WHY, "'%.40s' is no HOST:NIC: 0 to %u and 0 to %u, or *", text,
		         config->hosts - 1, config->nics - 1);
	return false;
}

static bool parse_value(const struct shm_config *config, const char *text,
                        struct fault_event *event, char why[EVENT_WHY])
{
	const struct kind *kind = &kinds[event->fault];
	char *end;

	event->value = strtod(text, &end);
	if (end == text || *end || !isfinite(event->value) || event->value < kind->least ||
	    event->value > kind->most) {
		snprintf(why, EVENT_WHY, "'%.40s' is no value for %s: a number from %g to %g", text,
		         kind->name, kind->least, kind->most);
		return false;
	}
	if (event->fault == FAULT_RATE && !config->ns_per_mib) {
		snprintf(why, EVENT_WHY, "rate is a share of --gbps, which was not given");
		return false;
	}
	return true;
}

bool event_parse(const struct shm_config *config, char *const *words, int count,
                 struct fault_event *event, char why[EVENT_WHY])
{
	const struct kind *kind;

	if (count < 1 || !find_kind(words[0], &event->fault)) {
		snprintf(why, EVENT_WHY,
		         "'%.40s' is no event: up, down, blackhole, rate, latency, error, kill, "
		         "pause, resume",
		         count ? words[0] : "");
		return false;
	}
	kind = &kinds[event->fault];
	if (count != 2 + kind->has_value) {
		snprintf(why, EVENT_WHY, "%s takes %s%s", kind->name,
		         kind->of_host ? "HOST" : "HOST:NIC", kind->has_value ? " VALUE" : "");
		return false;
	}
	snprintf(event->text, sizeof(event->text), "%s %.20s%s%.20s", words[0], words[1],
	         kind->has_value ? " " : "", kind->has_value ? words[2] : "");
	return parse_place(config, words[1], event, why) &&
	       (!kind->has_value || parse_value(config, words[2], event, why));
}

static void apply_to_nic(const struct shm_config *config, struct shm_nic *nic,
                         const struct fault_event *event)
{
	switch (event->fault) {
	case FAULT_UP:
		nic->state = NIC_UP;
		break;
	case FAULT_DOWN:
		nic->state = NIC_DOWN;
		break;
	case FAULT_BLACKHOLE:
		nic->state = NIC_BLACKHOLE;
		break;
	case FAULT_RATE:
		nic->ns_per_mib = (uint64_t)((double)config->ns_per_mib / event->value);
		break;
	case FAULT_LATENCY:
		nic->latency_ns = (uint64_t)(event->value * 1000);
		break;
	case FAULT_ERROR:
		nic->error_ppm = (uint32_t)(event->value * 10000);
		break;
	default:
		break;
	}
}

/* Whether some process of a host is in the midst of what others may wait for. */
static bool is_busy(const struct shm *shm, uint32_t host)
{
	for (uint32_t p = 0; p < MAX_PROCS; p++)
		if (shm->proc[p].state == SLOT_LIVE && shm->proc[p].host == host &&
		    shm->proc[p].busy && proc_is_alive(&shm->proc[p]))
			return true;
	return false;
}

static void signal_processes(const struct shm *shm, uint32_t host, int signal)
{
	for (uint32_t p = 0; p < MAX_PROCS; p++)
		if (shm->proc[p].state == SLOT_LIVE && shm->proc[p].host == host &&
		    proc_is_alive(&shm->proc[p]))
			kill(shm->proc[p].pid, signal);
}

static void apply_to_host(struct shm *shm, uint32_t host, enum fault fault)
{
	const struct timespec nap = {.tv_nsec = SETTLE_NAP};
	struct shm_host *h = &shm->host[host];

	switch (fault) {
	case FAULT_KILL:
		h->state = HOST_DEAD;
		signal_processes(shm, host, SIGKILL);
		break;
	case FAULT_PAUSE:
		if (h->state == HOST_DEAD) /* and stays so */
			break;
		h->state = HOST_PAUSED;
		for (int i = 0; i < SETTLE && is_busy(shm, host); i++)
			nanosleep(&nap, NULL);
		signal_processes(shm, host, SIGSTOP);
		break;
	case FAULT_RESUME:
		if (h->state == HOST_DEAD)
			break;
		h->state = HOST_UP;
		signal_processes(shm, host, SIGCONT);
		break;
	default:
		break;
	}
}

void event_apply(struct shm *shm, const struct fault_event *event)
{
	for (uint32_t h = 0; h < shm->config.hosts; h++) {
		if (event->host != ALL && event->host != h)
			continue;
		if (kinds[event->fault].of_host)
			apply_to_host(shm, h, event->fault);
		for (uint32_t n = 0; n < shm->config.nics && !kinds[event->fault].of_host; n++)
			if (event->nic == ALL || event->nic == n)
				apply_to_nic(&shm->config, &shm->host[h].nic[n], event);
	}
}

static int split(char *line, char *words[WORDS_MAX])
{
	char *save = NULL, *word;
	int n = 0;

	line[strcspn(line, "#\r\n")] = 0;
	for (word = strtok_r(line, " \t", &save); word && n < WORDS_MAX;
	     word = strtok_r(NULL, " \t", &save))
		words[n++] = word;
	return n;
}

/* 1: an event; 0: an empty line; -1: *why says what is wrong. */
static int parse_line(const struct shm_config *config, char *line, struct fault_event *event,
                      char why[EVENT_WHY])
{
	char *words[WORDS_MAX], *end;
	int n = split(line, words);
	double seconds;

	if (!n)
		return 0;
	seconds = strtod(words[0], &end);
	if (end == words[0] || *end || !isfinite(seconds) || seconds < 0 || seconds > 1e6) {
		snprintf(why, EVENT_WHY, "'%.40s' is no time in seconds", words[0]);
		return -1;
	}
	event->at = (uint64_t)(seconds * 1e9);
	return event_parse(config, words + 1, n - 1, event, why) ? 1 : -1;
}

/* Keeps the order of the file among those of one time. */
static bool insert(struct schedule *schedule, const struct fault_event *event)
{
	struct fault_event *events =
		realloc(schedule->events, (schedule->count + 1) * sizeof(*events));
	size_t at = schedule->count;

	if (!events)
		return false;
	schedule->events = events;
	for (; at && events[at - 1].at > event->at; at--)
		events[at] = events[at - 1];
	events[at] = *event;
	schedule->count++;
	return true;
}

/* A file or a pipe: /dev/zero is one endless line. */
static FILE *open_schedule(const char *path)
{
	FILE *f = fopen(path, "re");
	const char *why = strerror(errno);
	struct stat status = {.st_mode = 0};

	if (f && !fstat(fileno(f), &status) &&
	    (S_ISREG(status.st_mode) || S_ISFIFO(status.st_mode)))
		return f;
	if (f) {
		fclose(f);
		why = "not a file with lines of SECONDS EVENT HOST[:NIC] [VALUE]";
	}
	fprintf(stderr, "softefa: --schedule %s: %s\n", path, why);
	return NULL;
}

bool schedule_read(const struct shm_config *config, const char *path, struct schedule *out)
{
	char *line = NULL, why[EVENT_WHY];
	size_t room = 0;
	struct fault_event event;
	FILE *f = open_schedule(path);
	int n = 0, number = 0;

	*out = (struct schedule){.events = NULL};
	if (!f)
		return false;
	while (n >= 0 && getline(&line, &room, f) >= 0) {
		number++;
		n = parse_line(config, line, &event, why);
		if (n == 1 && !insert(out, &event)) {
			snprintf(why, EVENT_WHY, "no memory");
			n = -1;
		}
		if (n < 0) {
			fprintf(stderr, "softefa: %s:%d: %s\n", path, number, why);
			schedule_close(out);
		}
	}
	free(line);
	fclose(f);
	return n >= 0;
}

void schedule_close(struct schedule *schedule)
{
	free(schedule->events);
	*schedule = (struct schedule){.events = NULL};
}

uint64_t schedule_run(struct shm *shm, struct schedule *schedule, uint64_t now)
{
	const struct fault_event *event;

	for (; schedule->next < schedule->count; schedule->next++) {
		event = &schedule->events[schedule->next];
		if (event->at > now)
			return event->at;
		event_apply(shm, event);
		fprintf(stderr, "softefa: %.3f s: %s\n", (double)now / 1e9, event->text);
	}
	return UINT64_MAX;
}
