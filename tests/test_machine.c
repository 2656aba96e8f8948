/* SPDX-License-Identifier: MIT
 * Which rails are near which memory, on machines that we do not have. */
#include "machine.h"
#include "topology.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))

static struct machine machine;

/* A memory, and the rails for it: "switch a b; other c". */
struct golden {
	const char *memory, *rails;
};

static void read_machine(const char *path)
{
	struct machine_rail rails[MACHINE_RAILS];
	char note[TOPOLOGY_NOTE];
	struct topology *topology = topology_read(path, note);

	assert_non_null(topology);
	machine_survey(topology, rails, machine_find_rails(topology, rails), &machine);
	topology_close(topology);
}

static const char *our_path(const char *name, char path[static 1024])
{
	snprintf(path, 1024, "%s/tests/topology/%s.xml", KVR_SOURCE_DIR, name);
	return path;
}

static void read_ours(const char *name)
{
	char path[1024];

	read_machine(our_path(name, path));
}

static void read_shared(const char *name)
{
	const char *shared = getenv("KVR_TEST_SHARED");
	char path[1024];

	snprintf(path, sizeof(path), "%s/topology/%s.xml",
	         shared ? shared : KVR_SOURCE_DIR "/../shared", name);
	if (access(path, R_OK)) {
		print_message("skipped: no %s (set KVR_TEST_SHARED)\n", path);
		skip();
	}
	read_machine(path);
}

static void order(const char *memory, struct affinity *out)
{
	struct affinity_place place;

	assert_int_equal(affinity_place_parse(memory, &place), 0);
	assert_int_equal(affinity_order(&machine.map, place, (struct affinity_share){0, 1}, out),
	                 1);
}

/* The first `count` rails, in words. */
static const char *in_words(const struct affinity *a, unsigned int count, char buf[static 2048])
{
	size_t used = 0;

	*buf = 0;
	for (unsigned int i = 0; i < count; i++) {
		if (!i || a->distance[i] != a->distance[i - 1])
			used += (size_t)snprintf(buf + used, 2048 - used, "%s%s", i ? "; " : "",
			                         distance_name(a->distance[i]));
		used += (size_t)snprintf(buf + used, 2048 - used, " %s",
		                         machine.map.rail_name[a->rail[i]]);
	}
	return buf;
}

static void expect_all(const struct golden *golden, size_t count)
{
	struct affinity a;
	char words[2048];

	for (size_t i = 0; i < count; i++) {
		order(golden[i].memory, &a);
		assert_int_equal(a.rails, machine.map.rails);
		assert_string_equal(in_words(&a, a.rails, words), golden[i].rails);
	}
}

static void expect_near(const struct golden *golden, size_t count)
{
	struct affinity a;
	char words[2048];

	for (size_t i = 0; i < count; i++) {
		order(golden[i].memory, &a);
		assert_string_equal(in_words(&a, a.near, words), golden[i].rails);
	}
}

static void expect_size(unsigned int nodes, unsigned int gpus, unsigned int rails)
{
	assert_int_equal(machine.map.nodes, nodes);
	assert_int_equal(machine.map.gpus, gpus);
	assert_int_equal(machine.map.rails, rails);
}

static void expect_device(const struct machine_device *device, const char *pci, const char *root,
                          const char *bridge, double link, double uplink)
{
	assert_string_equal(device->pci, pci);
	assert_string_equal(device->root, root);
	assert_string_equal(device->bridge, bridge);
	assert_float_equal(device->link, link, 0.01);
	assert_float_equal(device->uplink, uplink, 0.01);
}

