/* SPDX-License-Identifier: MIT
 * kvrail: moves paged KV cache between the ranks of a job over every network rail of a node. */
#ifndef KVRAIL_H
#define KVRAIL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The contract of every call
 *
 * Results  0 (or a count), else a negative errno, libfabric's codes among them: kvr_strerror()
 *          names them: -EINVAL for an argument that cannot be, an index included, and -ENOSPC for
 *          a buffer that is too small, unless a call says otherwise. Outputs are set only on
 *          success. Whoever first sees a failure logs one line with rail, peer and remedy
 *          (kvr_set_log()).
 * Units    sizes, offsets and strides are bytes. Timeouts are milliseconds: 0 polls, -1 waits
 *          for ever.
 * Owning   what you open you close, children first, else -EBUSY; closing NULL does nothing, and
 *          returns 0. Arguments are copied. Memory under a transfer stays yours; leave it
 *          untouched until its request has ended.
 * Threads  kvr_write, kvr_read, kvr_scatter, kvr_gather, kvr_request_*, kvr_counter_*, kvr_plan_*,
 *          kvr_layout_*, kvr_progress, kvr_stats_get and the const getters from any thread; the
 *          rest one at a time, but beside those. Closing an object while another thread still uses
 *          it is the caller's error, as with free().
 * Moving   a thread of the library's own moves data, one's own and what peers send here, whatever
 *          the caller does. While callers wait one of them does that, and the others sleep, as
 *          does the thread. It stays on CPUs that the caller of kvr_open may use, if possible on
 *          those beside its rails. It reacts within microseconds until nothing has moved for
 *          100 ms (but never spins where it has one CPU only), then within 0.1 ms; after a second
 *          of silence it uses about 1 % of a core, and reacts within about 1.5 ms: so long waits
 *          who first sends something to an idle rank.
 *          KVR_THREADS_NONE: nothing runs in the background. Calls that wait, and
 *          kvr_progress(), move data; a rank that is written to or read from, or that others wait
 *          for in a collective call, must make them, at least once in its peers' peer_timeout_ms:
 *          else it is taken for dead.
 *          KVR_THREADS_PER_NODE: a thread for each NUMA node with rails and with CPUs that the
 *          caller of kvr_open may use, which polls these rails and posts on them. They take
 *          turns, as one lock guards what rails have in common: each rail's queues are used
 *          beside it, but two threads are not twice as fast. Callers that wait all sleep, and
 *          have their results some microseconds later.
 * Structs  those that begin with a size field can grow: set it to sizeof. Zero means default; an
 *          unknown tail that is not zero is refused with -E2BIG.
 * Fork     not supported between kvr_open and kvr_close.
 *
 * Limits   KVR_MAX_RAILS rails a rank; 8,192 ranks that one rank talks to; 262,144 pieces in
 *          flight from one rank to another, which also bounds one batch: a call with more
 *          scattered runs for one peer returns -E2BIG. (13 and 19 bits of the 32 that an EFA
 *          immediate carries.)
 */

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define KVR_API __attribute__((visibility("default")))
#else
#define KVR_API
#endif

#define KVR_VERSION        "0.1.0"
#define KVR_MAX_RAILS      32
#define KVR_HOST           (-1)       /* kvr_region_open: host memory */
#define KVR_NO_COUNTER     UINT32_MAX /* kvr_write: move no counter */
#define KVR_ADDRESS_MAX    4096       /* kvr_address: never more bytes than this */
#define KVR_DESCRIPTOR_MAX 512        /* kvr_region_export: never more bytes than this */

struct kvr;
struct kvr_region;
struct kvr_remote;
struct kvr_request;
struct kvr_plan;

/*
 * Bootstrap: all that is asked of a launcher; kvrail_mpi.h fills one from an MPI_Comm. allgather
 * puts `len` bytes of every rank, in rank order, at `all`, and returns 0 or a negative errno. It is
 * called once, with at most KVR_ADDRESS_MAX bytes, by kvr_open, and never after.
 */
struct kvr_bootstrap {
	int rank, nranks;
	int (*allgather)(void *arg, const void *mine, void *all, size_t len);
	void *arg;
};

