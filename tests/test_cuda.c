/* SPDX-License-Identifier: MIT
 * What memory the CUDA driver has, and how its contexts are entered: with fake_cuda.c, also as an
 * old driver; and, as test_cuda_gpu, with a real driver and GPU where there is one. */
#include "cuda.h"
#include "cuda_driver.h"
#include "cuda_memory.h"
#include "fake_cuda.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES 300000ul

static struct cuda_gpu gpu;
static char why[CUDA_WHY];
static struct fake_cuda *fake; /* NULL: the driver is a real one */

/* The first GPU's context is this thread's. */
static int enter(void **state)
{
	(void)state;
	if (cuda_gpu_open(0, &gpu, why) || cuda_enter(&gpu, why)) {
		print_error("%s\n", why);
		return -1;
	}
	return 0;
}

/* Nothing is left of the test but what the driver frees by itself. */
static int leave(void **state)
{
	(void)state;
	cuda_leave();
	cuda_gpu_close(&gpu);
	if (!fake)
		return 0;
	fake->failing = NULL;
	fake->exports = fake->reachable = true;
	return fake->retained[0] || fake->pushes != fake->pops || fake->handles;
}

/* Whether the driver tells what was mapped from what was allocated: from CUDA 11 on. */
static bool knows_mappings(void)
{
	return dlsym(dlopen(DRIVER_LIBRARY, RTLD_NOW), "cuMemRetainAllocationHandle");
}

static void expect_kind(const void *addr, enum cuda_kind kind)
{
	struct cuda_memory memory = cuda_look(addr);

	assert_int_equal(memory.kind, kind);
	assert_int_equal(memory.device, kind == CUDA_PLAIN || kind == CUDA_MAPPED ? 0 : -1);
}

static void test_host(void **state)
{
	char *heap = malloc(BYTES), stack[1] = {0};

	(void)state;
	assert_non_null(heap);
	expect_kind(heap, CUDA_NONE);
	expect_kind(stack, CUDA_NONE);
	expect_kind(NULL, CUDA_NONE);
	free(heap);
}

static void test_plain(void **state)
{
	char *memory = cuda_memory_plain(BYTES);

	(void)state;
	expect_kind(memory, CUDA_PLAIN);
	expect_kind(memory + BYTES - 1, CUDA_PLAIN);
	assert_int_equal(cuda_extent(&gpu, CUDA_PLAIN, memory, BYTES), BYTES);
	assert_int_equal(cuda_extent(&gpu, CUDA_PLAIN, memory + 1000, 5000), 5000);
	assert_int_equal(cuda_extent(&gpu, CUDA_PLAIN, memory + 1000, BYTES), BYTES - 1000);
	assert_int_equal(cuda_extent(&gpu, CUDA_MAPPED, memory, BYTES), 0);
	cuda_memory_free(memory);
	expect_kind(memory, CUDA_NONE);
}

static void test_managed(void **state)
{
	char *memory = cuda_memory_managed(BYTES);

	(void)state;
	expect_kind(memory + 1, CUDA_MANAGED);
	memset(memory, 1, BYTES);
	expect_kind(memory + 1, CUDA_MANAGED);
	cuda_memory_free(memory);
}

static void test_pinned(void **state)
{
	char *memory = cuda_memory_pinned(BYTES);

	(void)state;
	memset(memory, 1, BYTES);
	expect_kind(memory + 1, CUDA_PINNED);
	cuda_memory_free_pinned(memory);
}

/* As long as the mappings follow each other, they are one. */
static void test_mapped(void **state)
{
	struct cuda_mapping m;

	(void)state;
	cuda_memory_map(&m, 0, 3);
	if (!knows_mappings()) {
		expect_kind(m.addr, CUDA_PLAIN);
		assert_int_equal(cuda_extent(&gpu, CUDA_PLAIN, m.addr, 3 * m.piece), m.piece);
		cuda_memory_unmap(&m);
		return;
	}
	expect_kind(m.addr, CUDA_MAPPED);
	expect_kind(m.addr + 3 * m.piece - 1, CUDA_MAPPED);
	assert_int_equal(cuda_extent(&gpu, CUDA_MAPPED, m.addr, 3 * m.piece), 3 * m.piece);
	assert_int_equal(cuda_extent(&gpu, CUDA_MAPPED, m.addr + 7, m.piece), m.piece);
	assert_int_equal(cuda_extent(&gpu, CUDA_MAPPED, m.addr + 7, 4 * m.piece), 3 * m.piece - 7);
	assert_int_equal(cuda_extent(&gpu, CUDA_PLAIN, m.addr, m.piece), 0);
	cuda_memory_unmap(&m);
	expect_kind(m.addr, CUDA_NONE);
}

/* Whole pages around the memory, in a file that is not handed on to other programs. */
static void expect_export(const char *addr, size_t len)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	struct cuda_export file = {.fd = -1};
	struct stat stat;

	assert_int_equal(cuda_export(addr, len, &file, why), 0);
	assert_int_equal(file.offset, (uintptr_t)addr % page);
	if (fake) {
		assert_int_equal(fstat(file.fd, &stat), 0);
		assert_int_equal(stat.st_size, (file.offset + len + page - 1) / page * page);
	}
	assert_int_equal(close(file.fd), 0);
}

