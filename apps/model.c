/* SPDX-License-Identifier: MIT
 * Geometry of a model's KV cache: a table of known ones, and Hugging Face's config.json. */
#include "model.h"
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* Far beyond any published model, and small enough that bytes per token stay below 2^44. */
#define LAYERS_MAX   4096
#define HEADS_MAX    4096
#define HEAD_DIM_MAX 65536
#define HIDDEN_MAX   (1 << 24)

static const struct model builtins[] = {
	{"qwen2.5-0.5b", 24, 2, 2, 64, 2,
         "Qwen/Qwen2.5-0.5B config.json: num_hidden_layers 24, num_key_value_heads 2, "
         "hidden_size 896 / 14 heads"},
	{"llama-3.2-1b", 16, 2, 8, 64, 2,
         "meta-llama/Llama-3.2-1B config.json: num_hidden_layers 16, num_key_value_heads 8, "
         "head_dim 64"},
	{"llama-3.1-8b", 32, 2, 8, 128, 2,
         "meta-llama/Llama-3.1-8B config.json: num_hidden_layers 32, num_key_value_heads 8, "
         "hidden_size 4096 / 32 heads"},
	{"llama-3.1-70b", 80, 2, 8, 128, 2,
         "meta-llama/Llama-3.1-70B config.json: num_hidden_layers 80, num_key_value_heads 8, "
         "hidden_size 8192 / 64 heads"},
	{"mistral-7b", 32, 2, 8, 128, 2,
         "mistralai/Mistral-7B-v0.1 config.json: num_hidden_layers 32, num_key_value_heads 8, "
         "hidden_size 4096 / 32 heads; the sliding window does not shorten the cache here"},
	{"qwen3-32b", 64, 2, 8, 128, 2,
         "Qwen/Qwen3-32B config.json: num_hidden_layers 64, num_key_value_heads 8, head_dim 128"},
	{"gpt-oss-120b", 36, 2, 8, 64, 2,
         "openai/gpt-oss-120b config.json: num_hidden_layers 36, num_key_value_heads 8, "
         "head_dim 64; its sliding-window layers are counted in full"},
	{"deepseek-v3", 61, 1, 1, 576, 2,
         "deepseek-ai/DeepSeek-V3 config.json: num_hidden_layers 61, kv_lora_rank 512 + "
         "qk_rope_head_dim 64; cached as bfloat16"},
};

#define BUILTINS (sizeof(builtins) / sizeof(builtins[0]))

static const char source_heads[] = "the file's num_hidden_layers, num_key_value_heads and head_dim";
static const char source_latent[] =
	"the file's num_hidden_layers, kv_lora_rank and qk_rope_head_dim";

/* What is being read: `text` is the part of the file about the language model. */
struct config {
	const char *path;
	const json_t *root, *text;
	char *why;
	size_t why_len;
};

const struct model *model_builtin(size_t index)
{
	return index < BUILTINS ? &builtins[index] : NULL;
}

__attribute__((format(printf, 2, 3))) static int bad_config(const struct config *config,
                                                            const char *format, ...)
{
	char what[320];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	/* A parser quotes what it stumbled over, line ends included. */
	for (char *c = what; *c; c++)
		if ((unsigned char)*c < ' ')
			*c = ' ';
	snprintf(config->why, config->why_len, "%s: %s", config->path, what);
	return -EINVAL;
}

/* A field that is null is one that is absent: configs written by transformers have both. */
static const json_t *field(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);

	return json_is_null(value) ? NULL : value;
}

static int whole_number(const struct config *config, const char *name, uint32_t max, uint32_t *out)
{
	const json_t *value = field(config->text, name);

	if (!value)
		return bad_config(config, "%s is missing: is this a language model's config.json?",
		                  name);
	if (!json_is_integer(value))
		return bad_config(config, "%s must be a whole number from 1 to %u", name, max);
	if (json_integer_value(value) < 1 || json_integer_value(value) > max)
		return bad_config(config, "%s is %" JSON_INTEGER_FORMAT ": must be from 1 to %u",
		                  name, json_integer_value(value), max);
	*out = (uint32_t)json_integer_value(value);
	return 0;
}

static int kv_heads(const struct config *config, struct model *model)
{
	const char *name = "num_key_value_heads";

	/* Without it every attention head has a K and a V of its own. */
	if (!field(config->text, name))
		name = "num_attention_heads";
	return whole_number(config, name, HEADS_MAX, &model->heads);
}

static int head_dim(const struct config *config, struct model *model)
{
	uint32_t hidden, heads;
	int rc;

	if (field(config->text, "head_dim"))
		return whole_number(config, "head_dim", HEAD_DIM_MAX, &model->head_dim);
	rc = whole_number(config, "hidden_size", HIDDEN_MAX, &hidden);
	if (rc)
		return rc;
	rc = whole_number(config, "num_attention_heads", HEADS_MAX, &heads);
	if (rc)
		return rc;
	if (hidden % heads || hidden / heads > HEAD_DIM_MAX)
		return bad_config(config,
		                  "hidden_size %u over num_attention_heads %u is no head size: add "
		                  "head_dim",
		                  hidden, heads);
	model->head_dim = hidden / heads;
	return 0;
}

