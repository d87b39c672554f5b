/*
 * File lists: what decodes, encodes to the same bytes. And the items of any
 * list, given to the builder as chunks, come back from what it emits.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cas/base/id.h"
#include "cas/base/sha256.h"
#include "cas/object/filelist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct filelist_item items[FILELIST_ITEMS_MAX];

static int
read_items(const void *data, size_t size, struct filelist_reader *reader, struct larder_err *err)
{
	int count = 0;
	int rc;

	rc = filelist_open(reader, data, size, err);
	if (rc < 0)
		return rc;
	while ((rc = filelist_next(reader, &items[count], err)) == 1)
		count++;
	return rc < 0 ? rc : count;
}

/* The lists of one file: level 0 is compared at once, of those above only the sums are. */
struct emitted {
	size_t next;   /* item that the next list of level 0 begins with */
	uint64_t size; /* plain bytes of the last list */
};

static int
emit(void *context, struct larder_id *id, const void *data, size_t len, struct larder_err *err)
{
	struct emitted *emitted = context;
	struct filelist_reader reader;
	struct filelist_item item;
	int rc;

	rc = filelist_open(&reader, data, len, err);
	assert(rc == 0);
	while ((rc = filelist_next(&reader, &item, err)) == 1) {
		if (reader.level > 0)
			continue;
		assert(item.len == items[emitted->next].len);
		assert(id_equal(&item.id, &items[emitted->next].id));
		emitted->next++;
	}
	assert(rc == 0);
	emitted->size = reader.size;
	sha256(id, data, len);
	return LARDER_OK;
}

static void
rebuild(size_t count, uint64_t size)
{
	struct emitted emitted = { 0 };
	struct filelist_builder builder;
	struct larder_id id;
	int rc;

	filelist_builder_init(&builder, emit, &emitted);
	for (size_t i = 0; i < count; i++) {
		rc = filelist_builder_add(&builder, &items[i].id, items[i].len, NULL);
		assert(rc == 0);
	}
	rc = filelist_builder_end(&builder, &id, NULL);
	assert(rc == 0);
	assert(emitted.next == count && emitted.size == size);
	filelist_builder_release(&builder);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct larder_err err = { 0 };
	struct filelist_reader reader;
	struct buf out = { 0 };
	int count = read_items(data, size, &reader, &err);
	int rc;

	if (count < 0) {
		assert(count == LARDER_ERR_CORRUPT || count == LARDER_ERR_VERSION);
		assert((int)err.status == count && err.message[0] != '\0');
		return 0;
	}
	assert(count > 0);
	rc = filelist_encode(&out, reader.level, items, (size_t)count);
	assert(rc == 0);
	assert(out.len == size && memcmp(out.data, data, size) == 0);
	buf_release(&out);
	rebuild((size_t)count, reader.size);
	return 0;
}