/* Who moves the bytes of a write. The target must make progress for KVR_PULL; KVR_AUTO takes it
 * where the provider imitates writes by messages, but reads by the device. Ranks may differ. */
enum kvr_write_mode {
	KVR_AUTO,
	KVR_PUSH, /* the initiator writes */
	KVR_PULL, /* the target is sent the ops, and reads */
};

/* Who moves data, where it is not one thread; see Moving, above. */
#define KVR_THREADS_NONE     (-1) /* calls that wait, and kvr_progress() */
#define KVR_THREADS_PER_NODE (-2) /* a thread for each NUMA node with rails */

struct kvr_options {
	size_t size;
	const char *provider; /* libfabric's name; default: efa where there is one, see README */
	const char *rails;    /* names or globs, comma separated; a leading ^ excludes them */
	uint64_t piece_bytes; /* cut no piece smaller than this; default 64 KiB */
	uint32_t queue_depth; /* pieces in flight per rail, at most 1024; default 32 */
	uint32_t counters;    /* arrival counters, ids 0 to counters - 1; default 1024 */
	int progress_threads; /* 1, or one of KVR_THREADS_; default 1 */
	enum kvr_write_mode write_mode;
	uint32_t peer_timeout_ms; /* silence after which a peer is dead; default 5000 */
	const char *mapping;      /* a file that says which rails are near which memory instead of
	                             what was measured, see doc/affinity.md; default none */
};

/*
 * Collective. A NULL bootstrap is a job of one rank; NULL options are all defaults. Opens every
 * rail of the provider, in parallel. If any rank fails, all ranks return that rank's error and log
 * its number, host and reason. -EPROTO: a rank runs another version or provider. -ENODEV: no such
 * provider or rail. -EINVAL, -E2BIG: options; -EINVAL, or what reading it failed with: mapping.
 */
KVR_API int kvr_open(const struct kvr_bootstrap *, const struct kvr_options *, struct kvr **out);

/*
 * Collective: returns when every peer this rank talked to has closed too, so that nobody's memory
 * goes while somebody still uses it, or has died. Frees everything even where it returns
 * -ETIMEDOUT: a peer did not close within 30 s; it is named. (That is also how the death of a rank
 * without threads shows.) -EBUSY and nothing freed: regions, remotes or requests are still open.
 */
KVR_API int kvr_close(struct kvr *);

/*
 * Collective, over the rails: `len` bytes of every bootstrap rank, in rank order. -EHOSTUNREACH: a
 * rank has died or closed, so that neither this call nor a later one can end well. Whoever waits
 * for it finds that peer_timeout_ms after its last sign of life, and tells the others at once; the
 * later calls fail without waiting. -ETIMEDOUT: some rank lives, but does not make the call: of at
 * most log2(ranks) steps one took 60 s.
 */
KVR_API int kvr_allgather(struct kvr *, const void *mine, void *all, size_t len);

/* Moves data once around, never blocks; 1 if something happened, 0 if not. */
KVR_API int kvr_progress(struct kvr *);

/*
 * Peers outside the bootstrap: another job, or ranks that come and go. kvr_address writes this
 * rank's address (at most KVR_ADDRESS_MAX bytes) and returns its length; -ENOSPC if len is too
 * small. kvr_peer_add takes another rank's and returns its index, >= nranks; -EBADMSG, -EPROTO: as
 * kvr_remote_open, and -EPROTO also of another provider. A peer that adds this rank shows up here
 * by itself. kvr_peer_remove: -EBUSY while remotes or requests name it.
 */
KVR_API ssize_t kvr_address(const struct kvr *, void *buf, size_t len);
KVR_API int kvr_peer_add(struct kvr *, const void *address, size_t len);
KVR_API int kvr_peer_remove(struct kvr *, int peer);

struct kvr_rail {
	size_t size;
	char name[32];            /* rdmap85s0, eth0 */
	char pci[16];             /* 0000:55:00.0, or empty if unknown */
	int numa_node;            /* -1 if unknown */
	int state;                /* 0: in use; 1: out of use for some peer */
	uint64_t bits_per_second; /* 0 if unknown */
};

KVR_API int kvr_rail_count(const struct kvr *);
KVR_API int kvr_rail_get(const struct kvr *, int rail, struct kvr_rail *out);