/* Sub-NUMA clusters, a switch, a device of two functions, GPUs on no switch. */
static void clusters(void **state)
{
	static const struct golden golden[] = {
		{"cpu:0", "node rdmap20s0 rdmap21s0 rdmap22s0 rdmap48s1; package rdmap33s0 "
	                  "rdmap33s0f1; other rdmap64s1; unknown rdmap0s4"},
		{"cpu:1", "node rdmap33s0 rdmap33s0f1 rdmap48s1; package rdmap20s0 rdmap21s0 "
	                  "rdmap22s0; other rdmap64s1; unknown rdmap0s4"},
		{"cpu:2", "node rdmap64s1; other rdmap20s0 rdmap21s0 rdmap22s0 rdmap33s0 "
	                  "rdmap33s0f1 rdmap48s1; unknown rdmap0s4"},
		{"cpu:3", "package rdmap64s1; other rdmap20s0 rdmap21s0 rdmap22s0 rdmap33s0 "
	                  "rdmap33s0f1 rdmap48s1; unknown rdmap0s4"},
		{"gpu:0", "switch rdmap20s0 rdmap21s0; root rdmap22s0; node rdmap48s1; package "
	                  "rdmap33s0 rdmap33s0f1; other rdmap64s1; unknown rdmap0s4"},
		{"gpu:1", "root rdmap64s1; other rdmap20s0 rdmap21s0 rdmap22s0 rdmap33s0 "
	                  "rdmap33s0f1 rdmap48s1; unknown rdmap0s4"},
		{"gpu:2", "package rdmap64s1; other rdmap20s0 rdmap21s0 rdmap22s0 rdmap33s0 "
	                  "rdmap33s0f1 rdmap48s1; unknown rdmap0s4"},
	};

	(void)state;
	read_ours("clusters");
	expect_size(4, 3, 8);
	expect_all(golden, ARRAY(golden));
	expect_device(&machine.gpu[0], "0000:13:00.0", "0000:[10-16]", "0000:11:00.0", 63.02,
	              31.51);
	expect_device(&machine.rail[1], "0000:14:00.0", "0000:[10-16]", "0000:11:00.0", 31.51,
	              31.51);
	expect_device(&machine.rail[3], "0000:16:00.0", "0000:[10-16]", "", 31.51, 0);
	expect_device(&machine.rail[5], "0000:21:00.1", "0000:[20-21]", "", 31.51, 0);
	expect_device(&machine.gpu[1], "0001:40:02.0", "0001:[40-40]", "", 0, 0);
	assert_string_equal(machine.gpu[2].name, "GH100 [H200 three]");
	assert_int_equal(machine.node[1].package, 0);
	assert_int_equal(machine.node[2].package, 1);
	assert_int_equal(machine.node[3].bytes, 1 << 30);
}

static void two_nodes(void **state)
{
	static const struct golden golden[] = {
		{"cpu:0", "node rdmap17s0; other rdmap161s28 rdmap162s0"},
		{"cpu:2", "node rdmap161s28 rdmap162s0; other rdmap17s0"},
	};

	(void)state;
	read_ours("two-nodes");
	expect_size(2, 0, 3);
	expect_all(golden, ARRAY(golden));
}

/* All that a machine of one node knows is near. */
static void small_machines(void **state)
{
	(void)state;
	read_ours("one-node");
	expect_size(1, 0, 1);
	expect_all(&(struct golden){"cpu:0", "node ens5"}, 1);
	read_ours("no-pci");
	expect_size(1, 0, 1);
	expect_all(&(struct golden){"cpu:0", "node eth0"}, 1);
	expect_device(&machine.rail[0], "", "", "", 0, 0);
}

/* Near all of its package's nodes; in the order of their names, whose numbers count as such. */
static void one_package(void **state)
{
	static const struct golden golden[] = {
		{"cpu:0", "node mlx5_9 mlx5_10"},
		{"cpu:1", "node mlx5_9 mlx5_10"},
		{"gpu:0", "switch mlx5_10; root mlx5_9"},
	};
	char doubts[256];

	(void)state;
	read_ours("one-package");
	expect_size(2, 1, 2);
	expect_all(golden, ARRAY(golden));
	machine_doubts(&machine, doubts, sizeof(doubts));
	assert_string_equal(doubts, "");
	expect_device(&machine.rail[1], "0000:15:00.0", "0000:[10-17]", "0000:10:01.0", 63.02,
	              63.02);
}

static void p4d(void **state)
{
	static const struct golden golden[] = {
		{"gpu:0", "root rdmap16s27"},
		{"gpu:1", "root rdmap16s27"},
		{"gpu:2", "root rdmap32s27"},
		{"gpu:3", "root rdmap32s27"},
		{"gpu:4", "root rdmap144s27"},
		{"gpu:5", "root rdmap144s27"},
		{"gpu:6", "root rdmap160s27"},
		{"gpu:7", "root rdmap160s27"},
		{"cpu:0", "node rdmap16s27 rdmap32s27"},
		{"cpu:1", "node rdmap144s27 rdmap160s27"},
	};
	static const struct golden all[] = {
		{"gpu:3", "root rdmap32s27; node rdmap16s27; other rdmap144s27 rdmap160s27"},
		{"cpu:1", "node rdmap144s27 rdmap160s27; other rdmap16s27 rdmap32s27"},
	};

	(void)state;
	read_shared("p4d.24xl");
	expect_size(2, 8, 4);
	expect_near(golden, ARRAY(golden));
	expect_all(all, ARRAY(all));
	expect_device(&machine.gpu[5], "0000:90:1d.0", "0000:[90-90]", "", 31.51, 0);
}

