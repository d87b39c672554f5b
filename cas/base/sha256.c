/*
 * sha256.c digests one message, a stream, or many messages side by side.
 *
 * 1. Every way to do it is one function of the type sha256_blocks
 *    (cas/base/sha256_lanes.h); all that differs is how many messages it takes
 *    along at once. The scalar one stands here, the others in their own files,
 *    and they are entered only after cas/base/cpu.h was asked.
 * 2. All ways give the same digests. sha256_self_check() compares them; after
 *    a difference nothing but the scalar one is used.
 * 3. Many messages: a lane that is done takes the next message at once, the
 *    longest come first, and when too few are left for the width, they change
 *    over to a narrower way in the middle of what they are doing.
 * 4. Nothing is allocated: order is made in slices that fit the stack.
 *
 * Which way from how many messages on: see `ways` below.
 */
#include "cas/base/sha256.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "cas/base/cpu.h"
#include "cas/base/sha256_lanes.h"

/* clang-format off */
const uint32_t sha256_k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};
/* clang-format on */

/* First 32 bits of the fractional parts of the square roots of the first 8 primes. */
static const uint32_t initial_state[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
	0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };

/* --- The scalar way ------------------------------------------------------ */

#define VEC uint32_t
#define ADD(x, y) ((x) + (y))
#define XOR3(x, y, z) ((x) ^ (y) ^ (z))
#define ROR(x, n) ((x) >> (n) | (x) << (32 - (n)))
#define SHR(x, n) ((x) >> (n))
#define CH(x, y, z) ((z) ^ ((x) & ((y) ^ (z))))
/* Written so that x ^ y of one round is y ^ z of the next and the compiler sees it. */
#define MAJ(x, y, z) ((y) ^ (((x) ^ (y)) & ((y) ^ (z))))
#define ALL(p) (*(p))

static uint32_t
get_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void
put_be32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void
blocks_scalar(uint32_t *state, const uint8_t *const *data, size_t blocks)
{
	const uint8_t *p = data[0];
	uint32_t w[16];

	for (; blocks > 0; blocks--, p += 64) {
		for (int i = 0; i < 16; i++)
			w[i] = get_be32(p + 4 * i);
		SHA256_BLOCK(state, w);
	}
}

/* --- Which way ----------------------------------------------------------- */

/*
 * A way wins from so many messages in progress on; 0 = never. Two columns,
 * since the SHA instructions make the competition harder.
 *
 * Measured on a Sapphire Rapids class core (one step = one block of every
 * lane, data in L2, gcc 12 -O2):
 *
 *              scalar  instr  instr x2  avx2 x8  avx512vl x8  avx512 x16
 *   ns a step     173   36.5      53.8      333          175         270
 *   GB/s         0.37   1.75      2.38     1.54         2.93        3.79
 *
 * Six messages cost 161 ns two by two, seven 198: from seven on 8 lanes are
 * cheaper even if one idles. Nine to eleven cost 8 lanes and the rest two by
 * two (211, 229, 265 ns); twelve 282: then 16 lanes at 270. AVX2 never beats
 * SHA instructions, and neither does NEON. Without SHA instructions, scalar is
 * all there is below the lanes: 8 lanes with rotates pay from two messages on,
 * AVX2 and NEON from three, 16 lanes as soon as 8 do not suffice.
 */