/* The provider in use; *why (may be NULL) says how it was chosen. Both live until kvr_close. */
KVR_API const char *kvr_provider(const struct kvr *, const char **why);

/*
 * Whether kvr_region_open takes GPU memory: 1 or 0. At most len bytes of text at why say in which
 * way, or what it wants. Starts the CUDA driver where there is one.
 */
KVR_API int kvr_gpu_memory(const struct kvr *, char *why, size_t len);

/*
 * Registers memory on every rail, and makes those near to it ready for their first peer, so that
 * the first request need not wait for it; with efa that takes some memory (see README).
 * cuda_device: KVR_HOST, or the number by which CUDA knows the GPU in this process (cudaGetDevice).
 * Any thread will do, with or without a CUDA context; the GPU's primary context is retained until
 * the region is closed. Memory is
 *
 *     host      malloc, mmap, cudaMallocHost, cudaHostRegister: KVR_HOST
 *     GPU       cudaMalloc, cuMemAlloc: the GPU; within one allocation
 *     GPU       cuMemCreate and cuMemMap, as PyTorch's expandable_segments: the GPU; any number of
 *               mappings without a gap; on efa with libfabric 1.20 or newer
 *     managed   cudaMallocManaged: refused, as its pages move and a NIC would not notice
 *
 * CUDA's work on the bytes must have ended before a transfer of them starts, as cudaMemcpy may not
 * have when it returns: cudaStreamSynchronize. doc/gpu.md has more.
 *
 * Nothing is registered, and the log says what to pass or to do: -EINVAL (no memory; GPU memory
 * with KVR_HOST, or with another GPU's number; the host's with a GPU's; beyond its allocation),
 * -ENODEV (no CUDA driver, no such GPU), -EOPNOTSUPP (managed; the provider does not take it, see
 * kvr_gpu_memory). Registering itself may fail with other codes.
 *
 * The export is a descriptor that a peer opens as a remote, sent by any means
 * (kvr_allgather will do); it returns its length, at most KVR_DESCRIPTOR_MAX. Closing with
 * -EBUSY: a request of this rank uses it, or a peer's write that is pulled. That no *peer* uses it
 * any more is for the caller to know: on EFA, a write to a closed region ends the writing or the
 * written-to process.
 */
KVR_API int kvr_region_open(struct kvr *, void *addr, size_t len, int cuda_device,
                            struct kvr_region **out);
KVR_API int kvr_region_close(struct kvr_region *);
KVR_API ssize_t kvr_region_export(const struct kvr_region *, void *buf, size_t len);

/*
 * The rails for these bytes of a region, by the rule of doc/affinity.md: writes to max of their
 * indices, nearest first, and returns how many there are. The first *near (may be NULL) are near;
 * the others help only while they are idle, or none of these can be used. -ERANGE: no such bytes.
 */
KVR_API ssize_t kvr_region_rails(const struct kvr_region *, uint64_t offset, uint64_t len,
                                 int *rails, size_t max, size_t *near);

/*
 * Where a region's pages are is found out when it is opened; memory that nobody had touched by then
 * counts as near to where the rank is bound. This finds out again, for requests from now on, and
 * for descriptors that are exported from now on. 1: there is a difference; 0: none.
 */
KVR_API int kvr_region_refresh(struct kvr_region *);

/*
 * A peer's memory, from its descriptor, which may stand in a longer buffer. -EBADMSG: truncated,
 * damaged or not a descriptor. -EPROTO: of another version. -EXDEV: of another peer or job than
 * `peer`. Close with -EBUSY while requests use it.
 */
KVR_API int kvr_remote_open(struct kvr *, int peer, const void *buf, size_t len,
                            struct kvr_remote **out);
KVR_API int kvr_remote_close(struct kvr_remote *);
KVR_API uint64_t kvr_remote_size(const struct kvr_remote *);

/* `count` runs of `len` bytes; the strides step from run to run, on each side. */
struct kvr_op {
	struct kvr_region *local;
	struct kvr_remote *remote;
	uint64_t local_offset, local_stride;
	uint64_t remote_offset, remote_stride;
	uint64_t len, count;
};