static void test_export(void **state)
{
	char *memory;
	struct cuda_mapping m;

	(void)state;
	if (!gpu.exports)
		skip();
	memory = cuda_memory_plain(BYTES);
	expect_export(memory, BYTES);
	expect_export(memory + 4097, 1);
	cuda_memory_free(memory);
	cuda_memory_map(&m, 0, 2);
	expect_export(m.addr, 2 * m.piece);
	expect_export(m.addr + m.piece - 1, 2);
	cuda_memory_unmap(&m);
}

static void test_reachable(void **state)
{
	char *memory = cuda_memory_plain(BYTES);

	(void)state;
	assert_true(cuda_is_reachable(memory));
	assert_true(cuda_is_reachable(&gpu)); /* nobody knows */
	if (fake) {
		fake->reachable = false;
		assert_false(cuda_is_reachable(memory));
	}
	cuda_memory_free(memory);
}

static void *enter_and_leave(void *arg)
{
	char message[CUDA_WHY];

	(void)arg;
	if (cuda_memory_context() || cuda_enter(&gpu, message))
		return "a context before, or none to be had";
	if (!cuda_memory_context())
		return "no context";
	cuda_leave();
	return cuda_memory_context() ? "a context that stays" : NULL;
}

/* A thread that has none of its own gets the context, and only for that long. */
static void test_threads(void **state)
{
	pthread_t thread[4];
	void *wrong;

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, enter_and_leave, NULL), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(thread[i], &wrong);
		if (wrong)
			fail_msg("%s", (char *)wrong);
	}
}

/* The context that was current before is so again. */
static void test_nested(void **state)
{
	void *before = cuda_memory_context();

	(void)state;
	assert_non_null(before);
	assert_int_equal(cuda_enter(&gpu, why), 0);
	cuda_leave();
	assert_ptr_equal(cuda_memory_context(), before);
}

static void test_devices(void **state)
{
	int count = cuda_count(why);
	struct cuda_gpu other;
	char path[64];

	(void)state;
	assert_true(count >= 1);
	assert_int_equal(cuda_gpu_open(count, &other, why), -ENODEV);
	assert_non_null(strstr(why, "shows this process 0 to"));
	assert_int_equal(cuda_gpu_open(-2, &other, why), -ENODEV);
	if (fake) {
		assert_string_equal(gpu.pci, "0000:5a:00.0");
		fake->nowhere = true;
		assert_int_equal(cuda_gpu_open(1, &other, why), 0);
		assert_string_equal(other.pci, "");
		cuda_gpu_close(&other);
		fake->nowhere = false;
		return;
	}
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", gpu.pci);
	assert_int_equal(access(path, F_OK), 0);
}

/* What the driver refuses is said in its own words, and leaves nothing behind. */
static void test_failures(void **state)
{
	struct cuda_gpu other = {.device = 1};
	struct cuda_export file;

	(void)state;
	if (!fake)
		skip();
	fake->error = 999;
	fake->failing = "cuDevicePrimaryCtxRetain";
	assert_int_equal(cuda_gpu_open(1, &other, why), -EIO);
	assert_string_equal(why, "cuDevicePrimaryCtxRetain: a fake error (CUDA's error 999)");
	assert_int_equal(fake->retained[1], 0);
	fake->failing = "cuCtxPushCurrent";
	assert_int_equal(cuda_enter(&gpu, why), -EIO);
	fake->failing = "cuMemGetHandleForAddressRange";
	if (gpu.exports)
		assert_int_equal(cuda_export(&gpu, 1, &file, why), -EIO);
	fake->failing = "cuPointerGetAttributes";
	expect_kind(&gpu, CUDA_NONE);
	fake->failing = NULL;
	fake->exports = false;
	assert_int_equal(cuda_gpu_open(1, &other, why), 0);
	assert_false(other.exports);
	cuda_gpu_close(&other);
	assert_int_equal(fake->retained[1], 0);
}

/* Before anybody has started the driver: no memory is its own, and nothing gets started by that. */
static void test_before(void **state)
{
	int local = 0;

	(void)state;
	expect_kind(&local, CUDA_NONE);
	if (!fake)
		return;
	fake->starts = false;
	assert_int_equal(cuda_count(why), -ENODEV);
	assert_string_equal(why, "cuInit: no GPU (CUDA's error 100)");
	fake->starts = true;
	fake->gpus = 0;
	assert_int_equal(cuda_count(why), -ENODEV);
	assert_non_null(strstr(why, "shows no GPU"));
	fake->gpus = 2;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, enter, leave)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_before),
		TEST(test_host),
		TEST(test_plain),
		TEST(test_managed),
		TEST(test_pinned),
		TEST(test_mapped),
		TEST(test_export),
		TEST(test_reachable),
		TEST(test_threads),
		TEST(test_nested),
		TEST(test_devices),
		TEST(test_failures),
	};
	void *library = dlopen(DRIVER_LIBRARY, RTLD_NOW);
	struct fake_cuda *(*find)(void) = NULL;

	if (library)
		*(void **)&find = dlsym(library, "fake_cuda");
	fake = find ? find() : NULL;
	if (!fake && cuda_count(why) < 1) {
		print_message("%s\n", why);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
