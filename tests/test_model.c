/* SPDX-License-Identifier: MIT
 * Geometries: the built-in ones against figures from elsewhere, config.json good and bad. */
#include "model.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct {
	const char *name;
	uint64_t bytes_per_token, head_bytes;
} expected[] = {
	{"qwen2.5-0.5b", 12288, 128},   {"llama-3.2-1b", 32768, 128}, {"llama-3.1-8b", 131072, 256},
	{"llama-3.1-70b", 327680, 256}, {"mistral-7b", 131072, 256},  {"qwen3-32b", 262144, 256},
	{"gpt-oss-120b", 73728, 128},   {"deepseek-v3", 70272, 1152},
};

#define EXPECTED (sizeof(expected) / sizeof(expected[0]))

static char why[512];

/* model_find on a file with this text; *path says what it was called. */
static int find_text(const char *text, struct model *out, char path[static 64])
{
	int fd, rc;

	snprintf(path, 64, "/tmp/kvrail_model_XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	memset(why, 0, sizeof(why));
	rc = model_find(path, out, why, sizeof(why));
	unlink(path);
	return rc;
}

static struct model good(const char *text)
{
	struct model model;
	char path[64];

	if (find_text(text, &model, path))
		fail_msg("%s", why);
	assert_string_equal(model.name, path);
	assert_non_null(model.source);
	return model;
}

/* The message must be one line that names the file and both words. */
static void bad(const char *text, const char *word, const char *other_word)
{
	struct model model, untouched;
	char path[64];

	memset(&model, 0x5a, sizeof(model));
	memcpy(&untouched, &model, sizeof(model));
	assert_int_equal(find_text(text, &model, path), -EINVAL);
	assert_memory_equal(&model, &untouched, sizeof(model));
	if (!strstr(why, path) || !strstr(why, word) || !strstr(why, other_word) ||
	    strchr(why, '\n'))
		fail_msg("for %s the message is: %s", text, why);
}

static void builtins_have_published_sizes(void **state)
{
	const struct model *builtin;
	struct model model;
	size_t i;

	(void)state;
	for (i = 0; i < EXPECTED; i++) {
		assert_int_equal(model_find(expected[i].name, &model, why, sizeof(why)), 0);
		assert_int_equal(model_bytes_per_token(&model), expected[i].bytes_per_token);
		assert_int_equal(model_head_bytes(&model), expected[i].head_bytes);
	}
	for (i = 0; (builtin = model_builtin(i)); i++) {
		assert_non_null(strstr(builtin->source, "config.json"));
		assert_int_equal(model_find(builtin->name, &model, why, sizeof(why)), 0);
		assert_memory_equal(&model, builtin, sizeof(model));
	}
	assert_int_equal(i, EXPECTED);
	assert_null(model_builtin(i + 1));
}

static void builtin_names_ignore_case(void **state)
{
	struct model model;

	(void)state;
	assert_int_equal(model_find("Llama-3.1-8B", &model, why, sizeof(why)), 0);
	assert_string_equal(model.name, "llama-3.1-8b");
}

static void latent_attention_has_one_part(void **state)
{
	struct model model = good("{\"num_hidden_layers\": 61, \"num_attention_heads\": 128, "
	                          "\"num_key_value_heads\": 128, \"hidden_size\": 7168, "
	                          "\"kv_lora_rank\": 512, \"qk_rope_head_dim\": 64, "
	                          "\"torch_dtype\": \"bfloat16\"}");

	(void)state;
	assert_int_equal(model.parts, 1);
	assert_int_equal(model.heads, 1);
	assert_int_equal(model_bytes_per_token(&model), 70272);
}

static void grouped_heads(void **state)
{
	struct model model =
		good("{\"num_hidden_layers\": 24, \"num_attention_heads\": 14, "
	             "\"num_key_value_heads\": 2, \"hidden_size\": 896, \"head_dim\": null, "
	             "\"torch_dtype\": \"bfloat16\"}");

	(void)state;
	assert_int_equal(model.parts, 2);
	assert_int_equal(model.head_dim, 64);
	assert_int_equal(model_bytes_per_token(&model), 12288);
}

static void defaults_of_absent_fields(void **state)
{
	struct model model = good("{\"num_hidden_layers\": 2, \"num_attention_heads\": 4, "
	                          "\"num_key_value_heads\": null, \"hidden_size\": 256}");

	(void)state;
	assert_int_equal(model.heads, 4);
	assert_int_equal(model.head_dim, 64);
	assert_int_equal(model.element_bytes, 2);
}

static void element_sizes(void **state)
{
	static const struct {
		const char *field;
		uint32_t bytes;
	} types[] = {
		{"\"torch_dtype\": \"float32\"", 4}, {"\"torch_dtype\": \"float16\"", 2},
		{"\"dtype\": \"bfloat16\"", 2},      {"\"dtype\": \"float8_e4m3fn\"", 1},
		{"\"torch_dtype\": \"float8\"", 1},  {"\"torch_dtype\": null", 2},
	};
	char text[256];

	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		snprintf(text, sizeof(text),
		         "{\"num_hidden_layers\": 1, \"num_key_value_heads\": 1, \"head_dim\": 8, "
		         "%s}",
		         types[i].field);
		assert_int_equal(good(text).element_bytes, types[i].bytes);
	}
}

