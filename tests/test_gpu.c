/* SPDX-License-Identifier: MIT
 * Regions of GPU memory, with fake_cuda.c's GPUs, on rails that only look at what is registered:
 * what each kind of memory becomes, in which context, and what is refused with which words. */
#include "context.h"
#include "cuda_memory.h"
#include "fake_cuda.h"
#include "look_fabric.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "refused.h"

#define BYTES 300000ul

static struct fake_cuda *fake;
static struct kvr *kvr;
static void *context[2]; /* of each GPU */

static int start(void **state)
{
	struct cuda_gpu gpu[2];
	char why[CUDA_WHY];

	(void)state;
	catch_log();
	fake = fake_cuda();
	if (context_open(NULL, NULL, &look_ops, 1, &kvr))
		return -1;
	for (int i = 0; i < 2; i++) {
		if (cuda_gpu_open(i, &gpu[i], why))
			return -1;
		context[i] = gpu[i].context;
		cuda_gpu_close(&gpu[i]);
	}
	return 0;
}

static int stop(void **state)
{
	(void)state;
	return kvr_close(kvr);
}

static int set_up(void **state)
{
	look.how = FABRIC_DMABUF;
	look.tries = look.together = 0;
	return clean(state);
}

/* Registrations, contexts, handles: nothing is left. */
static int tear_down(void **state)
{
	(void)state;
	memset(look.refused, 0, sizeof(look.refused));
	fake->failing = NULL;
	fake->exports = fake->reachable = true;
	return look.open != LOOK_RAILS || fake->retained[0] || fake->retained[1] ||
	       fake->pushes != fake->pops || fake->handles || cuda_memory_context();
}

/* Memory of a GPU, made in its context as its user would. */
static void *make(int device, void *(*alloc)(size_t))
{
	struct cuda_gpu gpu;
	char why[CUDA_WHY];
	void *memory;

	assert_int_equal(cuda_gpu_open(device, &gpu, why), 0);
	assert_int_equal(cuda_enter(&gpu, why), 0);
	memory = alloc(BYTES);
	cuda_leave();
	cuda_gpu_close(&gpu);
	return memory;
}

static struct kvr_region *open_region(void *addr, size_t len, int device)
{
	struct kvr_region *region;
	int rc = kvr_region_open(kvr, addr, len, device, &region);

	if (rc)
		fail_msg("kvr_region_open: %d: %s", rc, logged);
	return region;
}

static void expect_kind(const struct kvr_region *region, enum fabric_memory_kind kind, int device)
{
	const struct fabric_mr *mr;

	for (int r = 0; r < LOOK_RAILS; r++) {
		mr = region->mr[r];
		assert_int_equal(mr->memory.kind, kind);
		assert_ptr_equal(mr->memory.addr, region->addr);
		assert_int_equal(mr->memory.len, region->len);
		assert_ptr_equal(mr->context, device < 0 ? NULL : context[device]);
		if (device >= 0)
			assert_int_equal(mr->memory.device, device);
		assert_int_equal(mr->file >= 0, kind == FABRIC_DMABUF);
	}
}