static const struct way {
	const char *name;
	sha256_blocks *blocks; /* NULL: not on this architecture */
	unsigned width;
	unsigned needs; /* enum cpu_set */
	unsigned from, from_beside_instr;
} ways[SHA256_WAY_COUNT] = {
	[SHA256_SCALAR] = { "scalar", blocks_scalar, 1, 0, 1, 0 },
#if defined(__x86_64__) || defined(__aarch64__)
	[SHA256_INSTR] = { "instr", sha256_blocks_instr, 1, CPU_SHA, 0, 1 },
	[SHA256_INSTR_TWO] = { "instr x2", sha256_blocks_instr_two, 2, CPU_SHA, 0, 2 },
#else
	[SHA256_INSTR] = { .name = "instr" },
	[SHA256_INSTR_TWO] = { .name = "instr x2" },
#endif
#if defined(__aarch64__)
	[SHA256_NEON] = { "neon x4", sha256_blocks_neon, 4, CPU_NEON, 3, 0 },
#else
	[SHA256_NEON] = { .name = "neon x4" },
#endif
#if defined(__x86_64__)
	[SHA256_AVX2] = { "avx2 x8", sha256_blocks_avx2, 8, CPU_AVX2, 3, 0 },
	[SHA256_AVX512VL] = { "avx512vl x8", sha256_blocks_avx512vl, 8, CPU_AVX512VL, 2, 7 },
	[SHA256_AVX512] = { "avx512 x16", sha256_blocks_avx512, 16, CPU_AVX512BW, 9, 12 },
#else
	[SHA256_AVX2] = { .name = "avx2 x8" },
	[SHA256_AVX512VL] = { .name = "avx512vl x8" },
	[SHA256_AVX512] = { .name = "avx512 x16" },
#endif
};

/* Set for good once a way was caught giving another digest than the scalar one. */
static atomic_bool distrusted;

void
sha256_distrust(void)
{
	atomic_store_explicit(&distrusted, true, memory_order_relaxed);
}

/* The ways that may be used now, as a set of bits 1 << way. */
static unsigned
usable_ways(void)
{
	unsigned sets = cpu_sets(), usable = 1u << SHA256_SCALAR;

	if (atomic_load_explicit(&distrusted, memory_order_relaxed))
		return usable;
	for (unsigned i = 0; i < SHA256_WAY_COUNT; i++)
		if (ways[i].blocks != NULL && (ways[i].needs & ~sets) == 0)
			usable |= 1u << i;
	return usable;
}

static unsigned
wins_from(unsigned way, unsigned usable)
{
	return usable & 1u << SHA256_INSTR ? ways[way].from_beside_instr : ways[way].from;
}

/* The best way for `count` messages: the widest that wins. If none does (a way
 * asked for by name, with few messages), the narrowest there is. */
static unsigned
pick_way(unsigned usable, size_t count)
{
	unsigned narrowest = SHA256_SCALAR;

	for (unsigned i = SHA256_WAY_COUNT; i-- > 0;) {
		unsigned from = wins_from(i, usable);

		if ((usable & 1u << i) == 0)
			continue;
		if (from != 0 && count >= from)
			return i;
		narrowest = i;
	}
	return narrowest;
}

/* --- One message, and a stream ------------------------------------------- */

static void
digest_blocks(uint32_t state[8], const uint8_t *data, size_t blocks)
{
	unsigned way = pick_way(usable_ways(), 1);

	if (blocks == 0)
		return;
	assert(ways[way].width == 1); /* no lanes win with one message */
	ways[way].blocks(state, &data, blocks);
}

/* The last len % 64 bytes of a message, padded: a bit, zeros, its length in bits. */
static size_t
pad_tail(uint8_t tail[128], const uint8_t *rest, uint64_t len)
{
	size_t rest_len = (size_t)(len % 64);
	size_t blocks = rest_len < 56 ? 1 : 2;

	if (rest_len > 0) /* `rest` may be NULL */
		memcpy(tail, rest, rest_len);
	memset(tail + rest_len, 0, 64 * blocks - rest_len);
	tail[rest_len] = 0x80;
	put_be32(tail + 64 * blocks - 8, (uint32_t)(len >> 29));
	put_be32(tail + 64 * blocks - 4, (uint32_t)(len << 3));
	return blocks;
}

static void
put_digest(struct larder_id *out, const uint32_t *state, size_t stride)
{
	for (size_t i = 0; i < 8; i++)
		put_be32(out->bytes + 4 * i, state[i * stride]);
}

void
sha256(struct larder_id *out, const void *data, size_t len)
{
	const uint8_t *bytes = data;
	size_t whole = len / 64;
	uint8_t tail[128];
	uint32_t state[8];
	size_t tail_blocks;

	memcpy(state, initial_state, sizeof state);
	digest_blocks(state, bytes, whole);
	tail_blocks = pad_tail(tail, len % 64 > 0 ? bytes + 64 * whole : NULL, len);
	digest_blocks(state, tail, tail_blocks);
	put_digest(out, state, 1);
}

