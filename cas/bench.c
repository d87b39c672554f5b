/*
 * This machine's rates, one core each: what put, get and check are made of. See larder.h.
 *
 * 1. Every figure is the best of several rounds: what the machine can do, not
 *    what else it was doing.
 * 2. The bytes are made up, the same on every machine, so that figures compare:
 *    noise for hash, cuts and checksum, text in the manner of cookbooks for zstd.
 * 3. References are given where SPEED.md has the same figure.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cas/base/bytes.h"
#include "cas/base/clock.h"
#include "cas/base/crc32c.h"
#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/limits.h"
#include "cas/base/mem.h"
#include "cas/base/sha256.h"
#include "cas/larder.h"
#include "cas/object/chunker.h"
#include "cas/rmtree.h"
#include "index/index.h"
#include "pack/pack.h"

enum {
	DATA_LEN = 8 * 1024 * 1024,
	SKEW = 64, /* so that messages do not all start at the same place of a page */
	JOBS_MAX = DATA_LEN / 4096,
	SEGMENT_LEN = 128 * 1024,
	SEGMENTS = DATA_LEN / SEGMENT_LEN,
	DELTA_LEN = 4096,
	CHUNKS = 1000 * 1000,
	CHUNKS_QUICK = 100 * 1000,
	CHUNKS_AT_ONCE = 10 * 1000,
	ROUNDS = 5,
};

struct bench {
	larder_bench_fn fn;
	void *context;
	int64_t round_ns;
	uint8_t *noise, *text; /* DATA_LEN each */
	uint64_t seed;
	size_t at; /* which segment is next */

	size_t piece_len;
	struct sha256_job *jobs;
	struct larder_id *digests;

	struct chunker chunker;
	struct chunker_candidates candidates;

	struct pack_codec *codec;
	int level;
	struct buf segments;     /* encoded, one behind the other */
	size_t segment_at[SEGMENTS + 1];
	uint8_t *plain;

	struct index *index;
	uint64_t chunks, written;
};

static uint64_t
next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* ---- measuring ---- */

/* One unit of work: how much it did, or an error. */
typedef int64_t (*work_fn)(struct bench *b, struct larder_err *err);

static int
measure(struct bench *b, double *rate, work_fn work, struct larder_err *err)
{
	*rate = 0;
	for (int round = 0; round < ROUNDS; round++) {
		int64_t begin = clock_mono_ns(), passed;
		uint64_t done = 0;

		do {
			int64_t some = work(b, err);

			if (some < 0)
				return (int)some;
			done += (uint64_t)some;
			passed = clock_mono_ns() - begin;
		} while (passed < b->round_ns);
		if ((double)done / (double)passed > *rate)
			*rate = (double)done / (double)passed;
	}
	return LARDER_OK;
}

enum unit { GIGABYTES, MEGABYTES, PER_SECOND };

static int
row(struct bench *b, const char *what, enum unit unit, double reference, work_fn work,
    struct larder_err *err)
{
	static const struct {
		const char *name;
		double scale; /* of a unit a nanosecond */
	} units[] = { { "GB/s", 1 }, { "MB/s", 1e3 }, { "/s", 1e9 } };
	struct larder_bench_row row = {
		.what = what,
		.unit = units[unit].name,
		.reference = reference,
	};
	double rate;
	int rc = measure(b, &rate, work, err);

	if (rc < 0) {
		err_prefix(err, "%s", what);
		return rc;
	}
	row.value = rate * units[unit].scale;
	return b->fn(b->context, &row);
}

/* ---- hash ---- */

static int64_t
hash_one(struct bench *b, struct larder_err *err)
{
	(void)err;
	b->at = (b->at + b->piece_len + SKEW) % (DATA_LEN - b->piece_len);
	sha256(&b->digests[0], b->noise + b->at, b->piece_len);
	return (int64_t)b->piece_len;
}