static int count_files(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_host(void **state)
{
	void *pinned = make(0, cuda_memory_pinned), *heap = malloc(BYTES);
	void *memory[] = {heap, pinned};
	struct kvr_region *region;

	(void)state;
	for (int i = 0; i < 2; i++) {
		region = open_region(memory[i], BYTES, KVR_HOST);
		expect_kind(region, FABRIC_HOST, -1);
		assert_int_equal(region->cuda.device, -1);
		assert_string_equal(region->cuda.pci, "");
		assert_int_equal(kvr_region_close(region), 0);
	}
	cuda_memory_free_pinned(pinned);
	free(heap);
}

/* Each rail's thread exports by itself, in the context of the memory's GPU, and closes the file. */
static void test_dmabuf(void **state)
{
	char *memory = make(1, cuda_memory_plain);
	int files = count_files(), exported = fake->exported;
	struct kvr_region *region = open_region(memory + 5000, BYTES - 5000, 1);

	(void)state;
	expect_kind(region, FABRIC_DMABUF, 1);
	assert_int_equal(region->cuda.device, 1);
	assert_string_equal(region->cuda.pci, "0000:5b:00.0");
	assert_int_equal(region->mr[2]->memory.offset, 5000 % 4096);
	assert_true(region->mr[2]->file >= (off_t)(BYTES - 4096));
	assert_int_equal(fake->exported, exported + LOOK_RAILS);
	assert_int_equal(count_files(), files);
	assert_int_equal(fake->retained[1], 1);
	assert_int_equal(kvr_region_close(region), 0);
	cuda_memory_free(memory);
}

/* By the rails of the GPU with its address, which is the machine's first one, and CUDA's second. */
static void test_rails(void **state)
{
	struct nearness *n = &kvr->nearness, before = *n;
	void *plain = make(1, cuda_memory_plain);
	struct kvr_region *region;
	int rails[LOOK_RAILS];
	size_t near;

	(void)state;
	n->map.gpus = 2;
	memset(n->map.to_gpu, DISTANCE_OTHER, sizeof(n->map.to_gpu));
	n->map.to_gpu[0][2] = n->map.to_gpu[1][1] = DISTANCE_SWITCH;
	strcpy(n->gpu_pci[0], "0000:5b:00.0");
	strcpy(n->gpu_pci[1], "0000:5a:00.0");
	region = open_region(plain, BYTES, 1);
	assert_int_equal(kvr_region_rails(region, 0, BYTES, rails, LOOK_RAILS, &near), LOOK_RAILS);
	assert_int_equal(near, 1);
	assert_int_equal(rails[0], 2);
	assert_int_equal(region_near(region), 1 << 2);
	assert_int_equal(kvr_region_close(region), 0);
	*n = before;
	cuda_memory_free(plain);
}

/* No rail's registration waits for another one's end. */
static void test_at_once(void **state)
{
	void *plain = make(0, cuda_memory_plain);
	struct kvr_region *host, *gpu;

	(void)state;
	look.together = LOOK_RAILS;
	host = open_region(state, 1, KVR_HOST);
	look.together = 2 * LOOK_RAILS;
	gpu = open_region(plain, BYTES, 0);
	assert_int_equal(look.tries, 2 * LOOK_RAILS);
	assert_int_equal(kvr_region_close(host), 0);
	assert_int_equal(kvr_region_close(gpu), 0);
	cuda_memory_free(plain);
}

/* The user's own context stays what it was. */
static void test_within_context(void **state)
{
	void *memory = make(0, cuda_memory_plain);
	struct kvr_region *region;
	struct cuda_gpu other;
	char why[CUDA_WHY];

	(void)state;
	assert_int_equal(cuda_gpu_open(1, &other, why), 0);
	assert_int_equal(cuda_enter(&other, why), 0);
	region = open_region(memory, BYTES, 0);
	assert_ptr_equal(cuda_memory_context(), context[1]);
	expect_kind(region, FABRIC_DMABUF, 0);
	assert_int_equal(kvr_region_close(region), 0);
	assert_ptr_equal(cuda_memory_context(), context[1]);
	cuda_leave();
	cuda_gpu_close(&other);
	cuda_memory_free(memory);
}

static void test_address(void **state)
{
	void *memory = make(1, cuda_memory_plain);
	int exported = fake->exported;
	struct kvr_region *region;

	(void)state;
	look.how = FABRIC_GPU;
	region = open_region(memory, BYTES, 1);
	expect_kind(region, FABRIC_GPU, 1);
	assert_int_equal(fake->exported, exported);
	assert_int_equal(kvr_region_close(region), 0);
	cuda_memory_free(memory);
}

/* Where a dmabuf is not to be had, or not taken, the address may be. */
static void test_fallback(void **state)
{
	void *memory = make(0, cuda_memory_plain);
	struct kvr_region *region;

	(void)state;
	for (int i = 0; i < 3; i++) {
		fake->exports = i != 0;
		fake->failing = i == 1 ? "cuMemGetHandleForAddressRange" : NULL;
		fake->error = 801;
		look.refused[FABRIC_DMABUF] = i == 2 ? -EOPNOTSUPP : 0;
		region = open_region(memory, BYTES, 0);
		expect_kind(region, FABRIC_GPU, 0);
		assert_int_equal(kvr_region_close(region), 0);
	}
	cuda_memory_free(memory);
}

static void test_mapped(void **state)
{
	struct cuda_mapping m;
	struct kvr_region *region;

	(void)state;
	cuda_memory_map(&m, 1, 3);
	region = open_region(m.addr + 100, 3 * m.piece - 100, 1);
	expect_kind(region, FABRIC_DMABUF, 1);
	assert_int_equal(region->mr[0]->file, 3 * m.piece);
	assert_int_equal(kvr_region_close(region), 0);
	cuda_memory_unmap(&m);
}

static void refuse(void *addr, size_t len, int device, int wanted, const char *word)
{
	struct kvr_region *region = NULL;

	expect_refused(kvr_region_open(kvr, addr, len, device, &region), wanted, word);
	assert_null(region);
}

/* What the caller got wrong; nothing has been registered. */
static void test_mistakes(void **state)
{
	char *plain = make(1, cuda_memory_plain), *pinned = make(1, cuda_memory_pinned);
	char *managed = make(0, cuda_memory_managed);
	struct cuda_mapping m;
	int local;

	(void)state;
	cuda_memory_map(&m, 1, 2);
	refuse(plain, BYTES, KVR_HOST, -EINVAL, "is memory of GPU 1: pass 1 as cuda_device");
	refuse(m.addr + 1, 1, KVR_HOST, -EINVAL, "is memory of GPU 1: pass 1 as cuda_device");
	refuse(plain, BYTES, 0, -EINVAL, "is memory of GPU 1, not 0: pass 1");
	refuse(m.addr, m.piece, 0, -EINVAL, "is memory of GPU 1, not 0: pass 1");
	refuse(&local, sizeof(local), 1, -EINVAL, "is memory of the host, not of GPU 1");
	refuse(pinned, BYTES, 1, -EINVAL, "pass KVR_HOST");
	refuse(managed, BYTES, 0, -EOPNOTSUPP, "managed memory");
	refuse(managed, BYTES, KVR_HOST, -EOPNOTSUPP, "managed memory");
	refuse(plain + 1, BYTES, 1, -EINVAL, "only the first 299999 are one allocation");
	refuse(m.addr + 1, 2 * m.piece, 1, -EINVAL, "are mapped memory of GPU 1");
	refuse(plain, BYTES, 2, -ENODEV, "there is no GPU 2: CUDA shows this process 0 to 1");
	refuse(plain, BYTES, -2, -EINVAL, "neither KVR_HOST nor a GPU's number");
	refuse(NULL, BYTES, 1, -EINVAL, "are no memory");
	assert_int_equal(look.tries, 0);
	cuda_memory_free(plain);
	cuda_memory_free(managed);
	cuda_memory_free_pinned(pinned);
	cuda_memory_unmap(&m);
}

/* What cannot be done here. */
static void test_unsupported(void **state)
{
	void *plain = make(0, cuda_memory_plain);
	struct cuda_mapping m;

	(void)state;
	cuda_memory_map(&m, 0, 1);
	look.how = FABRIC_HOST;
	refuse(plain, BYTES, 0, -EOPNOTSUPP, "provider look does not take it here");
	look.how = FABRIC_GPU;
	refuse(m.addr, 1, 0, -EOPNOTSUPP, "expandable_segments:False");
	look.how = FABRIC_DMABUF;
	fake->exports = false;
	refuse(m.addr, 1, 0, -EOPNOTSUPP, "this GPU's driver exports none");
	assert_int_equal(look.tries, 0);
	fake->failing = "cuCtxPushCurrent";
	fake->error = 999;
	refuse(plain, BYTES, 0, -EIO, "cuCtxPushCurrent: a fake error (CUDA's error 999)");
	fake->failing = NULL;
	fake->starts = false;
	refuse(plain, BYTES, 0, -ENODEV, "cuInit: no GPU");
	fake->starts = true;
	kvr_gpu_memory(kvr, NULL, 0); /* starts it again */
	cuda_memory_free(plain);
	cuda_memory_unmap(&m);
}

/* A line for each rail says what the rail's provider, or the driver, said of it. */
static void expect_failed(void *addr, size_t len, int wanted, const char *word)
{
	struct kvr_region *region;

	catch_log();
	assert_int_equal(kvr_region_open(kvr, addr, len, 0, &region), wanted);
	assert_int_equal(errors, LOOK_RAILS);
	if (!strstr(logged, word))
		fail_msg("no '%s': %s", word, logged);
}

static void test_failures(void **state)
{
	void *plain = make(0, cuda_memory_plain);
	struct cuda_mapping m;

	(void)state;
	cuda_memory_map(&m, 0, 1);
	look.refused[FABRIC_DMABUF] = look.refused[FABRIC_GPU] = -EFAULT;
	expect_failed(plain, BYTES, -EFAULT, "by its address: Bad address; it wants GPUDirect");
	expect_failed(m.addr, 1, -EFAULT, "registering 1 bytes of GPU 0: as a dmabuf: Bad address");
	fake->reachable = false;
	expect_failed(m.addr, 1, -EFAULT, "allocated without gpuDirectRDMACapable");
	fake->failing = "cuMemGetHandleForAddressRange";
	fake->error = 801;
	expect_failed(m.addr, 1, -EOPNOTSUPP, "cuMemGetHandleForAddressRange: a fake error");
	cuda_memory_free(plain);
	cuda_memory_unmap(&m);
}

static void expect_support(int wanted, const char *text)
{
	char why[200] = "";

	assert_int_equal(kvr_gpu_memory(kvr, why, sizeof(why)), wanted);
	assert_int_equal(kvr_gpu_memory(kvr, NULL, 0), wanted);
	if (!strstr(why, text))
		fail_msg("no '%s': %s", text, why);
}

/* What is said before anybody opens a region. */
static void test_support(void **state)
{
	(void)state;
	expect_support(1, "of 2 GPUs, as a dmabuf");
	look.how = FABRIC_GPU;
	expect_support(1, "none of cuMemMap");
	look.how = FABRIC_HOST;
	expect_support(0, "provider look does not take it");
	fake->gpus = 0;
	expect_support(0, "shows no GPU");
	fake->gpus = 2;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_host),     TEST(test_dmabuf),      TEST(test_within_context),
		TEST(test_address),  TEST(test_fallback),    TEST(test_mapped),
		TEST(test_mistakes), TEST(test_unsupported), TEST(test_failures),
		TEST(test_support),  TEST(test_at_once),     TEST(test_rails),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