static void p5(void **state)
{
	static const struct golden golden[] = {
		{"gpu:0", "switch rdmap79s0 rdmap80s0 rdmap81s0 rdmap82s0"},
		{"gpu:1", "switch rdmap96s0 rdmap97s0 rdmap98s0 rdmap99s0"},
		{"gpu:2", "switch rdmap113s0 rdmap114s0 rdmap115s0 rdmap116s0"},
		{"gpu:3", "switch rdmap130s0 rdmap131s0 rdmap132s0 rdmap133s0"},
		{"gpu:4", "switch rdmap147s0 rdmap148s0 rdmap149s0 rdmap150s0"},
		{"gpu:5", "switch rdmap164s0 rdmap165s0 rdmap166s0 rdmap167s0"},
		{"gpu:6", "switch rdmap181s0 rdmap182s0 rdmap183s0 rdmap184s0"},
		{"gpu:7", "switch rdmap198s0 rdmap199s0 rdmap200s0 rdmap201s0"},
		{"cpu:0", "node rdmap79s0 rdmap80s0 rdmap81s0 rdmap82s0 rdmap96s0 rdmap97s0 "
	                  "rdmap98s0 rdmap99s0 rdmap113s0 rdmap114s0 rdmap115s0 rdmap116s0 "
	                  "rdmap130s0 rdmap131s0 rdmap132s0 rdmap133s0"},
		{"cpu:1", "node rdmap147s0 rdmap148s0 rdmap149s0 rdmap150s0 rdmap164s0 rdmap165s0 "
	                  "rdmap166s0 rdmap167s0 rdmap181s0 rdmap182s0 rdmap183s0 rdmap184s0 "
	                  "rdmap198s0 rdmap199s0 rdmap200s0 rdmap201s0"},
	};

	(void)state;
	read_shared("p5.48xl");
	expect_size(2, 8, 32);
	expect_near(golden, ARRAY(golden));
	expect_device(&machine.rail[0], "0000:4f:00.0", "0000:[44-54]", "0000:45:00.0", 15.75,
	              15.75);
}

static void p5en(void **state)
{
	static const char *const quads[] = {
		"switch rdmap85s0 rdmap86s0 rdmap87s0 rdmap88s0",
		"switch rdmap110s0 rdmap111s0 rdmap112s0 rdmap113s0",
		"switch rdmap135s0 rdmap136s0 rdmap137s0 rdmap138s0",
		"switch rdmap160s0 rdmap161s0 rdmap162s0 rdmap163s0",
	};
	static const struct golden all[] = {
		{"cpu:0", "node rdmap85s0 rdmap86s0 rdmap87s0 rdmap88s0 rdmap110s0 rdmap111s0 "
	                  "rdmap112s0 rdmap113s0; other rdmap135s0 rdmap136s0 rdmap137s0 "
	                  "rdmap138s0 rdmap160s0 rdmap161s0 rdmap162s0 rdmap163s0"},
		{"cpu:1", "node rdmap135s0 rdmap136s0 rdmap137s0 rdmap138s0 rdmap160s0 rdmap161s0 "
	                  "rdmap162s0 rdmap163s0; other rdmap85s0 rdmap86s0 rdmap87s0 rdmap88s0 "
	                  "rdmap110s0 rdmap111s0 rdmap112s0 rdmap113s0"},
		{"gpu:6", "switch rdmap160s0 rdmap161s0 rdmap162s0 rdmap163s0; node rdmap135s0 "
	                  "rdmap136s0 rdmap137s0 rdmap138s0; other rdmap85s0 rdmap86s0 rdmap87s0 "
	                  "rdmap88s0 rdmap110s0 rdmap111s0 rdmap112s0 rdmap113s0"},
	};
	char memory[16];

	(void)state;
	read_shared("p5en.48xl");
	expect_size(2, 8, 16);
	for (int gpu = 0; gpu < 8; gpu++) {
		snprintf(memory, sizeof(memory), "gpu:%d", gpu);
		expect_near(&(struct golden){memory, quads[gpu / 2]}, 1);
	}
	expect_all(all, ARRAY(all));
	expect_device(&machine.rail[0], "0000:55:00.0", "0000:[44-5c]", "0000:45:00.0", 31.51,
	              63.02);
	expect_device(&machine.gpu[7], "0000:a5:00.0", "0000:[8f-a7]", "0000:90:00.0", 63.02,
	              63.02);
}

static void survey_as(const char *name, const struct machine_rail *rails, unsigned int count)
{
	char path[1024], note[TOPOLOGY_NOTE];
	struct topology *topology = topology_read(our_path(name, path), note);

	assert_non_null(topology);
	machine_survey(topology, rails, count, &machine);
	topology_close(topology);
}

