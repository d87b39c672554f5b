/*
 * From an id to verified bytes: plain segments and deltas, and every way in
 * which pack, index and chain can be wrong.
 * FLAVOURS: release asan tsan
 */
#include "cas/fetch.h"

#include <pthread.h>
#include <stdatomic.h>

#include "cas/base/trace.h"
#include "tests/unit/t_store.h"

/* ---- a store with packs made by hand ---- */

enum { CHUNK = 3000, COUNT = 40 };

static uint8_t plain[COUNT * CHUNK];

struct lab {
	struct larder_store *store;
	struct fetch_reader *reader;
	struct pack_codec *codec;
	struct larder_id ids[COUNT];
};

/* Text that compresses, different in every chunk. */
static void
fill_plain(void)
{
	for (size_t i = 0; i < sizeof plain; i++)
		plain[i] = (uint8_t)('a' + (i + i / 97 + i / CHUNK) % 8);
	for (size_t c = 0; c < COUNT; c++)
		snprintf((char *)plain + c * CHUNK, 32, "chunk %zu", c);
}

static struct lab
open_lab(void **state)
{
	struct lab lab = { .store = test_store_open(state, "store") };
	struct larder_err err = { 0 };

	fill_plain();
	for (size_t c = 0; c < COUNT; c++)
		sha256(&lab.ids[c], plain + c * CHUNK, CHUNK);
	assert_ok(fetch_reader_open(&lab.reader, lab.store, &err), &err);
	assert_ok(pack_codec_open(&lab.codec, &err), &err);
	return lab;
}

static void
close_lab(struct lab *lab)
{
	fetch_reader_close(lab->reader);
	pack_codec_close(lab->codec);
	larder_store_close(lab->store);
}

/* Rows of one pack: chunks first .. first + count - 1 in one segment, or one delta. */
struct rows {
	struct index_pack pack;
	const struct larder_id *ids;
	struct index_place place;
	size_t count;
};

static int
put_rows(void *context, struct index_write *write, struct larder_err *err)
{
	struct rows *rows = context;
	struct index_place place = rows->place;
	int rc = index_pack_put(&place.pack, write, &rows->pack, err);

	for (size_t i = 0; i < rows->count && rc >= 0; i++) {
		place.chunk_at = (uint32_t)(i * CHUNK);
		rc = index_chunk_put(write, &rows->ids[i], &place, err);
	}
	return rc < 0 ? rc : LARDER_OK;
}

/* One pack with one segment; base < 0: none. `depth` as the header should say. */
static struct id16
add_pack(struct lab *lab, size_t first, size_t count, int base, unsigned depth)
{
	struct larder_err err = { 0 };
	struct pack_plain in = { .data = plain + first * CHUNK,
		.len = (uint32_t)(count * CHUNK),
		.level = 3 };
	struct rows rows = { .ids = &lab->ids[first],
		.count = count,
		.place = { .chunk_len = CHUNK, .depth = (uint8_t)depth } };
	uint32_t lengths[COUNT];
	struct pack_writer *writer;
	struct buf segment = { 0 };

	for (size_t i = 0; i < count; i++)
		lengths[i] = CHUNK;
	if (base >= 0) {
		in.base_id = &lab->ids[base];
		in.base = plain + base * CHUNK;
		in.base_len = CHUNK;
		in.base_depth = depth - 1;
	}
	assert_ok(pack_encode(&segment, lab->codec, &in, base >= 0 ? CHUNK / 2 : 0, &err), &err);
	assert_ok(pack_writer_open(&writer, lab->store->root_fd, &err), &err);
	assert_ok(pack_writer_append(writer, segment.data, segment.len, rows.ids, lengths,
		      (uint32_t)count, &rows.place.segment_at, &err),
	    &err);
	assert_ok(pack_writer_finish(writer, &err), &err);
	rows.pack.id = *pack_writer_id(writer);
	rows.pack.file_len = pack_writer_size(writer);
	rows.pack.chunk_count = (uint32_t)count;
	assert_ok(pack_writer_sync(writer, &err), &err);
	pack_writer_close(writer);
	buf_release(&segment);
	assert_ok(index_update(lab->store->index, put_rows, &rows, &err), &err);
	return rows.pack.id;
}