/*
 * Start a batch of n ops, which may name several peers (scatter, gather). When a write's bytes for
 * a peer are all visible in that peer's memory, its `counter` goes up by one: once per call and
 * peer, however many ops. No order holds between batches. All checks come before anything moves:
 * -EINVAL (empty op, destination runs that overlap, counter unknown to a peer), -ERANGE (an op
 * leaves its region or overflows 64 bits), -E2BIG (see Limits), -EHOSTUNREACH (peer known dead).
 */
KVR_API int kvr_write(struct kvr *, const struct kvr_op *, size_t n, uint32_t counter,
                      struct kvr_request **out);
KVR_API int kvr_read(struct kvr *, const struct kvr_op *, size_t n, struct kvr_request **out);

/*
 * One buffer, slices of it for many ranks; the arguments are those of MPI_Scatterv and MPI_Gatherv,
 * in bytes. Slice i is lens[i] bytes at local_offsets[i] of `local`, and at remote_offsets[i] of
 * remotes[i]. Slices of no bytes are left out. One rank may have several.
 */
struct kvr_slices {
	size_t size;
	struct kvr_region *local;
	struct kvr_remote *const *remotes;
	const uint64_t *local_offsets;  /* NULL: one slice behind the other, from 0 */
	const uint64_t *remote_offsets; /* NULL: all 0 */
	const uint64_t *lens;
	size_t n; /* of each array */
};

/*
 * kvr_write and kvr_read of all slices as one request, with their checks and errors. -EINVAL also:
 * an array is missing, no slice has bytes, or slices that are gathered overlap here.
 */
KVR_API int kvr_scatter(struct kvr *, const struct kvr_slices *, uint32_t counter,
                        struct kvr_request **out);
KVR_API int kvr_gather(struct kvr *, const struct kvr_slices *, struct kvr_request **out);

/*
 * wait: 0 when every byte is where it belongs, also at the peers; -ETIMEDOUT while it is still
 * going; else the first error. No byte moves after any result but -ETIMEDOUT.
 * cancel: asks; then wait ends with -ECANCELED, or 0 if the batch was already on its way. Counters
 * of peers that were given everything before may have moved. Bytes in flight are let land first, or
 * fenced, so that also holds: no byte moves after.
 * close: frees; -EBUSY until wait has a result.
 * A piece that fails, or is overdue while the peer answers on other rails, goes over another rail.
 * A batch fails only when a peer of its is dead (-EHOSTUNREACH, the log names it): when nothing was
 * heard of it on any rail for peer_timeout_ms. A timeout of the batch's own is the caller's: wait
 * with it, cancel, wait. doc/protocol.md says how, and why it holds.
 */
KVR_API int kvr_request_wait(struct kvr_request *, int timeout_ms);
KVR_API int kvr_request_cancel(struct kvr_request *);
KVR_API int kvr_request_close(struct kvr_request *);

/* Waits until counter >= at_least. Its value goes to *value (may be NULL), also with an error:
 * -ETIMEDOUT, or -EHOSTUNREACH when a peer that has moved it before has died. Of each death the
 * waits are told once, while others that have moved it live; without them, every time. */
KVR_API int kvr_counter_wait(struct kvr *, uint32_t counter, uint64_t at_least, int timeout_ms,
                             uint64_t *value);

/*
 * How a rank keeps its paged KV cache. Byte 0 of (layer, part, block, token, head) is at
 *
 *     offset + layer * layer_stride + part * part_stride + block * block_stride
 *            + token * token_stride + head * head_stride
 *
 * of the region with the index
 *
 *     layer * layer_regions + part * part_regions
 *
 * where layers and heads are counted from the first one that is held here, tokens within their
 * block. The strides may nest in any order that has tokens within blocks (NHD, HND, layers within a
 * block, K and V together or apart), with gaps, but nothing may overlap. A stride of which there is
 * only one is not looked at. Where a head's bytes do not lie together, its pieces may be called
 * heads.
 *
 * What one token takes here is
 *
 *     layers * parts * heads * head_bytes
 *
 * which for a whole model comes to
 *
 *     K and V (MHA, GQA, MQA)  2 * layers * KV heads * head_dim * element size
 *     MLA                      layers * (kv_lora_rank + qk_rope_head_dim) * element size
 *
 * A tensor-parallel rank of n holds 1/n of the former, down to one head; of MLA all.
 */
