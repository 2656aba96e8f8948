/* SPDX-License-Identifier: MIT
 * What libfabric is told of memory that is registered: a domain that only looks at it. */
#include "fabric_memory.h"
#include <errno.h>
#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEY  0x1234567
#define LEN  5000
#define BASE ((char *)0x7f0000000000)

/* The one registration that was asked for. */
static struct {
	int calls, result, open;
	bool by_attributes;
	struct fi_mr_attr attr;
	struct iovec iov;
	uint64_t flags;
#ifdef FI_MR_DMABUF
	struct fi_mr_dmabuf dmabuf;
#endif
} seen;

static int on_close(struct fid *fid)
{
	(void)fid;
	seen.open--;
	return 0;
}

static struct fi_ops mr_ops = {.size = sizeof(mr_ops), .close = on_close};
static struct fid_mr mr = {.fid.ops = &mr_ops, .key = KEY + 1, .mem_desc = &seen};

static int finish(struct fid_mr **out)
{
	seen.calls++;
	if (seen.result)
		return seen.result;
	seen.open++;
	*out = &mr;
	return 0;
}

static int on_reg(struct fid *fid, const void *buf, size_t len, uint64_t access, uint64_t offset,
                  uint64_t key, uint64_t flags, struct fid_mr **out, void *context)
{
	(void)fid;
	assert_null(context);
	seen.iov = (struct iovec){(void *)(uintptr_t)buf, len};
	seen.attr.access = access;
	seen.attr.requested_key = key;
	seen.attr.offset = offset;
	seen.flags = flags;
	return finish(out);
}

static int on_regattr(struct fid *fid, const struct fi_mr_attr *attr, uint64_t flags,
                      struct fid_mr **out)
{
	(void)fid;
	seen.by_attributes = true;
	seen.attr = *attr;
	seen.flags = flags;
	assert_int_equal(attr->iov_count, 1);
#ifdef FI_MR_DMABUF
	if (flags & FI_MR_DMABUF) {
		seen.dmabuf = *attr->dmabuf;
		return finish(out);
	}
#endif
	seen.iov = *attr->mr_iov;
	return finish(out);
}

static struct fi_ops_mr domain_ops = {
	.size = sizeof(domain_ops), .reg = on_reg, .regattr = on_regattr};
static struct fid_domain domain = {.mr = &domain_ops};

static int hand_over(const struct fabric_memory *memory, int result)
{
	struct fabric_mr *out = NULL;
	int rc;

	memset(&seen, 0, sizeof(seen));
	seen.result = result;
	rc = fabric_memory_register(&domain, memory, KEY, &out);
	if (rc) {
		assert_null(out);
		return rc;
	}
	assert_ptr_equal(out->desc, &seen);
	assert_int_equal(fabric_memory_key(out), KEY + 1);
	assert_int_equal(fabric_memory_deregister(out), 0);
	assert_int_equal(seen.open, 0);
	return 0;
}

static void expect_common(void)
{
	assert_int_equal(seen.calls, 1);
	assert_int_equal(seen.attr.requested_key, KEY);
	assert_int_equal(seen.attr.offset, 0);
	assert_int_equal(seen.attr.access,
	                 FI_SEND | FI_RECV | FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE);
}

static void expect_address(void)
{
	expect_common();
	assert_ptr_equal(seen.iov.iov_base, BASE);
	assert_int_equal(seen.iov.iov_len, LEN);
	assert_int_equal(seen.flags, 0);
}

static void test_host(void **state)
{
	(void)state;
	assert_int_equal(hand_over(&(struct fabric_memory){.addr = BASE, .len = LEN}, 0), 0);
	expect_address();
	assert_false(seen.by_attributes);
}