static int64_t
hash_many(struct bench *b, struct larder_err *err)
{
	size_t count = DATA_LEN / (b->piece_len + SKEW);

	(void)err;
	for (size_t i = 0; i < count; i++)
		b->jobs[i] = (struct sha256_job){ b->noise + i * (b->piece_len + SKEW),
			b->piece_len, &b->digests[i] };
	sha256_many(b->jobs, count);
	return (int64_t)(count * b->piece_len);
}

static int64_t
checksum(struct bench *b, struct larder_err *err)
{
	(void)err;
	b->at = (b->at + SEGMENT_LEN) % (DATA_LEN - SEGMENT_LEN);
	b->seed ^= crc32c(0, b->noise + b->at, SEGMENT_LEN) | 1u;
	return SEGMENT_LEN;
}

static int64_t
scan(struct bench *b, struct larder_err *err)
{
	(void)err;
	chunker_scan(&b->chunker, &b->candidates, b->noise, DATA_LEN, 0, 0);
	return DATA_LEN;
}

static int
bench_hash(struct bench *b, struct larder_err *err)
{
	static const struct {
		const char *one, *many;
		size_t len;
		double one_reference, many_reference;
	} sizes[] = {
		{ "SHA-256, one, 4 KiB", "SHA-256, many, 4 KiB", 4096, 0.35, 2.25 },
		{ "SHA-256, one, 16 KiB", "SHA-256, many, 16 KiB", 16384, 0.36, 2.43 },
		{ "SHA-256, one, 64 KiB", "SHA-256, many, 64 KiB", 65536, 0.38, 2.50 },
	};
	int rc = LARDER_OK;

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] && rc == LARDER_OK; i++) {
		b->piece_len = sizes[i].len;
		b->at = 0;
		rc = row(b, sizes[i].one, GIGABYTES, sizes[i].one_reference, hash_one, err);
		if (rc == LARDER_OK)
			rc = row(b, sizes[i].many, GIGABYTES, sizes[i].many_reference, hash_many,
			    err);
	}
	if (rc == LARDER_OK)
		rc = row(b, "CRC-32C, 128 KiB", GIGABYTES, 0, checksum, err);
	if (rc == LARDER_OK)
		rc = row(b, "chunker, search for cuts", GIGABYTES, 4.5, scan, err);
	return rc;
}

/* ---- zstd ---- */

/* Lines of a few kinds, with names and numbers in them. */
static void
make_up_text(uint8_t *out, size_t len, uint64_t seed)
{
	static const char *const lines[] = {
		"package '@' do\n  action :install\nend\n",
		"default['@']['@'] = '#'\n",
		"template '/etc/@/@.conf' do\n  source '@.erb'\n  mode '0644'\nend\n",
		"  notifies :restart, 'service[@]', :delayed\n",
		"# @ of the @, see @ and @\n",
		"  it { is_expected.to contain_@('@').with_version('#') }\n",
		"include_recipe '@::@'\n",
		"depends '@', '~> #'\n",
	};
	size_t at = 0;

	while (at < len) {
		const char *s = lines[next_random(&seed) % (sizeof lines / sizeof lines[0])];

		for (; *s != '\0' && at < len; s++) {
			char word[16] = { *s, '\0' };
			uint64_t r = next_random(&seed);

			if (*s == '@')
				snprintf(word, sizeof word, "%c%c%c%c%u", (int)('a' + r % 7),
				    (int)('e' + r / 7 % 5), (int)('l' + r / 35 % 6),
				    (int)('a' + r / 210 % 4), (unsigned)(r / 840 % 2));
			else if (*s == '#')
				snprintf(word, sizeof word, "%u.%u.%u", (unsigned)(r % 20),
				    (unsigned)(r / 20 % 30), (unsigned)(r / 600 % 90));
			for (const char *w = word; *w != '\0' && at < len; w++)
				out[at++] = (uint8_t)*w;
		}
	}
}

