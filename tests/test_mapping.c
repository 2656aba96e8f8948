/* SPDX-License-Identifier: MIT
 * A mapping: written, edited, read; and what is said of wrong ones. */
#include "mapping.h"
#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ARRAY(a) (sizeof(a) / sizeof((a)[0]))

static char path[] = "/tmp/kvrail-mapping-XXXXXX";
static char why[512];
static struct affinity_map map;

/* Rails a, b and c; GPUs 0 and 1; NUMA nodes 0 and 4. */
static int set_up(void **state)
{
	(void)state;
	memset(&map, 0, sizeof(map));
	map.rails = 3;
	map.nodes = map.gpus = 2;
	map.node_number[1] = 4;
	for (unsigned int r = 0; r < 3; r++) {
		map.rail_name[r][0] = (char)('a' + r);
		map.to_node[0][r] = r ? DISTANCE_OTHER : DISTANCE_NODE;
		map.to_node[1][r] = DISTANCE_PACKAGE;
		map.to_gpu[0][r] = (unsigned char)(DISTANCE_SWITCH + r);
		map.to_gpu[1][r] = DISTANCE_UNKNOWN;
	}
	memset(why, '?', sizeof(why) - 1);
	return 0;
}

static void write_file(const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static int load(const char *text)
{
	write_file(text);
	return mapping_load(path, &map, why, sizeof(why));
}

static void there_and_back(void **state)
{
	struct affinity_map before = map;
	json_t *all = json_pack("{ss so}", "event", "info", "mapping", mapping_json(&map));
	char *text = json_dumps(all, 0);

	(void)state;
	memset(map.to_node, 0, sizeof(map.to_node));
	memset(map.to_gpu, 0, sizeof(map.to_gpu));
	map.nodes = map.gpus = map.node_number[1] = 0;
	assert_int_equal(load(text), 0);
	assert_string_equal(why, "");
	assert_int_equal(map.nodes, 2);
	assert_int_equal(map.gpus, 2);
	assert_int_equal(map.node_number[1], 4);
	for (unsigned int i = 0; i < 2; i++) {
		assert_memory_equal(map.to_node[i], before.to_node[i], 3);
		assert_memory_equal(map.to_gpu[i], before.to_gpu[i], 3);
	}
	free(text);
	json_decref(all);
}

static void edited(void **state)
{
	struct affinity a;

	(void)state;
	assert_int_equal(load("{\"gpu:2\": [{\"distance\": \"other\", \"rails\": [\"c\"]},"
	                      "{\"distance\": \"root\", \"rails\": [\"b\"]}],"
	                      "\"cpu:7\": [{\"distance\": \"node\", \"rails\": [\"a\"]}]}"),
	                 0);
	assert_non_null(strstr(why, "cpu:7 is memory that this machine is not known to have"));
	assert_int_equal(map.nodes, 3);
	assert_int_equal(map.node_number[2], 7);
	assert_int_equal(map.to_node[2][0], DISTANCE_NODE);
	assert_int_equal(map.gpus, 3);
	assert_int_equal(map.to_gpu[0][0], DISTANCE_UNKNOWN);
	assert_int_equal(affinity_order(&map, (struct affinity_place){2, -1},
	                                (struct affinity_share){0, 1}, &a),
	                 1);
	assert_int_equal(a.rails, 2);
	assert_int_equal(a.near, 1);
	assert_int_equal(a.rail[0], 1);
	assert_int_equal(a.rail[1], 2);
}

static struct affinity order_at(int node)
{
	struct affinity a;

	assert_int_equal(affinity_order(&map, (struct affinity_place){-1, node},
	                                (struct affinity_share){0, 1}, &a),
	                 1);
	return a;
}

/* Memory that the file does not have is still there; a byte order mark before it is no matter. */
static void left_out(void **state)
{
	struct affinity a;

	(void)state;
	assert_int_equal(load("\xef\xbb\xbf{\"cpu:4\": [{\"distance\": \"node\", \"rails\": "
	                      "[\"b\"]}, {\"distance\": \"other\", \"rails\": [\"a\", \"c\"]}]}"),
	                 0);
	assert_string_equal(why, "");
	assert_int_equal(map.nodes, 2);
	assert_int_equal(map.gpus, 2);
	a = order_at(4);
	assert_int_equal(a.near, 1);
	assert_int_equal(a.rail[0], 1);
	a = order_at(0);
	assert_int_equal(a.near, 3);
	assert_int_equal(map.to_gpu[0][0], DISTANCE_UNKNOWN);
	/* Where nothing is known of GPUs, the file may know them. */
	map.gpus = 0;
	assert_int_equal(load("{\"gpu:1\": [{\"distance\": \"root\", \"rails\": "
	                      "[\"b\", \"a\", \"c\"]}]}"),
	                 0);
	assert_string_equal(why, "");
	assert_int_equal(map.gpus, 2);
	assert_int_equal(map.to_gpu[0][0], DISTANCE_UNKNOWN);
	assert_int_equal(map.to_gpu[1][0], DISTANCE_ROOT);
}

static void doubts(void **state)
{
	(void)state;
	assert_int_equal(load("{\"gpu:0\": [{\"distance\": \"root\", \"rails\": [\"b\", \"a\"]}]}"),
	                 0);
	assert_non_null(strstr(why, "c is a rail here that the mapping does not have"));
	assert_int_equal(load("{\"gpu:0\": [{\"distance\": \"root\", \"rails\": "
	                      "[\"b\", \"a\", \"eth9\", \"c\"]}]}"),
	                 0);
	assert_non_null(strstr(why, "eth9 is no rail of this process"));
	assert_int_equal(load("{\"gpu:2\": [{\"distance\": \"root\", \"rails\": "
	                      "[\"b\", \"a\", \"c\"]}]}"),
	                 0);
	assert_non_null(strstr(why, "gpu:2 is memory that this machine is not known to have"));
}

static void wrong_files(void **state)
{
	static const struct {
		const char *text, *why;
	} files[] = {
		{"", "line 1"},
		{"{\n\n\"gpu:0\": [", "line 3"},
		{"[]", "no object"},
		{"{\"mapping\": 3}", "the mapping is no object"},
		{"{\"mapping\": {}}", "the mapping is empty"},
		{"{\"gpu0\": []}", "gpu0 is no memory"},
		{"{\"gpu:32\": []}", "gpu:32: at most"},
		{"{\"cpu:00\": []}", "cpu:00 is no memory"},
		{"{\"gpu:0\": {}}", "gpu:0 is no array"},
		{"{\"gpu:0\": []}", "gpu:0 names none"},
		{"{\"gpu:0\": [7]}", "gpu:0[0] is no object"},
		{"{\"cpu:0\": [{\"rails\": []}]}", "cpu:0[0].distance is none of"},
		{"{\"cpu:0\": [{\"distance\": \"never\", \"rails\": [\"a\"]}]}",
	         "cpu:0[0].distance is none of"},
		{"{\"cpu:0\": [{\"distance\": \"near\", \"rails\": [\"a\"]}]}",
	         "cpu:0[0].distance is none of"},
		{"{\"cpu:0\": [{\"distance\": \"node\"}]}", "cpu:0[0].rails is no array"},
		{"{\"cpu:0\": [{\"distance\": \"node\", \"rail\": [\"a\"]}]}",
	         "cpu:0[0].rail is not known"},
		{"{\"cpu:0\": [{\"distance\": \"node\", \"rails\": [\"a\", 1]}]}",
	         "cpu:0[0].rails[1] is no string"},
		{"{\"cpu:0\": [{\"distance\": \"node\", \"rails\": [\"a\"]},"
	         "{\"distance\": \"other\", \"rails\": [\"b\", \"a\"]}]}",
	         "cpu:0[1].rails[1]: a is there a second time"},
		{"{\"cpu:0\": [{\"distance\": \"node\", \"rails\": [\"x\"]}]}",
	         "cpu:0 names none of this process's rails"},
		{"{\"cpu:0\": [], \"cpu:0\": []}", "duplicate"},
	};
	struct affinity_map before = map;

	(void)state;
	for (size_t i = 0; i < ARRAY(files); i++) {
		assert_int_equal(load(files[i].text), -EINVAL);
		if (!strstr(why, files[i].why))
			fail_msg("%s: %s", files[i].text, why);
		assert_int_equal(strncmp(why, path, strlen(path)), 0);
		assert_memory_equal(&map, &before, sizeof(map));
	}
	assert_int_equal(mapping_load("/nowhere/at-all", &map, why, sizeof(why)), -ENOENT);
	assert_non_null(strstr(why, "/nowhere/at-all: No such file"));
	assert_int_equal(mapping_load("/", &map, why, sizeof(why)), -EISDIR);
	assert_string_equal(why, "/: Is a directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(there_and_back, set_up),
		cmocka_unit_test_setup(edited, set_up),
		cmocka_unit_test_setup(left_out, set_up),
		cmocka_unit_test_setup(doubts, set_up),
		cmocka_unit_test_setup(wrong_files, set_up),
	};
	int fd = mkstemp(path), rc;

	if (fd < 0) {
		perror(path);
		return 1;
	}
	close(fd);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return rc;
}