static void test_gpu(void **state)
{
	const struct fabric_memory memory = {
		.addr = BASE, .len = LEN, .kind = FABRIC_GPU, .device = 3, .fd = 9, .offset = 8};

	(void)state;
	assert_int_equal(hand_over(&memory, 0), 0);
	expect_address();
	assert_true(seen.by_attributes);
	assert_int_equal(seen.attr.iface, FI_HMEM_CUDA);
	assert_int_equal(seen.attr.device.cuda, 3);
	assert_int_equal(hand_over(&memory, -FI_ENOSYS), -FI_ENOSYS);
}

static void test_dmabuf(void **state)
{
	const struct fabric_memory memory = {.addr = BASE + 100,
	                                     .len = LEN,
	                                     .kind = FABRIC_DMABUF,
	                                     .device = 5,
	                                     .fd = 9,
	                                     .offset = 100};

	(void)state;
#ifdef FI_MR_DMABUF
	assert_int_equal(hand_over(&memory, 0), 0);
	expect_common();
	assert_true(seen.by_attributes);
	assert_int_equal(seen.flags, FI_MR_DMABUF);
	assert_int_equal(seen.attr.iface, FI_HMEM_CUDA);
	assert_int_equal(seen.attr.device.cuda, 5);
	assert_int_equal(seen.dmabuf.fd, 9);
	assert_int_equal(seen.dmabuf.offset, 100);
	assert_int_equal(seen.dmabuf.len, LEN);
	assert_ptr_equal(seen.dmabuf.base_addr, BASE);
	assert_int_equal(hand_over(&memory, -EINVAL), -EINVAL);
#else
	assert_int_equal(hand_over(&memory, 0), -EOPNOTSUPP);
	assert_int_equal(seen.calls, 0);
#endif
}

/* result: of a registration of GPU memory, if one is tried. */
static void expect_kind(uint64_t caps, char *provider, uint32_t version, int result, int kind)
{
	struct fi_fabric_attr fabric = {.prov_name = provider};
	const struct fi_info info = {.caps = caps, .fabric_attr = &fabric};

	memset(&seen, 0, sizeof(seen));
	seen.result = result;
	assert_int_equal(fabric_memory_gpu(&info, &domain, version), kind);
	assert_int_equal(seen.open, 0);
}

/* A dmabuf only where libfabric has the flag, then and now, and the provider looks at it. */
static void test_efa(void **state)
{
#ifdef FI_MR_DMABUF
	const int best = FABRIC_DMABUF;
#else
	const int best = FABRIC_GPU;
#endif

	(void)state;
	expect_kind(FI_MSG | FI_RMA, "efa", FI_VERSION(1, 22), 0, FABRIC_HOST);
	expect_kind(FI_MSG | FI_RMA | FI_HMEM, "efa", FI_VERSION(1, 22), 0, best);
	expect_kind(FI_HMEM, "efa", FI_VERSION(1, 20), 0, best);
	expect_kind(FI_HMEM, "efa", FI_VERSION(1, 19), 0, FABRIC_GPU);
	assert_int_equal(seen.calls, 0);
}

/* Others say so whatever libfabric was built with. */
static void test_others(void **state)
{
	(void)state;
	expect_kind(FI_RMA, "shm", FI_VERSION(1, 22), 0, FABRIC_HOST);
	assert_int_equal(seen.calls, 0);
	expect_kind(FI_RMA | FI_HMEM, "shm", FI_VERSION(1, 22), -FI_ENOSYS, FABRIC_HOST);
	assert_int_equal(seen.attr.iface, FI_HMEM_CUDA);
	expect_kind(FI_RMA | FI_HMEM, "shm", FI_VERSION(1, 22), -FI_EINVAL, FABRIC_GPU);
	expect_kind(FI_RMA | FI_HMEM, "shm", FI_VERSION(1, 22), 0, FABRIC_GPU);
	assert_int_equal(seen.calls, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_host),   cmocka_unit_test(test_gpu),
		cmocka_unit_test(test_dmabuf), cmocka_unit_test(test_efa),
		cmocka_unit_test(test_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