static void multimodal_config_nests_the_text_model(void **state)
{
	struct model model = good("{\"dtype\": \"float32\", \"vision_config\": {\"head_dim\": 1}, "
	                          "\"text_config\": {\"num_hidden_layers\": 3, "
	                          "\"num_key_value_heads\": 5, \"head_dim\": 7}}");

	(void)state;
	assert_int_equal(model.layers, 3);
	assert_int_equal(model.heads, 5);
	assert_int_equal(model.head_dim, 7);
	assert_int_equal(model.element_bytes, 4);
}

static void a_bad_field_is_named(void **state)
{
#define REST ", \"num_key_value_heads\": 2, \"head_dim\": 64}"
	(void)state;
	bad("{\"head_dim\": 64}", "num_hidden_layers", "missing");
	bad("{\"text_config\": {\"head_dim\": 64}}", "num_hidden_layers", "missing");
	bad("{\"num_hidden_layers\": 0" REST, "num_hidden_layers", "is 0");
	bad("{\"num_hidden_layers\": -3" REST, "num_hidden_layers", "is -3");
	bad("{\"num_hidden_layers\": 1000000" REST, "num_hidden_layers", "is 1000000");
	bad("{\"num_hidden_layers\": 4294967297" REST, "num_hidden_layers", "is 4294967297");
	bad("{\"num_hidden_layers\": 2.5" REST, "num_hidden_layers", "whole number");
	bad("{\"num_hidden_layers\": \"24\"" REST, "num_hidden_layers", "whole number");
	bad("{\"num_hidden_layers\": 1, \"head_dim\": 64}", "num_attention_heads", "missing");
	bad("{\"num_hidden_layers\": 1, \"num_key_value_heads\": 0, \"head_dim\": 64}",
	    "num_key_value_heads", "is 0");
	bad("{\"num_hidden_layers\": 1, \"num_key_value_heads\": 2, \"head_dim\": -64}", "head_dim",
	    "is -64");
	bad("{\"num_hidden_layers\": 1, \"num_key_value_heads\": 2}", "hidden_size", "missing");
	bad("{\"num_hidden_layers\": 1, \"num_key_value_heads\": 2, \"hidden_size\": 897, "
	    "\"num_attention_heads\": 14}",
	    "hidden_size 897", "add head_dim");
	bad("{\"num_hidden_layers\": 1, \"kv_lora_rank\": 512}", "qk_rope_head_dim", "missing");
	bad("{\"num_hidden_layers\": 1, \"kv_lora_rank\": true}", "kv_lora_rank", "whole number");
	bad("{\"num_hidden_layers\": 1, \"torch_dtype\": \"int3\"" REST, "torch_dtype", "int3");
	bad("{\"num_hidden_layers\": 1, \"dtype\": 16" REST, "dtype", "no string");
#undef REST
}

static void a_bad_file_is_named(void **state)
{
	(void)state;
	bad("", "config.json", "line");
	bad("{\"num_hidden_layers\": 1,\n\n \"head_\n", "line 3", "config.json");
	bad("[1, 2]", "not a JSON object", "config.json");
	bad("{\"num_hidden_layers\": 99999999999999999999}", "line 1", "too big");
}

static void what_is_no_file_is_refused(void **state)
{
	struct model model;

	(void)state;
	assert_int_equal(model_find("/tmp", &model, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "/tmp"));
	assert_non_null(strstr(why, "directory"));
	assert_int_equal(model_find("/dev/zero", &model, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "/dev/zero"));
	assert_int_equal(model_find("/dev/null/config.json", &model, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "/dev/null/config.json"));
}

static void an_unknown_name_gets_the_known_ones(void **state)
{
	struct model model;
	char short_why[20];

	(void)state;
	assert_int_equal(model_find("llama-9", &model, why, sizeof(why)), -ENOENT);
	assert_non_null(strstr(why, "llama-9"));
	for (size_t i = 0; i < EXPECTED; i++)
		assert_non_null(strstr(why, expected[i].name));
	assert_int_equal(model_find("llama-9", &model, short_why, sizeof(short_why)), -ENOENT);
	assert_int_equal(strlen(short_why), sizeof(short_why) - 1);
	assert_int_equal(model_find("llama-9", &model, NULL, 0), -ENOENT);
}

static void a_long_path_keeps_its_end(void **state)
{
	char path[256], text[] = "{\"num_hidden_layers\":1,\"num_key_value_heads\":1,"
				 "\"head_dim\":1}";
	char directory[] = "/tmp/kvrail_model_XXXXXX";
	struct model model;
	FILE *file;

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/%0100d.json", directory, 7);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(model_find(path, &model, why, sizeof(why)), 0);
	assert_int_equal(strlen(model.name), sizeof(model.name) - 1);
	assert_non_null(strstr(model.name, "7.json"));
	unlink(path);
	rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(builtins_have_published_sizes),
		cmocka_unit_test(builtin_names_ignore_case),
		cmocka_unit_test(latent_attention_has_one_part),
		cmocka_unit_test(grouped_heads),
		cmocka_unit_test(defaults_of_absent_fields),
		cmocka_unit_test(element_sizes),
		cmocka_unit_test(multimodal_config_nests_the_text_model),
		cmocka_unit_test(a_bad_field_is_named),
		cmocka_unit_test(a_bad_file_is_named),
		cmocka_unit_test(what_is_no_file_is_refused),
		cmocka_unit_test(an_unknown_name_gets_the_known_ones),
		cmocka_unit_test(a_long_path_keeps_its_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
