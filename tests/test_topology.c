/* SPDX-License-Identifier: MIT
 * Where devices sit, on machines that we do not have: hwloc reads them from files. */
#include "topology.h"
#include <kvrail.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))

static char logged[1024]; /* the last line */

static void keep_line(void *arg, int level, const char *line)
{
	(void)arg;
	(void)level;
	snprintf(logged, sizeof(logged), "%s", line);
}

static struct topology *open_file(const char *path)
{
	struct topology *topology;

	setenv("HWLOC_XMLFILE", path, 1);
	topology = topology_open();
	unsetenv("HWLOC_XMLFILE");
	return topology;
}

static struct topology *open_ours(const char *name)
{
	char path[1024];

	snprintf(path, sizeof(path), "%s/tests/topology/%s.xml", KVR_SOURCE_DIR, name);
	return open_file(path);
}

/* By name alone, and then by the address alone that this finds. */
static void expect_at(const struct topology *topology, const char *name, const char *pci, int node)
{
	char found[16] = "", given[16];

	assert_int_equal(topology_locate(topology, name, found, sizeof(found)), node);
	assert_string_equal(found, pci);
	strcpy(given, pci);
	assert_int_equal(topology_locate(topology, "", given, sizeof(given)), node);
	assert_string_equal(given, pci);
}

static void expect_unknown(const struct topology *topology, const char *name, const char *pci)
{
	char given[16];

	strcpy(given, pci);
	assert_int_equal(topology_locate(topology, name, given, sizeof(given)), -1);
	assert_string_equal(given, pci);
}

static void two_nodes(void **state)
{
	struct topology *topology = open_ours("two-nodes");

	(void)state;
	assert_non_null(topology);
	expect_at(topology, "rdmap17s0", "0000:11:00.0", 0);
	expect_at(topology, "enp18s0", "0000:12:00.1", 0);
	expect_at(topology, "rdmap161s28", "0001:a1:1c.0", 2);
	expect_at(topology, "rdmap162s0", "0001:a2:00.0", 2);
	topology_close(topology);
}

/* It is near no node, or near all. */
static void a_device_of_the_whole_machine(void **state)
{
	struct topology *topology = open_ours("two-nodes");

	(void)state;
	expect_at(topology, "eth0", "0000:01:00.0", -1);
	topology_close(topology);
}

static void the_address_counts_and_not_the_name(void **state)
{
	struct topology *topology = open_ours("two-nodes");
	char pci[16] = "0001:a2:00.0";

	(void)state;
	assert_int_equal(topology_locate(topology, "rdmap17s0", pci, sizeof(pci)), 2);
	expect_unknown(topology, "rdmap17s0", "0000:a2:00.0");
	topology_close(topology);
}

static void unknown_devices(void **state)
{
	static const char *const names[] = {"", "eth1", "rdmap17s", "rdmap17s00", "lo"};
	static const char *const addresses[] = {
		"0000:ff:1f.7", "0000:11:00.1", "0002:a1:1c.0", "nonsense", ":", "0000:11"};
	struct topology *topology = open_ours("two-nodes");

	(void)state;
	for (size_t i = 0; i < ARRAY(names); i++)
		expect_unknown(topology, names[i], "");
	for (size_t i = 0; i < ARRAY(addresses); i++)
		expect_unknown(topology, "", addresses[i]);
	topology_close(topology);
}

/* CPU 0 is at node 0, and the rest of the machine not even allowed; of one node, it is all. */
static void where_a_thread_is_bound(void **state)
{
	struct topology *other = open_ours("two-nodes"), *two, *one;
	cpu_set_t before, first;
	int rc;

	(void)state;
	setenv("HWLOC_THISSYSTEM", "1", 1);
	two = open_ours("two-nodes");
	one = open_ours("one-node");
	unsetenv("HWLOC_THISSYSTEM");
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	rc = sched_setaffinity(0, sizeof(first), &first);
	if (!rc) {
		assert_true(topology_is_here(two));
		assert_int_equal(topology_bound_nodes(two), 1);
		assert_int_equal(topology_bound_nodes(one), 0);
		assert_false(topology_is_here(other));
		assert_int_equal(topology_bound_nodes(other), 0);
		assert_int_equal(topology_bound_nodes(NULL), 0);
		sched_setaffinity(0, sizeof(before), &before);
	}
	topology_close(one);
	topology_close(two);
	topology_close(other);
	if (rc) {
		print_message("skipped: CPU 0 is not for us here\n");
		skip();
	}
}

/* The address that does not fit is cut, and nothing behind it written. */
static void a_short_buffer(void **state)
{
	struct topology *topology = open_ours("two-nodes");
	char pci[8] = "\0xxxxxx";

	(void)state;
	assert_int_equal(topology_locate(topology, "rdmap161s28", pci, 5), 2);
	assert_string_equal(pci, "0001");
	assert_memory_equal(pci + 5, "xx", 3);
	topology_close(topology);
}