static int64_t
encode(struct bench *b, struct larder_err *err)
{
	struct pack_plain plain = {
		.data = b->text + b->at,
		.len = SEGMENT_LEN,
		.type = PACK_TYPE_DATA,
		.level = b->level,
	};
	int rc;

	b->at = (b->at + SEGMENT_LEN) % DATA_LEN;
	buf_clear(&b->segments);
	rc = pack_encode(&b->segments, b->codec, &plain, 0, err);
	return rc < 0 ? rc : SEGMENT_LEN;
}

/* Small files against what they were before. */
static int64_t
encode_deltas(struct bench *b, struct larder_err *err)
{
	static const struct larder_id id = { { 1 } };
	int64_t done = 0;

	for (unsigned i = 0; i < 32; i++) {
		struct pack_plain plain = {
			.data = b->plain,
			.len = DELTA_LEN,
			.type = PACK_TYPE_DATA,
			.level = 3,
			.base_id = &id,
			.base = b->text + b->at,
			.base_len = DELTA_LEN,
		};
		int rc;

		memcpy(b->plain, b->text + b->at, DELTA_LEN);
		memcpy(b->plain + 1000, "changed", 7);
		b->at = (b->at + DELTA_LEN) % DATA_LEN;
		buf_clear(&b->segments);
		rc = pack_encode(&b->segments, b->codec, &plain, 0, err);
		if (rc < 0)
			return rc;
		done += DELTA_LEN;
	}
	return done;
}

/* The head of a segment as pack_encode wrote it (pack/FORMAT.md, "Segment"). */
static struct pack_segment
head_of(const uint8_t *bytes)
{
	struct pack_segment segment = {
		.plain_len = get_le32(bytes),
		.store_len = get_le32(bytes + 4),
		.codec = bytes[8] == PACK_CODEC_STORED ? PACK_CODEC_STORED : PACK_CODEC_ZSTD,
		.type = PACK_TYPE_DATA,
	};

	return segment;
}

static int64_t
decode(struct bench *b, struct larder_err *err)
{
	const uint8_t *bytes = b->segments.data + b->segment_at[b->at];
	struct pack_segment segment = head_of(bytes);
	int rc;

	b->at = (b->at + 1) % SEGMENTS;
	rc = pack_decode(
	    b->plain, b->codec, &segment, bytes + PACK_SEGMENT_HEADER_LEN, NULL, 0, err);
	return rc < 0 ? rc : SEGMENT_LEN;
}

static int
encode_all(struct bench *b, struct larder_err *err)
{
	buf_clear(&b->segments);
	for (size_t i = 0; i < SEGMENTS; i++) {
		struct pack_plain plain = {
			.data = b->text + i * SEGMENT_LEN,
			.len = SEGMENT_LEN,
			.type = PACK_TYPE_DATA,
			.level = 3,
		};
		int rc;

		b->segment_at[i] = b->segments.len;
		rc = pack_encode(&b->segments, b->codec, &plain, 0, err);
		if (rc < 0)
			return rc;
	}
	return LARDER_OK;
}

static int
bench_codec(struct bench *b, struct larder_err *err)
{
	static const struct {
		const char *what;
		int level;
		double reference;
	} levels[] = { /* compress, then decompress: both figures of SPEED.md */
		{ "zstd -1 and compare, 128 KiB", -1, 336 },
		{ "zstd 1 and compare, 128 KiB", 1, 306 },
		{ "zstd 3 and compare, 128 KiB", 3, 261 },
	};
	int rc = pack_codec_open(&b->codec, err);

	for (size_t i = 0; i < sizeof levels / sizeof levels[0] && rc == LARDER_OK; i++) {
		b->level = levels[i].level;
		b->at = 0;
		rc = row(b, levels[i].what, MEGABYTES, levels[i].reference, encode, err);
	}
	if (rc == LARDER_OK)
		rc = row(b, "zstd 3 against a base and compare, 4 KiB", MEGABYTES, 0,
		    encode_deltas, err);
	if (rc == LARDER_OK)
		rc = encode_all(b, err);
	b->at = 0;
	if (rc == LARDER_OK)
		rc = row(b, "zstd, decode, 128 KiB", MEGABYTES, 1316, decode, err);
	return rc;
}

