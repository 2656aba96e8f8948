/* SPDX-License-Identifier: MIT
 * Every rail's distance to every memory as JSON that a person may edit. */
#include "mapping.h"
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* An array of one memory's rails, by distance. */
static json_t *groups_json(const struct affinity_map *map, const unsigned char *row)
{
	json_t *groups = json_array(), *rails;

	for (enum distance d = DISTANCE_SWITCH; d < DISTANCE_NEVER; d++) {
		rails = json_array();
		for (unsigned int r = 0; r < map->rails; r++)
			if (row[r] == d)
				json_array_append_new(rails, json_string(map->rail_name[r]));
		if (json_array_size(rails))
			json_array_append_new(groups, json_pack("{ss so}", "distance",
			                                        distance_name(d), "rails", rails));
		else
			json_decref(rails);
	}
	return groups;
}

json_t *mapping_json(const struct affinity_map *map)
{
	json_t *mapping = json_object();
	char place[32];

	for (unsigned int n = 0; n < map->nodes; n++) {
		snprintf(place, sizeof(place), "cpu:%d", map->node_number[n]);
		json_object_set_new(mapping, place, groups_json(map, map->to_node[n]));
	}
	for (unsigned int g = 0; g < map->gpus; g++) {
		snprintf(place, sizeof(place), "gpu:%u", g);
		json_object_set_new(mapping, place, groups_json(map, map->to_gpu[g]));
	}
	return mapping;
}

struct loading {
	const char *path;
	struct affinity_map *map;
	char *why;
	size_t why_len;
	const char *place;        /* the memory that is being read */
	unsigned int nodes, gpus; /* of the machine; the file's others come after them */
	unsigned int known;       /* bit: this process's rail is in the file */
	char strange[32];         /* a rail that is only in the file */
	char nowhere[32];         /* a memory that is only in the file */
};