/* Rails of one machine, the file of another: one is unknown by name, one by address, and where the
 * third one's address is, there is a GPU. */
static void rails_of_another_machine(void **state)
{
	static const struct machine_rail rails[] = {
		{"rdmap85s0", ""}, {"rdmap20s0", "0000:55:00.0"}, {"rdmap19s0", "0000:13:00.0"}};
	char doubts[256];

	(void)state;
	survey_as("clusters", rails, 3);
	expect_size(4, 3, 3);
	expect_all(
		(struct golden[]){
			{"cpu:2", "unknown rdmap85s0 rdmap20s0 rdmap19s0"},
			{"gpu:0", "unknown rdmap85s0 rdmap20s0 rdmap19s0"},
		},
		2);
	assert_string_equal(machine.rail[2].pci, "0000:13:00.0");
	machine_doubts(&machine, doubts, sizeof(doubts));
	assert_non_null(strstr(doubts, "none of the 3 rails (rdmap85s0)"));
}

static void some_rails_unknown(void **state)
{
	static const struct machine_rail rails[] = {
		{"rdmap162s0", ""}, {"eth7", ""}, {"strange", "0001:a1:1c.0"}};
	char doubts[256];

	(void)state;
	survey_as("two-nodes", rails, 3);
	expect_all((struct golden[]){{"cpu:0", "other rdmap162s0 strange; unknown eth7"},
	                             {"cpu:2", "node rdmap162s0 strange; unknown eth7"}},
	           2);
	assert_string_equal(machine.rail[0].pci, "0001:a2:00.0");
	machine_doubts(&machine, doubts, sizeof(doubts));
	assert_non_null(strstr(doubts, "for 1 of 3 rails (first eth7)"));
	survey_as("two-nodes", rails, 1);
	machine_doubts(&machine, doubts, sizeof(doubts));
	assert_string_equal(doubts, "");
}

static void no_topology(void **state)
{
	static const struct machine_rail rails[] = {{"eth0", ""}, {"eth1", "0000:00:05.0"}};
	struct machine_rail found[MACHINE_RAILS];
	struct affinity a;

	(void)state;
	machine_survey(NULL, rails, 2, &machine);
	expect_size(0, 0, 2);
	assert_int_equal(machine_find_rails(NULL, found), 0);
	assert_int_equal(affinity_order(&machine.map, (struct affinity_place){-1, 0},
	                                (struct affinity_share){0, 1}, &a),
	                 0);
	assert_int_equal(a.rails, 2);
	assert_int_equal(a.near, 2);
}

/* Old files are read, and said to be old; others are said what is wrong with them. */
static void doubtful_files(void **state)
{
	static const struct {
		const char *name, *note;
		int opens;
	} files[] = {
		{"two-nodes", "", 1},           {"hwloc1", "written by hwloc 1", 1},
		{"hwloc9", "newer hwloc", 0},   {"broken", "truncated", 0},
		{"missing", "No such file", 0},
	};
	char path[1024], note[TOPOLOGY_NOTE];
	struct topology *topology;

	(void)state;
	for (size_t i = 0; i < ARRAY(files); i++) {
		topology = topology_read(our_path(files[i].name, path), note);
		assert_int_equal(!!topology, files[i].opens);
		assert_non_null(strstr(note, files[i].note));
		assert_int_equal(!!*note, !!*files[i].note);
		topology_close(topology);
	}
	assert_null(topology_read(KVR_SOURCE_DIR "/README.md", note));
	assert_non_null(strstr(note, "not written by hwloc"));
	assert_null(topology_read(KVR_SOURCE_DIR, note));
	assert_non_null(strstr(note, "Is a directory"));
	assert_null(topology_read("/dev/null", note));
	assert_non_null(strstr(note, "is empty"));
	read_ours("hwloc1");
	expect_all((struct golden[]){{"cpu:0", "node rdmap16s1; other rdmap32s1"},
	                             {"cpu:1", "node rdmap32s1; other rdmap16s1"}},
	           2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clusters),
		cmocka_unit_test(two_nodes),
		cmocka_unit_test(small_machines),
		cmocka_unit_test(one_package),
		cmocka_unit_test(p4d),
		cmocka_unit_test(p5),
		cmocka_unit_test(p5en),
		cmocka_unit_test(rails_of_another_machine),
		cmocka_unit_test(some_rails_unknown),
		cmocka_unit_test(no_topology),
		cmocka_unit_test(doubtful_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