/* ---- index ---- */

static void
chunk_id(struct larder_id *out, uint64_t number)
{
	uint64_t seed = (number + 1) * 0x9e3779b97f4a7c15u;

	for (size_t i = 0; i < LARDER_ID_LEN; i += 8)
		put_le64(out->bytes + i, next_random(&seed));
}

static int
put_chunks(void *context, struct index_write *write, struct larder_err *err)
{
	const struct bench *b = context;
	int rc = LARDER_OK;

	for (uint64_t i = 0; i < CHUNKS_AT_ONCE && rc >= 0; i++) {
		struct index_place place = { .pack = 1, .segment_at = 32, .chunk_len = 4096 };
		struct larder_id id;

		chunk_id(&id, b->written + i);
		rc = index_chunk_put(write, &id, &place, err);
	}
	return rc < 0 ? rc : LARDER_OK;
}

static int64_t
look_up(struct bench *b, struct larder_err *err)
{
	struct index_read *read;
	struct index_place place;
	struct larder_id id;
	int rc = index_read_begin(&read, b->index, err);

	for (unsigned i = 0; i < 1000 && rc == LARDER_OK; i++) {
		chunk_id(&id, next_random(&b->seed) % b->chunks);
		rc = index_chunk_get(&place, read, &id, err);
	}
	index_read_end(read);
	return rc < 0 ? rc : 1000;
}

static int64_t
look_up_unknown(struct bench *b, struct larder_err *err)
{
	struct index_read *read;
	struct index_place place;
	struct larder_id id;
	int rc = index_read_begin(&read, b->index, err);

	for (unsigned i = 0; i < 1000 && rc == LARDER_OK; i++) {
		chunk_id(&id, b->chunks + next_random(&b->seed) % b->chunks);
		rc = index_chunk_get(&place, read, &id, err);
		if (rc == LARDER_ERR_NOT_FOUND)
			rc = LARDER_OK;
	}
	index_read_end(read);
	return rc < 0 ? rc : 1000;
}

/* One transaction at a time begins, looks up and ends: what a single command pays. */
static int64_t
look_up_alone(struct bench *b, struct larder_err *err)
{
	struct index_read *read;
	struct index_place place;
	struct larder_id id;
	int rc = LARDER_OK;

	for (unsigned i = 0; i < 1000 && rc == LARDER_OK; i++) {
		chunk_id(&id, next_random(&b->seed) % b->chunks);
		rc = index_read_begin(&read, b->index, err);
		if (rc < 0)
			break;
		rc = index_chunk_get(&place, read, &id, err);
		index_read_end(read);
	}
	return rc < 0 ? rc : 1000;
}

static int
write_chunks(struct bench *b, struct larder_err *err)
{
	struct larder_bench_row row = {
		.what = "index, chunks written",
		.unit = "/s",
		.reference = 0,
	};
	int64_t begin = clock_mono_ns();
	int rc = LARDER_OK;

	for (; b->written < b->chunks && rc == LARDER_OK; b->written += CHUNKS_AT_ONCE)
		rc = index_update(b->index, put_chunks, b, err);
	if (rc < 0)
		return rc;
	row.value = (double)b->chunks * 1e9 / (double)(clock_mono_ns() - begin);
	return b->fn(b->context, &row);
}

static int
bench_index(struct bench *b, int dir_fd, struct larder_err *err)
{
	struct index_options options = {
		.dir_fd = dir_fd,
		.dir = "index",
		.create = true,
		.scratch = true,
	};
	bool full = b->chunks == CHUNKS; /* else look-ups stay in the caches: no reference */
	int rc = index_open(&b->index, &options, err);

	if (rc == LARDER_OK)
		rc = write_chunks(b, err);
	if (rc == LARDER_OK)
		rc = row(b, "index, look-ups, known", PER_SECOND, full ? 1.01e6 : 0, look_up,
		    err);
	if (rc == LARDER_OK)
		rc = row(b, "index, look-ups, unknown", PER_SECOND, full ? 1.11e6 : 0,
		    look_up_unknown, err);
	if (rc == LARDER_OK)
		rc = row(b, "index, transactions of one look-up", PER_SECOND, 0, look_up_alone,
		    err);
	index_close(b->index);
	b->index = NULL;
	return rc;
}