void
sha256_init(struct sha256 *stream)
{
	memset(stream, 0, sizeof *stream);
	memcpy(stream->state, initial_state, sizeof stream->state);
}

void
sha256_update(struct sha256 *stream, const void *data, size_t len)
{
	const uint8_t *bytes = data;
	size_t held = (size_t)(stream->len % 64);

	if (len == 0) /* `data` may be NULL */
		return;
	stream->len += len;
	if (held > 0) {
		size_t more = len < 64 - held ? len : 64 - held;

		memcpy(stream->held + held, bytes, more);
		bytes += more;
		len -= more;
		if (held + more < 64)
			return;
		digest_blocks(stream->state, stream->held, 1);
	}
	digest_blocks(stream->state, bytes, len / 64);
	memcpy(stream->held, bytes + len / 64 * 64, len % 64);
}

void
sha256_final(struct sha256 *stream, struct larder_id *out)
{
	uint8_t tail[128];
	size_t blocks = pad_tail(tail, stream->held, stream->len);

	digest_blocks(stream->state, tail, blocks);
	put_digest(out, stream->state, 1);
}

/* --- Many messages ------------------------------------------------------- */

/*
 * Jobs, longest first: a slice at a time is put in order by counting. Classes
 * of length (eight to each power of two) are order enough, and equal lengths
 * keep the caller's order, which is that of memory as a rule. From one slice
 * to the next the lanes stay full, so only the end of the last one counts.
 */
enum { SLICE_MAX = 1024, CLASS_COUNT = 8 * 24 };

struct feed {
	const struct sha256_job *slice; /* where the current slice begins */
	size_t slice_len, slice_at;
	size_t left; /* jobs not handed out yet, all slices */
	uint16_t order[SLICE_MAX];
};

/* 0 for the longest messages (64 MiB and more), CLASS_COUNT - 1 for the shortest. */
static unsigned
class_of(size_t len)
{
	uint64_t blocks = len / 64 + 1;
	unsigned log = 0, class;

	while (blocks >> log > 1)
		log++;
	class = 8 * log + (unsigned)((blocks << 3 >> log) & 7);
	return class < CLASS_COUNT ? CLASS_COUNT - 1 - class : 0;
}

static void
order_slice(struct feed *feed)
{
	uint16_t start[CLASS_COUNT + 1] = { 0 };

	for (size_t i = 0; i < feed->slice_len; i++)
		start[class_of(feed->slice[i].len) + 1]++;
	for (size_t c = 0; c < CLASS_COUNT; c++)
		start[c + 1] = (uint16_t)(start[c + 1] + start[c]);
	for (size_t i = 0; i < feed->slice_len; i++)
		feed->order[start[class_of(feed->slice[i].len)]++] = (uint16_t)i;
}

static const struct sha256_job *
next_job(struct feed *feed)
{
	if (feed->slice_at == feed->slice_len) {
		feed->slice += feed->slice_len;
		feed->slice_len = feed->left < SLICE_MAX ? feed->left : SLICE_MAX;
		feed->slice_at = 0;
		order_slice(feed);
	}
	feed->left--;
	return &feed->slice[feed->order[feed->slice_at++]];
}

/* A message in progress. It keeps its place in memory while it changes lanes. */
struct message {
	const struct sha256_job *job;
	bool in_tail;
	uint32_t state[8]; /* only while it waits for a lane */
	uint8_t tail[128];
};

/*
 * Messages in progress are in[0] .. in[live - 1]; the first `width` of them are
 * in the lanes of the same number, the others (after a change to a narrower
 * way) wait. `in` is always a permutation of `messages`.
 */
struct lanes {
	const struct way *way;
	size_t live;
	struct message *in[SHA256_LANES_MAX];
	const uint8_t *at[SHA256_LANES_MAX];
	size_t blocks_left[SHA256_LANES_MAX];
	_Alignas(64) uint32_t state[8 * SHA256_LANES_MAX];
	struct message messages[SHA256_LANES_MAX];
};