struct kvr_layout {
	size_t size;
	uint32_t first_layer, layers; /* of the model, held here: a pipeline stage's */
	uint32_t parts;               /* 2: K and V; 1: MLA's latent, or one of both alone */
	uint32_t first_head, heads;   /* of the model's KV heads, held here */
	uint32_t head_bytes;          /* of a token's head in one part; MLA: the latent */
	uint32_t blocks;              /* there are */
	uint32_t block_tokens;        /* in each */
	/* Of so many ranks that hold these same heads and layers, this is number `copy`. copies 0:
	 * it is the only one. */
	uint32_t copies, copy;
	/* 0 and 0: all in one region; 1 and 0: one for each layer; 0 and 1: one for K, one for V;
	 * 2 and 1: K, V, K, V, ... */
	uint32_t layer_regions, part_regions;
	uint64_t offset, layer_stride, part_stride, block_stride, token_stride, head_stride;
};

/*
 * The bytes that the largest region of the layout must have. Negative as for every call that takes
 * a layout; the log names the field: -EINVAL (zero; strides by which something overlaps; two layers
 * or parts in one region; copy), -EOVERFLOW (beyond 2^63 - 1 bytes), -E2BIG (unknown tail).
 */
KVR_API ssize_t kvr_layout_bytes(const struct kvr_layout *);

/*
 * Sets the strides for a cache without gaps. order: l, p, b, t and h, for layer, part, block, token
 * and head, from the outermost to the innermost: "lpbth" is [layer][K or V][block][token][head].
 * Without l where layers have regions of their own, without p where parts have. -EINVAL: order.
 */
KVR_API int kvr_layout_pack(struct kvr_layout *, const char *order);

/*
 * Sets first_head, heads, copies and copy for tensor-parallel rank `rank` of `ranks`, as inference
 * engines cut a model with `heads` KV heads: evenly, and where there are more ranks than heads,
 * neighbours hold the same one. MLA has one head. -EINVAL: neither number divides the other.
 */
KVR_API int kvr_layout_shard(struct kvr_layout *, uint32_t heads, uint32_t ranks, uint32_t rank);

/*
 * Whether the n sources together hold all that `to` wants: each of its heads, in each of its
 * layers, once, or as copies 0 to copies - 1. -EINVAL names the first head and layer that is
 * missing or is there twice: then some plans would move too little or the same bytes twice.
 */
KVR_API int kvr_layout_cover(const struct kvr_layout *to, const struct kvr_layout *sources,
                             size_t n);

enum kvr_direction { KVR_WRITE, KVR_READ };

/* What to move of a request: tokens, counted from its beginning, and layers of the model. */
struct kvr_pages {
	size_t size;
	/* Block tables, from the request's first token on: token t is in entry t / block_tokens. No
	 * block twice where bytes go to. */
	const uint32_t *local_blocks, *remote_blocks;
	size_t local_count, remote_count; /* entries */
	uint64_t first_token, tokens;     /* first_token > 0: a prefix is there already */
	uint32_t first_layer, layers;     /* layers 0: all that both sides hold */
	uint32_t turn; /* any number that all ranks agree on, such as the request's: see below */
};

/*
 * A plan turns one layout into another: what one rank's cache has and another's wants, for as many
 * requests as there are. It moves the heads and layers that both hold; a plan between ranks that
 * have none in common is a plan of nothing. Of sources that hold copies of the same heads, number
 * (the destination's copy + turn) % copies gives them: every destination gets every byte once, and
 * the sources share the work.
 *
 * Needs no context and no peer; both layouts are copied. direction: whether bytes go from local to
 * remote (KVR_WRITE) or from remote to local. -EINVAL: parts or head_bytes differ; and as
 * kvr_layout_bytes.
 */
KVR_API int kvr_plan_open(const struct kvr_layout *local, const struct kvr_layout *remote,
                          enum kvr_direction direction, struct kvr_plan **out);
KVR_API void kvr_plan_close(struct kvr_plan *);