/* Multi-head latent attention: one vector per token and layer, shared by all heads. */
static int latent(const struct config *config, struct model *model)
{
	uint32_t rank, rope;
	int rc;

	rc = whole_number(config, "kv_lora_rank", HEAD_DIM_MAX / 2, &rank);
	if (rc)
		return rc;
	rc = whole_number(config, "qk_rope_head_dim", HEAD_DIM_MAX / 2, &rope);
	if (rc)
		return rc;
	model->parts = 1;
	model->heads = 1;
	model->head_dim = rank + rope;
	model->source = source_latent;
	return 0;
}

/* Older configs say torch_dtype, newer ones dtype; multimodal ones often at the top only. */
static const json_t *element_type(const struct config *config)
{
	static const char *const names[] = {"torch_dtype", "dtype"};
	const json_t *objects[] = {config->text, config->root};

	for (size_t i = 0; i < 2; i++)
		for (size_t j = 0; j < 2; j++)
			if (field(objects[i], names[j]))
				return field(objects[i], names[j]);
	return NULL;
}

static int element_bytes(const struct config *config, struct model *model)
{
	const json_t *value = element_type(config);
	const char *type = json_string_value(value);

	if (!value || (type && (!strcmp(type, "bfloat16") || !strcmp(type, "float16"))))
		model->element_bytes = 2;
	else if (type && !strcmp(type, "float32"))
		model->element_bytes = 4;
	else if (type && !strncmp(type, "float8", 6))
		model->element_bytes = 1;
	else
		return bad_config(config,
		                  "torch_dtype (or dtype) \"%s\" is unknown: known are float32, "
		                  "bfloat16, float16 and float8*",
		                  type ? type : "that is no string");
	return 0;
}

static int geometry(const struct config *config, struct model *model)
{
	int rc;

	model->parts = 2;
	model->source = source_heads;
	rc = whole_number(config, "num_hidden_layers", LAYERS_MAX, &model->layers);
	if (!rc)
		rc = element_bytes(config, model);
	if (rc)
		return rc;
	if (field(config->text, "kv_lora_rank"))
		return latent(config, model);
	rc = kv_heads(config, model);
	return rc ? rc : head_dim(config, model);
}

/* The end of a long path says more than its beginning. */
static void set_name(struct model *model, const char *path)
{
	size_t length = strlen(path);

	if (length >= sizeof(model->name))
		path += length - (sizeof(model->name) - 1);
	snprintf(model->name, sizeof(model->name), "%s", path);
}

static int read_config(struct config *config, struct model *out)
{
	struct model model = {.layers = 0};
	json_error_t error;
	json_t *root = json_load_file(config->path, 0, &error);
	int rc;

	if (!root)
		return bad_config(config, "line %d: %s: a Hugging Face config.json is needed",
		                  error.line, error.text);
	config->root = root;
	config->text = root;
	if (!field(root, "num_hidden_layers") && json_is_object(field(root, "text_config")))
		config->text = field(root, "text_config");
	if (json_is_object(root))
		rc = geometry(config, &model);
	else
		rc = bad_config(config, "not a JSON object: a Hugging Face config.json is needed");
	json_decref(root);
	if (rc)
		return rc;
	set_name(&model, config->path);
	*out = model;
	return 0;
}

static int unknown(const char *name, char *why, size_t why_len)
{
	char known[512] = "";
	size_t used = 0;

	for (size_t i = 0; i < BUILTINS && used < sizeof(known); i++)
		used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s", i ? ", " : "",
		                         builtins[i].name);
	snprintf(why, why_len,
	         "model \"%s\" is neither a known name nor a file: use %s, or the path of a "
	         "Hugging Face config.json",
	         name, known);
	return -ENOENT;
}

int model_find(const char *name_or_path, struct model *out, char *why, size_t why_len)
{
	struct config config = {.path = name_or_path, .why = why, .why_len = why_len};
	struct stat status;

	for (size_t i = 0; i < BUILTINS; i++) {
		if (strcasecmp(name_or_path, builtins[i].name))
			continue;
		*out = builtins[i];
		return 0;
	}
	if (stat(name_or_path, &status)) {
		if (errno == ENOENT)
			return unknown(name_or_path, why, why_len);
		return bad_config(&config, "%s: name a readable config.json", strerror(errno));
	}
	if (S_ISDIR(status.st_mode))
		return bad_config(&config, "a directory: name the config.json in it");
	if (!S_ISREG(status.st_mode) && !S_ISFIFO(status.st_mode))
		return bad_config(&config, "not a file: a Hugging Face config.json is needed");
	return read_config(&config, out);
}