static size_t
busy_lanes(const struct lanes *lanes)
{
	return lanes->live < lanes->way->width ? lanes->live : lanes->way->width;
}

static void
set_lane_state(struct lanes *lanes, size_t lane, const uint32_t *state)
{
	for (size_t i = 0; i < 8; i++)
		lanes->state[i * lanes->way->width + lane] = state[i];
}

static void
get_lane_state(uint32_t *state, const struct lanes *lanes, size_t lane)
{
	for (size_t i = 0; i < 8; i++)
		state[i] = lanes->state[i * lanes->way->width + lane];
}

static void
begin_tail(struct lanes *lanes, size_t lane)
{
	struct message *message = lanes->in[lane];
	const struct sha256_job *job = message->job;
	const uint8_t *bytes = job->data;

	message->in_tail = true;
	lanes->blocks_left[lane] = pad_tail(
	    message->tail, job->len % 64 > 0 ? bytes + job->len / 64 * 64 : NULL, job->len);
	lanes->at[lane] = message->tail;
}

/* Start a job in `lane`, whose message is free. */
static void
begin_message(struct lanes *lanes, size_t lane, const struct sha256_job *job)
{
	lanes->in[lane]->job = job;
	lanes->in[lane]->in_tail = false;
	lanes->at[lane] = job->data;
	lanes->blocks_left[lane] = job->len / 64;
	set_lane_state(lanes, lane, initial_state);
	if (lanes->blocks_left[lane] == 0)
		begin_tail(lanes, lane);
}

/* The message in `lane` is done: fill the lane from those that wait, from the
 * feed, or with the last lane's message, so that lanes in use have no holes. */
static void
replace_message(struct lanes *lanes, size_t lane, struct feed *feed)
{
	struct message *done = lanes->in[lane];
	bool waiting = lanes->live > lanes->way->width;
	size_t last = lanes->live - 1;

	if (!waiting && feed->left > 0) {
		begin_message(lanes, lane, next_job(feed));
		return;
	}
	if (!waiting)
		get_lane_state(lanes->in[last]->state, lanes, last);
	lanes->in[lane] = lanes->in[last];
	lanes->in[last] = done;
	lanes->at[lane] = lanes->at[last];
	lanes->blocks_left[lane] = lanes->blocks_left[last];
	set_lane_state(lanes, lane, lanes->in[lane]->state);
	lanes->live--;
}

/* Take every message to another way: all wait for a moment, as many as fit go on. */
static void
change_way(struct lanes *lanes, const struct way *way)
{
	for (size_t lane = 0; lane < busy_lanes(lanes); lane++)
		get_lane_state(lanes->in[lane]->state, lanes, lane);
	lanes->way = way;
	for (size_t lane = 0; lane < busy_lanes(lanes); lane++)
		set_lane_state(lanes, lane, lanes->in[lane]->state);
}

/* All lanes as far as the nearest end of a message or of its whole blocks. */
static void
run_lanes(struct lanes *lanes)
{
	size_t busy = busy_lanes(lanes), blocks = lanes->blocks_left[0];

	for (size_t lane = 1; lane < busy; lane++)
		if (lanes->blocks_left[lane] < blocks)
			blocks = lanes->blocks_left[lane];
	for (size_t lane = busy; lane < lanes->way->width; lane++)
		lanes->at[lane] = lanes->at[0];
	lanes->way->blocks(lanes->state, lanes->at, blocks);
	for (size_t lane = 0; lane < busy; lane++) {
		lanes->at[lane] += 64 * blocks;
		lanes->blocks_left[lane] -= blocks;
	}
}

/* Backwards, so that a lane filled with the last one's message is not looked at twice. */
static void
turn_over_lanes(struct lanes *lanes, struct feed *feed)
{
	for (size_t lane = busy_lanes(lanes); lane-- > 0;) {
		struct message *message = lanes->in[lane];

		if (lanes->blocks_left[lane] > 0)
			continue;
		if (!message->in_tail) {
			begin_tail(lanes, lane);
			continue;
		}
		put_digest(message->job->out, lanes->state + lane, lanes->way->width);
		replace_message(lanes, lane, feed);
	}
}