static int fail(const struct loading *l, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static int fail(const struct loading *l, const char *format, ...)
{
	int used = snprintf(l->why, l->why_len, "%.120s: ", l->path);
	va_list args;

	va_start(args, format);
	if (used >= 0 && (size_t)used < l->why_len)
		vsnprintf(l->why + used, l->why_len - (size_t)used, format, args);
	va_end(args);
	return -EINVAL;
}

static int read_rail(struct loading *l, const char *field, json_t *value, enum distance distance,
                     unsigned char *row)
{
	const char *name = json_string_value(value);

	if (!name)
		return fail(l, "%s is no string", field);
	for (unsigned int r = 0; r < l->map->rails; r++) {
		if (strcmp(name, l->map->rail_name[r]))
			continue;
		if (row[r] != DISTANCE_NEVER)
			return fail(l, "%s: %.40s is there a second time", field, name);
		row[r] = (unsigned char)distance;
		l->known |= 1u << r;
		return 0;
	}
	snprintf(l->strange, sizeof(l->strange), "%.31s", name);
	return 0;
}

static int read_distance(const struct loading *l, const char *field, json_t *value,
                         enum distance *out)
{
	const char *name = json_string_value(value);

	for (enum distance d = DISTANCE_SWITCH; name && d < DISTANCE_NEVER; d++) {
		if (strcmp(name, distance_name(d)))
			continue;
		*out = d;
		return 0;
	}
	return fail(l, "%s.distance is none of switch, root, node, package, other, unknown", field);
}

static int check_keys(const struct loading *l, const char *field, json_t *group)
{
	const char *key;
	json_t *value;

	json_object_foreach(group, key, value) {
		if (strcmp(key, "distance") && strcmp(key, "rails"))
			return fail(l, "%s.%.40s is not known: it takes distance and rails", field,
			            key);
	}
	return 0;
}

static int read_group(struct loading *l, size_t index, json_t *group, unsigned char *row)
{
	char field[64], item[96];
	enum distance distance = DISTANCE_UNKNOWN;
	json_t *rails, *value;
	size_t i;
	int rc;

	snprintf(field, sizeof(field), "%.16s[%zu]", l->place, index);
	if (!json_is_object(group))
		return fail(l, "%s is no object", field);
	if ((rc = check_keys(l, field, group)) ||
	    (rc = read_distance(l, field, json_object_get(group, "distance"), &distance)))
		return rc;
	rails = json_object_get(group, "rails");
	if (!json_is_array(rails))
		return fail(l, "%s.rails is no array", field);
	json_array_foreach(rails, i, value) {
		snprintf(item, sizeof(item), "%s.rails[%zu]", field, i);
		rc = read_rail(l, item, value, distance, row);
		if (rc)
			return rc;
	}
	return 0;
}

/* The row of a memory, new where the machine does not have it. */
static unsigned char *row_of(struct affinity_map *map, struct affinity_place place)
{
	unsigned int n = 0;

	if (place.gpu >= AFFINITY_GPUS)
		return NULL;
	if (place.gpu >= 0) {
		if (map->gpus <= (unsigned int)place.gpu)
			map->gpus = (unsigned int)place.gpu + 1;
		return map->to_gpu[place.gpu];
	}
	while (n < map->nodes && map->node_number[n] != place.node)
		n++;
	if (n == AFFINITY_NODES)
		return NULL;
	map->node_number[n] = place.node;
	map->nodes += n == map->nodes;
	return map->to_node[n];
}

/* Whether a row is one of the machine's. Where none is, the file may well know more. */
static bool is_here(const struct loading *l, const unsigned char *row, struct affinity_place place)
{
	if (place.gpu >= 0)
		return !l->gpus || (unsigned int)place.gpu < l->gpus;
	return !l->nodes || (size_t)(row - l->map->to_node[0]) < l->nodes * KVR_MAX_RAILS;
}

static int read_place(struct loading *l, const char *name, json_t *groups)
{
	struct affinity_place place;
	unsigned char *row;
	json_t *group;
	size_t i;
	int rc;

	l->place = name;
	if (affinity_place_parse(name, &place))
		return fail(l, "%.40s is no memory: they are cpu:NODE and gpu:INDEX", name);
	if (!json_is_array(groups))
		return fail(l, "%s is no array", name);
	row = row_of(l->map, place);
	if (!row)
		return fail(l, "%.40s: at most %d NUMA nodes and %d GPUs", name, AFFINITY_NODES,
		            AFFINITY_GPUS);
	if (!is_here(l, row, place))
		snprintf(l->nowhere, sizeof(l->nowhere), "%.31s", name);
	memset(row, DISTANCE_NEVER, KVR_MAX_RAILS);
	json_array_foreach(groups, i, group) {
		rc = read_group(l, i, group, row);
		if (rc)
			return rc;
	}
	for (unsigned int r = 0; r < l->map->rails; r++)
		if (row[r] != DISTANCE_NEVER)
			return 0;
	return fail(l, "%s names none of this process's rails", name);
}

static void doubt(const struct loading *l)
{
	*l->why = 0;
	for (unsigned int r = 0; r < l->map->rails; r++) {
		if (l->known >> r & 1)
			continue;
		fail(l, "%s is a rail here that the mapping does not have: no memory in it uses it",
		     l->map->rail_name[r]);
		return;
	}
	if (*l->strange)
		fail(l, "%s is no rail of this process: it is passed over", l->strange);
	else if (*l->nowhere)
		fail(l, "%s is memory that this machine is not known to have", l->nowhere);
}

static int read_mapping(struct loading *l, json_t *root)
{
	json_t *mapping = json_object_get(root, "mapping"), *groups;
	const char *name;
	int rc;

	if (!mapping)
		mapping = root;
	if (!json_is_object(mapping))
		return fail(l, "the mapping is no object");
	if (!json_object_size(mapping))
		return fail(l, "the mapping is empty");
	l->nodes = l->map->nodes;
	l->gpus = l->map->gpus;
	/* For what the file does not have. */
	memset(l->map->to_node, DISTANCE_UNKNOWN, sizeof(l->map->to_node));
	memset(l->map->to_gpu, DISTANCE_UNKNOWN, sizeof(l->map->to_gpu));
	json_object_foreach(mapping, name, groups) {
		rc = read_place(l, name, groups);
		if (rc)
			return rc;
	}
	doubt(l);
	return 0;
}

/* Some editors begin a file with a mark of its encoding, which JSON does not have. */
static void skip_mark(FILE *file)
{
	static const char mark[] = "\xef\xbb\xbf";
	int c;

	for (const char *at = mark; *at; at++) {
		c = fgetc(file);
		if (c == (unsigned char)*at)
			continue;
		ungetc(c, file);
		return;
	}
}

/* NULL: rc and why say what is wrong with the file. */
static json_t *read_json(const struct loading *l, int *rc)
{
	FILE *file = fopen(l->path, "r");
	json_error_t error;
	json_t *root = NULL;

	if (file)
		skip_mark(file);
	if (!file || ferror(file)) {
		*rc = -errno;
		snprintf(l->why, l->why_len, "%.120s: %s", l->path, strerror(-*rc));
	} else {
		root = json_loadf(file, JSON_REJECT_DUPLICATES, &error);
		*rc = root ? 0 : fail(l, "line %d: %s", error.line, error.text);
	}
	if (file)
		fclose(file);
	return root;
}

int mapping_load(const char *path, struct affinity_map *map, char *why, size_t why_len)
{
	struct affinity_map copy = *map;
	struct loading l = {.path = path, .map = &copy, .why = why, .why_len = why_len};
	int rc;
	json_t *root = read_json(&l, &rc);

	if (!root)
		return rc;
	rc = read_mapping(&l, root);
	json_decref(root);
	if (!rc)
		*map = copy;
	return rc;
}