static void one_node(void **state)
{
	struct topology *topology = open_ours("one-node");

	(void)state;
	assert_non_null(topology);
	expect_at(topology, "ens5", "0000:00:05.0", 0);
	topology_close(topology);
}

static void no_pci_bus(void **state)
{
	struct topology *topology = open_ours("no-pci");
	char pci[16] = "";

	(void)state;
	assert_non_null(topology);
	expect_unknown(topology, "", "0000:00:05.0");
	expect_unknown(topology, "ens5", "");
	/* Its node is that of the machine; there is no address to find. */
	assert_int_equal(topology_locate(topology, "eth0", pci, sizeof(pci)), 0);
	assert_string_equal(pci, "");
	topology_close(topology);
}

/* No topology, or this machine's: neither may know the devices of another. */
static void unreadable_files(void **state)
{
	static const char *const files[] = {"broken", "does-not-exist"};

	(void)state;
	/* Should it be this machine's: libpciaccess, which hwloc reads its bus with, leaks. */
	setenv("HWLOC_COMPONENTS", "-pci", 1);
	for (size_t i = 0; i < ARRAY(files); i++) {
		struct topology *topology;

		*logged = 0;
		topology = open_ours(files[i]);
		assert_non_null(strstr(logged, "HWLOC_XMLFILE is passed over"));
		expect_unknown(topology, "rdmap161s28", "");
		expect_unknown(topology, "", "0001:a1:1c.0");
		topology_close(topology);
	}
	unsetenv("HWLOC_COMPONENTS");
}

static void an_old_file(void **state)
{
	struct topology *topology;

	(void)state;
	topology = open_ours("hwloc1");
	assert_non_null(strstr(logged, "written by hwloc 1"));
	expect_at(topology, "rdmap32s1", "0000:20:01.0", 1);
	topology_close(topology);
	*logged = 0;
	topology_close(open_ours("one-node"));
	assert_string_equal(logged, "");
}

static void no_topology(void **state)
{
	(void)state;
	expect_unknown(NULL, "eth0", "");
	expect_unknown(NULL, "eth0", "0000:00:05.0");
	topology_close(NULL);
}

/* Copies an attribute's value out of a line of XML; whether it is there. */
static int attribute(const char *line, const char *name, char *out, size_t size)
{
	char key[32];
	const char *at;

	snprintf(key, sizeof(key), " %s=\"", name);
	at = strstr(line, key);
	if (!at)
		return 0;
	snprintf(out, size, "%.*s", (int)strcspn(at + strlen(key), "\""), at + strlen(key));
	return 1;
}

/* Node and address of a device stand in the file before it: read them without hwloc. */
static void a_real_machine(void **state)
{
	char line[4096], type[32], name[64], pci[64] = "", number[32];
	const char *shared = getenv("KVR_TEST_SHARED");
	struct topology *topology;
	int node = -1, devices = 0;
	char path[1024];
	FILE *file;

	(void)state;
	snprintf(path, sizeof(path), "%s/topology/p5en.48xl.xml",
	         shared ? shared : KVR_SOURCE_DIR "/../shared");
	file = fopen(path, "r");
	if (!file) {
		print_message("skipped: no %s (set KVR_TEST_SHARED)\n", path);
		skip();
	}
	topology = open_file(path);
	assert_non_null(topology);
	while (fgets(line, sizeof(line), file)) {
		attribute(line, "pci_busid", pci, sizeof(pci));
		if (!attribute(line, "type", type, sizeof(type)))
			continue;
		if (!strcmp(type, "NUMANode") &&
		    attribute(line, "os_index", number, sizeof(number)))
			node = atoi(number);
		if (strcmp(type, "OSDev") || !attribute(line, "name", name, sizeof(name)) ||
		    strncmp(name, "rdmap", 5))
			continue;
		expect_at(topology, name, pci, node);
		devices++;
	}
	fclose(file);
	assert_int_equal(devices, 16);
	expect_at(topology, "rdmap85s0", "0000:55:00.0", 0);
	expect_at(topology, "rdmap163s0", "0000:a3:00.0", 1);
	topology_close(topology);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_nodes),
		cmocka_unit_test(a_device_of_the_whole_machine),
		cmocka_unit_test(the_address_counts_and_not_the_name),
		cmocka_unit_test(unknown_devices),
		cmocka_unit_test(where_a_thread_is_bound),
		cmocka_unit_test(a_short_buffer),
		cmocka_unit_test(one_node),
		cmocka_unit_test(no_pci_bus),
		cmocka_unit_test(unreadable_files),
		cmocka_unit_test(an_old_file),
		cmocka_unit_test(no_topology),
		cmocka_unit_test(a_real_machine),
	};

	kvr_set_log(keep_line, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