static void
digest_jobs(unsigned usable, const struct sha256_job *jobs, size_t count)
{
	struct feed feed;
	struct lanes lanes;

	feed.slice = jobs;
	feed.slice_len = feed.slice_at = 0;
	feed.left = count;
	lanes.way = &ways[pick_way(usable, count)];
	lanes.live = 0;
	for (size_t i = 0; i < SHA256_LANES_MAX; i++)
		lanes.in[i] = &lanes.messages[i];
	for (; lanes.live < lanes.way->width && feed.left > 0; lanes.live++)
		begin_message(&lanes, lanes.live, next_job(&feed));

	while (lanes.live > 0) {
		const struct way *best = &ways[pick_way(usable, lanes.live + feed.left)];

		if (best != lanes.way)
			change_way(&lanes, best);
		run_lanes(&lanes);
		turn_over_lanes(&lanes, &feed);
	}
}

void
sha256_many(const struct sha256_job *jobs, size_t count)
{
	if (count == 1)
		sha256(jobs->out, jobs->data, jobs->len);
	else if (count > 1)
		digest_jobs(usable_ways(), jobs, count);
}

int
sha256_many_with(enum sha256_way way, const struct sha256_job *jobs, size_t count)
{
	if ((usable_ways() & 1u << way) == 0)
		return -1;
	digest_jobs(1u << way, jobs, count);
	return 0;
}

/* --- Trust, and talking about it ----------------------------------------- */

const char *
sha256_way_name(enum sha256_way way)
{
	return ways[way].name;
}

const char *
sha256_describe(void)
{
	static _Thread_local char text[128];
	unsigned usable = usable_ways();
	size_t len;
	int n;

	n = snprintf(text, sizeof text, "one: %s; many:", ways[pick_way(usable, 1)].name);
	len = (size_t)n;
	for (unsigned i = 0; i < SHA256_WAY_COUNT; i++) {
		unsigned from = wins_from(i, usable);

		/* Mention only what pick_way() would choose for some number. */
		if ((usable & 1u << i) == 0 || from == 0 || pick_way(usable, from) != i)
			continue;
		n = snprintf(text + len, sizeof text - len, " %s from %u,", ways[i].name, from);
		if (n < 0 || (size_t)n >= sizeof text - len)
			break;
		len += (size_t)n;
	}
	text[len - 1] = '\0'; /* the last comma */
	return text;
}

/*
 * Lengths around the block borders, more messages than the widest way has
 * lanes, and an odd number of them.
 */
enum { CHECK_COUNT = 2 * SHA256_LANES_MAX + 1, CHECK_STEP = 7 };

int
sha256_self_check(void)
{
	static const uint8_t abc_digest[32] = { 0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
		0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
		0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad };
	struct larder_id want[CHECK_COUNT], got[CHECK_COUNT];
	struct sha256_job jobs[CHECK_COUNT];
	uint8_t text[CHECK_COUNT * CHECK_STEP];
	unsigned usable = usable_ways();

	for (size_t i = 0; i < sizeof text; i++)
		text[i] = (uint8_t)(i * 167 + i / 7);
	memcpy(text, "abc", 3);
	for (size_t i = 0; i < CHECK_COUNT; i++)
		jobs[i] = (struct sha256_job){ i > 0 ? text + i : text,
			i > 0 ? (CHECK_STEP - 1) * i : 3, &want[i] };
	digest_jobs(1u << SHA256_SCALAR, jobs, CHECK_COUNT);
	for (size_t i = 0; i < CHECK_COUNT; i++)
		jobs[i].out = &got[i];

	for (unsigned way = 0; way < SHA256_WAY_COUNT; way++) {
		if ((usable & 1u << way) == 0)
			continue;
		memset(got, 0, sizeof got);
		digest_jobs(1u << way, jobs, CHECK_COUNT);
		if (memcmp(got, want, sizeof want) != 0 ||
		    memcmp(got[0].bytes, abc_digest, sizeof abc_digest) != 0) {
			sha256_distrust();
			return -1;
		}
	}
	return 0;
}