/*
 * The ops of a request, for kvr_write or kvr_read; fills at most max of them, and returns how many
 * there are, 0 where this pair of ranks has nothing to move. local and remote: the regions in the
 * order that the layouts give them; not looked at, nor is ops, where max is 0.
 *
 * Runs that touch on both sides are one run, if the tables name their blocks one after the other,
 * upwards or downwards; runs of one length at one distance are one op. Ops of several plans may go
 * into one kvr_write; beyond its limit of pieces, take fewer layers or tokens at a time.
 *
 * Nothing is allocated. Errors, which the log explains with the field's name: -EINVAL (a table is
 * missing or too short, no tokens, a region is NULL), -ERANGE (a block outside of the cache),
 * -EOVERFLOW, -E2BIG (unknown tail).
 */
KVR_API ssize_t kvr_plan_ops(const struct kvr_plan *, struct kvr_region *const *local,
                             struct kvr_remote *const *remote, const struct kvr_pages *,
                             struct kvr_op *ops, size_t max);

/* The bytes that these ops move; 0: none, so that a destination knows which sources it waits for,
 * each moving a counter once. The tables are not looked at, and may be NULL. Errors as above. */
KVR_API ssize_t kvr_plan_bytes(const struct kvr_plan *, const struct kvr_pages *);

/*
 * Collective resharding: kvr_reshard moves a set of requests from the caches of some ranks into
 * those of others, each rank with a layout and block tables of its own.
 */
enum kvr_role { KVR_BYSTANDER, KVR_SOURCE, KVR_DESTINATION };

/* What a rank brings; a bystander neither layout nor regions. */
struct kvr_cache {
	size_t size;
	enum kvr_role role;
	const struct kvr_layout *layout;
	struct kvr_region *const *regions; /* as the layout counts them */
};

/* What came of it at one rank. */
struct kvr_resharded {
	uint64_t bytes_written, bytes_received;
	uint64_t ops;         /* written */
	uint64_t nanoseconds; /* since all ranks were ready, until it had written all */
};

/*
 * Collective, over all ranks of the bootstrap. requests: n of them, with this rank's block tables
 * as local_blocks; the remote tables are not looked at. Sources and destinations pass the same n,
 * first_token, tokens, first_layer, layers and turn, bystanders n = 0. Each source writes what its
 * turns are, a bounded number of writes at a time; no counter moves. all: NULL, or where to put
 * what came of it at each rank.
 *
 * Returns the same at every rank, unless one died: 0 when all bytes are where they belong. With any
 * result no byte of it moves after: where a rank has died, -EHOSTUNREACH as for kvr_allgather, each
 * source first cancels what it writes, and each destination waits until all sources that live have
 * done so. Before
 * anything is moved: the errors of kvr_layout_cover, kvr_plan_open and kvr_plan_ops at any rank;
 * -EINVAL where ranks do not pass the same. The log of the rank where it happened tells more.
 */
KVR_API int kvr_reshard(struct kvr *, const struct kvr_cache *mine,
                        const struct kvr_pages *requests, size_t n, struct kvr_resharded *all);

struct kvr_stats {
	size_t size;
	/* Completed pieces, counted at the rank that moves them: writes that are pulled are read by
	 * their targets. */
	uint64_t bytes_written, bytes_read;
	uint64_t pieces;   /* completed, both kinds */
	uint64_t arrivals; /* pieces that peers wrote here */
	uint64_t errors;   /* failed pieces and messages */
	uint64_t retries;  /* pieces given up here, which went over other rails */
	uint64_t resets;   /* of the rail's endpoint */
	/* Of late: about half of it is the last quarter of a second. */
	uint64_t bytes_per_second;
};

/* Of one rail; of all for rail -1. */
KVR_API int kvr_stats_get(const struct kvr *, int rail, struct kvr_stats *out);

struct kvr_setting {
	const char *name, *type, *value, *fallback,
		*help; /* static, or valid until the next call */
};

/* The environment's table, index 0 and up; -ENOENT behind its end. */
KVR_API int kvr_setting_get(size_t index, struct kvr_setting *out);

/* Level 0 error, 1 warning, 2 information, 3 detail. fn may be called from any thread, one at a
 * time, and must not call kvrail. Default: standard error, up to KVR_LOG's level. NULL: default. */
KVR_API void kvr_set_log(void (*fn)(void *arg, int level, const char *line), void *arg);

/* Static text for a result of any call. */
KVR_API const char *kvr_strerror(int err);

#ifdef __cplusplus
}
#endif
#endif
