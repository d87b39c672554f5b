/* See the header. libc's assert, so that fuzz targets can use it too. */
#include "tests/doubles/pack_sample.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cas/base/err.h"
#include "cas/base/idset.h"
#include "cas/base/sha256.h"
#include "pack/format.h"

enum { GROUP = 3, CHUNK_LEN = 700 };

static uint64_t
next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	return *seed ^= *seed << 17;
}

static uint64_t
start_random(uint64_t seed)
{
	seed = seed * 0x9e3779b97f4a7c15u + 1;
	return seed == 0 ? 1 : seed;
}

void
pack_sample_noise(uint8_t *out, size_t len, uint64_t seed)
{
	uint64_t state = start_random(seed);

	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(next_random(&state) >> 24);
}

void
pack_sample_text(uint8_t *out, size_t len, uint64_t seed)
{
	static const char *const words[] = { "package", "service", "template", "nginx", "'0644'",
		"do\n", "end\n", "action", ":install", "node", "default", "attribute", "not_if" };
	uint64_t state = start_random(seed);

	for (size_t at = 0; at < len;) {
		char line[64];
		const uint64_t r = next_random(&state);
		int n =
		    snprintf(line, sizeof line, "%s %u ", words[r % 13], (unsigned)(r >> 8) % 1000);

		for (int i = 0; i < n && at < len; i++)
			out[at++] = (uint8_t)line[i];
	}
}

void
pack_sample_store(int root_fd)
{
	char path[sizeof "packs/xx"];

	assert(mkdirat(root_fd, "tmp", 0700) == 0);
	assert(mkdirat(root_fd, "packs", 0700) == 0);
	for (unsigned i = 0; i < 256; i++) {
		snprintf(path, sizeof path, "packs/%02x", i);
		assert(mkdirat(root_fd, path, 0700) == 0);
	}
}

struct id16
pack_sample_write(int root_fd, uint64_t seed, unsigned segments)
{
	uint8_t plain[GROUP * CHUNK_LEN], base[CHUNK_LEN];
	struct larder_id ids[GROUP], base_id;
	struct larder_err err = { 0 };
	struct pack_writer *writer;
	struct pack_codec *codec;
	struct buf out = { 0 };
	struct id16 pack;
	unsigned depth = 0;

	assert(pack_codec_open(&codec, &err) == 0);
	assert(pack_writer_open(&writer, root_fd, &err) == 0);
	for (unsigned i = 0; i < segments; i++) {
		struct pack_plain p = { .data = plain, .level = 3 };
		uint32_t lengths[GROUP] = { CHUNK_LEN, CHUNK_LEN, CHUNK_LEN }, count = 1, at;

		p.type = (enum pack_type)(i % PACK_TYPE_COUNT);
		p.len = CHUNK_LEN;
		if (i % 4 == 0) { /* a group */
			p.len = sizeof plain;
			count = GROUP;
			pack_sample_text(plain, p.len, seed + i);
		} else if (i % 4 == 3) {
			pack_sample_noise(plain, p.len, seed + i);
		} else { /* a change of the chunk before */
			memcpy(plain, base, CHUNK_LEN);
			memcpy(plain + 50 * i % 600, "changed", 7);
			p.base = base;
			p.base_len = CHUNK_LEN;
			p.base_id = &base_id;
			p.base_depth = depth++;
		}
		for (uint32_t k = 0; k < count; k++)
			sha256(&ids[k], plain + k * CHUNK_LEN, lengths[k]);

		buf_clear(&out);
		assert(pack_encode(&out, codec, &p, 0, &err) == 0);
		assert(pack_writer_append(
			   writer, out.data, out.len, ids, lengths, count, &at, &err) == 0);
		if (i % 4 == 0)
			depth = 0;
		memcpy(base, plain, CHUNK_LEN);
		base_id = ids[0];
	}
	assert(pack_writer_finish(writer, &err) == 0);
	assert(pack_writer_sync(writer, &err) == 0);
	pack = *pack_writer_id(writer);
	pack_writer_close(writer);
	pack_codec_close(codec);
	buf_release(&out);
	return pack;
}

/* ---- reading all of it ---- */

struct reading {
	struct pack_files *files;
	const struct id16 *pack;
	struct pack_codec *codec;
	struct pack_directory directory;
	struct idset done; /* id of a chunk -> its number */
	uint8_t **plains;  /* of each segment */
	struct buf stored;
};

static const uint8_t *
chunk_bytes(const struct reading *r, uint32_t chunk)
{
	for (uint32_t i = 0; i < r->directory.segment_count; i++) {
		const struct pack_directory_segment *s = &r->directory.segments[i];

		if (chunk >= s->chunk_first && chunk - s->chunk_first < s->chunk_count)
			return r->plains[i] + r->directory.chunk_ats[chunk];
	}
	abort();
}

static int
check_segment(struct reading *r, uint32_t i, struct larder_err *err)
{
	const struct pack_directory_segment *s = &r->directory.segments[i];
	struct pack_segment segment;
	const uint8_t *base = NULL;
	uint32_t base_len = 0;
	uint64_t plain_len = 0;
	int rc;

	rc = pack_segment_read(&segment, &r->stored, r->files, r->pack, s->at, s->len, err);
	if (rc < 0)
		return rc;
	for (uint32_t k = s->chunk_first; k < s->chunk_first + s->chunk_count; k++)
		plain_len += r->directory.lengths[k];
	if (PACK_SEGMENT_HEADER_LEN + segment.store_len != s->len || segment.depth != s->depth ||
	    segment.type != (enum pack_type)s->type || segment.plain_len != plain_len)
		return err_set(err, LARDER_ERR_CORRUPT, "segment and directory differ");
	if (segment.codec == PACK_CODEC_ZSTD_BASE) {
		const uint64_t *number = idset_find(&r->done, &segment.base);

		if (number == NULL)
			return err_set(err, LARDER_ERR_CORRUPT, "base unknown");
		base = chunk_bytes(r, (uint32_t)*number);
		base_len = r->directory.lengths[*number];
	}
	r->plains[i] = malloc(segment.plain_len);
	assert(r->plains[i] != NULL);
	rc = pack_decode(r->plains[i], r->codec, &segment, r->stored.data, base, base_len, err);
	for (uint32_t k = s->chunk_first; k < s->chunk_first + s->chunk_count && rc == 0; k++) {
		struct larder_id id;

		sha256(&id, r->plains[i] + r->directory.chunk_ats[k], r->directory.lengths[k]);
		if (!id_equal(&id, &r->directory.ids[k]))
			return err_set(err, LARDER_ERR_CORRUPT, "chunk %u has another hash", k);
		if (idset_add(&r->done, &id, k) < 0)
			abort();
	}
	return rc;
}

int
pack_sample_check(struct pack_files *files, const struct id16 *pack, struct larder_err *err)
{
	struct reading r = { .files = files, .pack = pack };
	uint32_t count;
	int rc;

	rc = pack_directory_read(&r.directory, files, pack, err);
	if (rc < 0)
		return rc;
	count = r.directory.segment_count;
	assert(pack_codec_open(&r.codec, err) == 0);
	idset_init(&r.done, r.directory.chunk_count);
	r.plains = calloc(count, sizeof *r.plains);
	assert(r.plains != NULL);

	for (uint32_t i = 0; i < count && rc == 0; i++)
		rc = check_segment(&r, i, err);

	for (uint32_t i = 0; i < count; i++)
		free(r.plains[i]);
	free(r.plains);
	idset_release(&r.done);
	buf_release(&r.stored);
	pack_directory_release(&r.directory);
	pack_codec_close(r.codec);
	return rc;
}