/* In a folder of its own, which goes again. */
static int
bench_in_folder(struct bench *b, struct larder_err *err)
{
	const char *tmp = getenv("TMPDIR");
	char name[64], hex[ID16_HEX_LEN + 1];
	int tmp_fd = -1, dir_fd = -1, rc;
	struct id16 id;

	rc = id16_random(&id, err);
	if (rc < 0)
		return rc;
	id16_to_hex(hex, &id);
	snprintf(name, sizeof name, "larder-bench-%s", hex);
	rc = file_open(&tmp_fd, -1, tmp != NULL && tmp[0] == '/' ? tmp : "/tmp",
	    O_RDONLY | O_DIRECTORY, 0, err);
	if (rc == LARDER_OK)
		rc = file_mkdir(tmp_fd, name, 0700, err);
	if (rc < 0)
		goto out;
	rc = file_open(&dir_fd, tmp_fd, name, O_RDONLY | O_DIRECTORY, 0, err);
	if (rc == LARDER_OK)
		rc = bench_index(b, dir_fd, err);
	file_close(dir_fd);
	if (rmtree(tmp_fd, name, rc == LARDER_OK ? err : NULL) < 0 && rc == LARDER_OK)
		rc = LARDER_ERR_IO;
out:
	file_close(tmp_fd);
	return rc;
}

/* ---- the call ---- */

static int
prepare(struct bench *b, struct larder_err *err)
{
	static const uint8_t seed[CHUNKER_SEED_LEN] = "seed of the bench";

	b->seed = 1;
	b->noise = mem_alloc(DATA_LEN);
	b->text = mem_alloc(DATA_LEN);
	b->plain = mem_alloc(SEGMENT_LEN);
	b->jobs = mem_array(JOBS_MAX, sizeof *b->jobs);
	b->digests = mem_array(JOBS_MAX, sizeof *b->digests);
	b->candidates.room = CHUNKER_CELLS_MAX(DATA_LEN);
	b->candidates.cells = mem_array(b->candidates.room, sizeof *b->candidates.cells);
	if (b->noise == NULL || b->text == NULL || b->plain == NULL || b->jobs == NULL ||
	    b->digests == NULL || b->candidates.cells == NULL)
		return err_nomem(err);
	for (size_t i = 0; i < DATA_LEN; i += 8)
		put_le64(b->noise + i, next_random(&b->seed));
	make_up_text(b->text, DATA_LEN, 1);
	chunker_init(&b->chunker, seed, CHUNKER_MEAN_DEFAULT);
	(void)sha256_self_check(); /* what differs is not used, and shows in the figures */
	return LARDER_OK;
}

int
larder_bench(bool quick, larder_bench_fn fn, void *context, struct larder_err *err)
{
	struct bench b = { .fn = fn, .context = context };
	int rc;

	if (fn == NULL)
		return err_set(err, LARDER_ERR_USAGE, "a function is needed");
	b.chunks = quick ? CHUNKS_QUICK : CHUNKS;
	b.round_ns = (quick ? 100 : 800) * 1000000ll / ROUNDS;
	rc = prepare(&b, err);
	if (rc == LARDER_OK)
		rc = bench_hash(&b, err);
	if (rc == LARDER_OK)
		rc = bench_codec(&b, err);
	if (rc == LARDER_OK)
		rc = bench_in_folder(&b, err);
	pack_codec_close(b.codec);
	buf_release(&b.segments);
	mem_free(b.noise);
	mem_free(b.text);
	mem_free(b.plain);
	mem_free(b.jobs);
	mem_free(b.digests);
	mem_free(b.candidates.cells);
	return rc;
}
