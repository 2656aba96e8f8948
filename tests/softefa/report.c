/* SPDX-License-Identifier: MIT
 * What the NICs have counted. */
#include "report.h"
#include <jansson.h>

struct totals {
	uint64_t sent, received, sends, reads, writes, failed, rnr, arrivals, reordered, overflows;
};

static void add(struct totals *sum, const struct shm_nic *nic)
{
	sum->sent += nic->tx.bytes;
	sum->received += nic->rx.bytes;
	sum->sends += nic->sends;
	sum->reads += nic->reads;
	sum->writes += nic->writes;
	sum->failed += nic->failed;
	sum->rnr += nic->rnr;
	sum->arrivals += nic->arrivals;
	sum->reordered += nic->reordered;
	sum->overflows += nic->overflows;
}

static bool is_used(const struct totals *t)
{
	return t->sent || t->received || t->sends || t->arrivals || t->failed;
}

static double share(const struct totals *t)
{
	return t->arrivals ? 100.0 * (double)t->reordered / (double)t->arrivals : 0;
}

static void print_row(FILE *out, const char *host, const char *name, const struct totals *t)
{
	fprintf(out, "%-5s %-14s %13llu %13llu %9llu %9llu %9llu %9llu %8.1f%% %8llu %8llu %8llu\n",
	        host, name, (unsigned long long)t->sent, (unsigned long long)t->received,
	        (unsigned long long)t->sends, (unsigned long long)t->reads,
	        (unsigned long long)t->writes, (unsigned long long)t->arrivals, share(t),
	        (unsigned long long)t->failed, (unsigned long long)t->rnr,
	        (unsigned long long)t->overflows);
}

void report_table(const struct shm *shm, FILE *out)
{
	struct totals all = {0};
	char host[16];

	fprintf(out, "softefa: what the emulated NICs have counted; no figure of EFA\n");
	fprintf(out, "%-5s %-14s %13s %13s %9s %9s %9s %9s %9s %8s %8s %8s\n", "host", "nic",
	        "bytes sent", "received", "sends", "reads", "writes", "arrivals", "reordered",
	        "failed", "rnr", "overflow");
	for (uint32_t h = 0; h < shm->config.hosts; h++) {
		for (uint32_t n = 0; n < shm->config.nics; n++) {
			struct totals one = {0};

			add(&one, &shm->host[h].nic[n]);
			add(&all, &shm->host[h].nic[n]);
			snprintf(host, sizeof(host), "%u", h);
			if (is_used(&one))
				print_row(out, host, shm->config.name[n], &one);
		}
	}
	print_row(out, "all", "", &all);
}

static json_t *numbers(const struct totals *t)
{
	return json_pack("{sI sI sI sI sI sI sI sI sI sI}", "bytes_sent", (json_int_t)t->sent,
	                 "bytes_received", (json_int_t)t->received, "sends", (json_int_t)t->sends,
	                 "reads", (json_int_t)t->reads, "writes", (json_int_t)t->writes, "arrivals",
	                 (json_int_t)t->arrivals, "reordered", (json_int_t)t->reordered, "failed",
	                 (json_int_t)t->failed, "rnr", (json_int_t)t->rnr, "overflows",
	                 (json_int_t)t->overflows);
}

static json_t *describe_nic(const struct shm *shm, uint32_t h, uint32_t n)
{
	static const char *const states[] = {
		[NIC_UP] = "up", [NIC_DOWN] = "down", [NIC_BLACKHOLE] = "blackhole"};
	const struct shm_nic *nic = &shm->host[h].nic[n];
	struct totals one = {0};
	json_t *object;

	add(&one, nic);
	object =
		json_pack("{si ss ss ss sI sf sf}", "host", (int)h, "name", shm->config.name[n],
	                  "pci", shm->config.pci[n], "state", states[nic->state % 3], "ns_per_mib",
	                  (json_int_t)nic->ns_per_mib, "latency_us", (double)nic->latency_ns / 1000,
	                  "error_percent", (double)nic->error_ppm / 10000);
	json_object_update_new(object, numbers(&one));
	return object;
}

int report_json(const struct shm *shm, FILE *out)
{
	json_t *nics = json_array(), *object;
	struct totals all = {0};
	int rc;

	for (uint32_t h = 0; h < shm->config.hosts; h++) {
		for (uint32_t n = 0; n < shm->config.nics; n++) {
			add(&all, &shm->host[h].nic[n]);
			json_array_append_new(nics, describe_nic(shm, h, n));
		}
	}
	object = json_pack("{ss so so}", "event", "softefa", "all", numbers(&all), "nics", nics);
	rc = json_dumpf(object, out, JSON_COMPACT | JSON_REAL_PRECISION(9));
	json_decref(object);
	return rc || fputc('\n', out) == EOF ? -1 : 0;
}