static void
flip(struct lab *lab, const struct id16 *pack, off_t at)
{
	char path[PACK_PATH_LEN];
	uint8_t byte;
	int fd;

	pack_path(path, pack);
	assert_int_equal(fchmodat(lab->store->root_fd, path, 0600, 0), 0);
	fd = openat(lab->store->root_fd, path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x40;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static void
assert_chunk(struct lab *lab, size_t c)
{
	struct buf out = { 0 };
	struct larder_err err = { 0 };

	assert_ok(fetch_chunk(&out, lab->reader, &lab->ids[c], &err), &err);
	assert_int_equal(out.len, CHUNK);
	assert_memory_equal(out.data, plain + c * CHUNK, CHUNK);
	buf_release(&out);
}

static void
assert_corrupt(struct lab *lab, size_t c, const char *says)
{
	struct buf out = { 0 };
	struct larder_err err = { 0 };
	char hex[ID_HEX_LEN + 1];

	id_to_hex(hex, &lab->ids[c]);
	assert_status(LARDER_ERR_CORRUPT, fetch_chunk(&out, lab->reader, &lab->ids[c], &err), &err);
	assert_int_equal(err.status, LARDER_ERR_CORRUPT);
	assert_message(&err, says);
	assert_message(&err, hex);
	assert_int_equal(out.len, 0);
	buf_release(&out);
}

/* ---- cases ---- */

static void
chunks_come_back_and_a_segment_is_decoded_once(void **state)
{
	struct lab lab = open_lab(state);
	struct larder_id ids[3] = { lab.ids[2], { { 1 } }, lab.ids[9] };
	struct index_place places[3];
	struct larder_err err = { 0 };
	struct buf out = { 0 };
	uint64_t decoded;

	add_pack(&lab, 0, 10, -1, 0);
	decoded = trace_get(TRACE_segments_decoded);
	for (size_t c = 0; c < 10; c++)
		assert_chunk(&lab, c);
	assert_int_equal(trace_get(TRACE_segments_decoded) - decoded, 1);

	/* appended to what is there */
	assert_ok(fetch_chunk(&out, lab.reader, &lab.ids[0], &err), &err);
	assert_ok(fetch_chunk(&out, lab.reader, &lab.ids[1], &err), &err);
	assert_memory_equal(out.data, plain, 2 * CHUNK);
	buf_release(&out);

	assert_ok(fetch_places(places, lab.reader, ids, 3, &err), &err);
	assert_true(places[0].pack != 0 && places[1].pack == 0 && places[2].pack != 0);
	assert_int_equal(places[2].chunk_at, 9 * CHUNK);
	assert_status(LARDER_ERR_NOT_FOUND, fetch_place(places, lab.reader, &ids[1], &err), &err);
	close_lab(&lab);
}

static void
a_segment_is_lent_until_the_next(void **state)
{
	struct lab lab = open_lab(state);
	struct larder_err err = { 0 };
	struct index_place place;
	const uint8_t *data;
	uint32_t len;

	add_pack(&lab, 0, 5, -1, 0);
	add_pack(&lab, 5, 5, -1, 0);
	for (size_t c = 0; c < 10; c += 5) {
		assert_ok(fetch_place(&place, lab.reader, &lab.ids[c], &err), &err);
		assert_ok(fetch_segment(
			      &data, &len, lab.reader, place.pack, place.segment_at, &err),
		    &err);
		assert_int_equal(len, 5 * CHUNK);
		assert_chunk(&lab, 9 - c); /* does not take it away */
		assert_memory_equal(data, plain + c * CHUNK, len);
	}
	close_lab(&lab);
}

/* 0 plain, 1 on 0, ... 8 on 7: the deepest there may be. */
static void
chains_of_deltas_come_back(void **state)
{
	struct lab lab = open_lab(state);

	add_pack(&lab, 0, 1, -1, 0);
	for (unsigned c = 1; c <= PACK_DEPTH_MAX; c++)
		add_pack(&lab, c, 1, (int)c - 1, c);
	for (size_t c = PACK_DEPTH_MAX + 1; c-- > 0;)
		assert_chunk(&lab, c);
	for (size_t c = 0; c <= PACK_DEPTH_MAX; c++)
		assert_chunk(&lab, c);
	close_lab(&lab);
}

/* A base that has moved into another segment may be less deep than it was, never deeper. */
static void
a_base_may_be_less_deep_than_when_the_delta_was_made(void **state)
{
	struct lab lab = open_lab(state);

	add_pack(&lab, 0, 2, -1, 0);
	add_pack(&lab, 5, 1, 1, 4);
	assert_chunk(&lab, 5);
	close_lab(&lab);
}

static void
a_circle_of_deltas_is_damage_and_no_loop(void **state)
{
	struct lab lab = open_lab(state);

	add_pack(&lab, 1, 1, 2, 4);
	add_pack(&lab, 2, 1, 1, 4);
	assert_corrupt(&lab, 1, "a base of depth 4 under a delta of depth 4");
	add_pack(&lab, 3, 1, 3, 8); /* its own base */
	assert_corrupt(&lab, 3, "a base of depth 8 under a delta of depth 8");
	close_lab(&lab);
}

static void
damaged_bytes_are_found_wherever_they_are(void **state)
{
	struct lab lab = open_lab(state);
	struct id16 a = add_pack(&lab, 0, 3, -1, 0), b = add_pack(&lab, 5, 1, 1, 1);
	char hex[ID16_HEX_LEN + 1];

	flip(&lab, &a, PACK_SEGMENT_HEADER_LEN + 40);
	id16_to_hex(hex, &a);
	assert_corrupt(&lab, 0, hex);
	assert_corrupt(&lab, 0, "segment at 32");
	assert_corrupt(&lab, 5, hex); /* the delta is right, its base is not */
	flip(&lab, &a, PACK_SEGMENT_HEADER_LEN + 40);
	assert_chunk(&lab, 5);
	flip(&lab, &b, PACK_SEGMENT_HEADER_LEN + 70);
	fetch_reader_close(lab.reader);
	larder_store_close(lab.store); /* what was decoded before is still in memory */
	lab.store = test_store_open(state, "store");
	assert_ok(fetch_reader_open(&lab.reader, lab.store, NULL), NULL);
	assert_corrupt(&lab, 5, "segment at 32");
	close_lab(&lab);
}

static void
a_pack_that_is_gone_is_damage(void **state)
{
	struct lab lab = open_lab(state);
	struct id16 a = add_pack(&lab, 0, 3, -1, 0);
	char path[PACK_PATH_LEN], hex[ID16_HEX_LEN + 1];

	pack_path(path, &a);
	id16_to_hex(hex, &a);
	assert_int_equal(unlinkat(lab.store->root_fd, path, 0), 0);
	assert_corrupt(&lab, 1, hex);
	assert_corrupt(&lab, 1, "is not there");
	close_lab(&lab);
}

static void
an_object_that_is_not_known_makes_the_index_doubtful(void **state)
{
	struct lab lab = open_lab(state);

	assert_false(index_is_doubtful(lab.store->index));
	assert_corrupt(&lab, 0, "is not in the store");
	assert_true(index_is_doubtful(lab.store->index));
	close_lab(&lab);
}

static void
a_base_that_is_not_known_is_damage(void **state)
{
	struct lab lab = open_lab(state);
	struct larder_err err = { 0 };
	struct buf out = { 0 };

	add_pack(&lab, 1, 1, 0, 1); /* and 0 was never stored */
	assert_status(
	    LARDER_ERR_CORRUPT, fetch_chunk(&out, lab.reader, &lab.ids[1], &err), &err);
	assert_message(&err, "base of a delta: object ");
	assert_message(&err, "is not in the store");
	close_lab(&lab);
}

/* ---- an index that is wrong ---- */

struct lie {
	struct larder_id id;
	struct index_place place;
};

static int
put_lie(void *context, struct index_write *write, struct larder_err *err)
{
	const struct lie *lie = context;
	int rc = index_chunk_put(write, &lie->id, &lie->place, err);

	return rc < 0 ? rc : LARDER_OK;
}

static void
places_that_are_wrong_are_damage(void **state)
{
	static const struct {
		uint32_t at, len, segment_at, pack;
		const char *says;
	} rows[] = {
		{ CHUNK, CHUNK, 32, 1, "hash to something else" },
		{ 0, CHUNK - 1, 32, 1, "hash to something else" },
		{ 3 * CHUNK, CHUNK, 32, 1, "are not in it" },
		{ 2 * CHUNK + 1, CHUNK, 32, 1, "are not in it" },
		{ 0xffffffff, 2, 32, 1, "are not in it" },
		{ 0, CHUNK, 33, 1, "segment at 33" },
		{ 0, CHUNK, 0x7fffffff, 1, "segment at 2147483647" },
		{ 0, CHUNK, 32, 99, "no pack of number 99" },
	};
	struct lab lab = open_lab(state);
	struct larder_err err = { 0 };

	add_pack(&lab, 0, 3, -1, 0);
	for (size_t i = 0; i < test_count(rows); i++) {
		struct lie lie = { .id = lab.ids[10 + i],
			.place = { .pack = rows[i].pack,
			    .segment_at = rows[i].segment_at,
			    .chunk_at = rows[i].at,
			    .chunk_len = rows[i].len } };

		assert_ok(index_update(lab.store->index, put_lie, &lie, &err), &err);
		assert_corrupt(&lab, 10 + i, rows[i].says);
	}
	close_lab(&lab);
}

/* A delta whose base's place shows other bytes: seen before the delta is decoded. */
static void
a_base_is_verified_before_it_is_used(void **state)
{
	struct lab lab = open_lab(state);
	struct larder_err err = { 0 };
	struct index_place place;
	struct lie lie = { .id = lab.ids[20] };

	add_pack(&lab, 0, 3, -1, 0);
	assert_ok(fetch_place(&place, lab.reader, &lab.ids[1], &err), &err);
	lie.place = place;
	assert_ok(index_update(lab.store->index, put_lie, &lie, &err), &err);
	add_pack(&lab, 21, 1, 20, 1);
	assert_corrupt(&lab, 21, "hash to something else");
	close_lab(&lab);
}

/* ---- threads ---- */

struct run {
	struct lab *lab;
	atomic_int wrong;
};

static void *
fetch_all(void *arg)
{
	struct run *run = arg;
	struct fetch_reader *reader;
	struct buf out = { 0 };

	if (fetch_reader_open(&reader, run->lab->store, NULL) < 0) {
		atomic_fetch_add(&run->wrong, 1);
		return NULL;
	}
	for (size_t i = 0; i < 20 * COUNT; i++) {
		size_t c = (i * 7 + i / COUNT) % (COUNT - 10);

		buf_clear(&out);
		if (fetch_chunk(&out, reader, &run->lab->ids[c], NULL) < 0 || out.len != CHUNK
		    || memcmp(out.data, plain + c * CHUNK, CHUNK) != 0)
			atomic_fetch_add(&run->wrong, 1);
	}
	buf_release(&out);
	fetch_reader_close(reader);
	return NULL;
}

static void
threads_share_what_is_decoded(void **state)
{
	struct lab lab = open_lab(state);
	struct run run = { .lab = &lab };
	pthread_t threads[4];

	add_pack(&lab, 0, 10, -1, 0);
	for (unsigned c = 10; c < 18; c++) /* a chain on chunk 9 */
		add_pack(&lab, c, 1, (int)c - 1, c - 9);
	for (unsigned c = 18; c < 30; c++) /* many on one */
		add_pack(&lab, c, 1, 12, 4);
	for (size_t i = 0; i < test_count(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fetch_all, &run), 0);
	for (size_t i = 0; i < test_count(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&run.wrong), 0);
	close_lab(&lab);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(chunks_come_back_and_a_segment_is_decoded_once),
		test_case(a_segment_is_lent_until_the_next),
		test_case(chains_of_deltas_come_back),
		test_case(a_base_may_be_less_deep_than_when_the_delta_was_made),
		test_case(a_circle_of_deltas_is_damage_and_no_loop),
		test_case(damaged_bytes_are_found_wherever_they_are),
		test_case(a_pack_that_is_gone_is_damage),
		test_case(an_object_that_is_not_known_makes_the_index_doubtful),
		test_case(a_base_that_is_not_known_is_damage),
		test_case(places_that_are_wrong_are_damage),
		test_case(a_base_is_verified_before_it_is_used),
		test_case(threads_share_what_is_decoded),
	};

	return test_run(cases);
}
