/*
 * Trees and their nodes: what decodes, encodes to the same bytes; what does
 * not, is refused with a sentence.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cas/object/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ITEMS_MAX = 16384 };

static struct tree_entry entries[ITEMS_MAX];
static struct tree_part parts[ITEMS_MAX];

/* Reads all items; their number, or the error. */
static int
read_items(struct tree_reader *reader, struct larder_err *err)
{
	int count = 0;
	int rc;

	for (;;) {
		assert(count < ITEMS_MAX);
		rc = reader->node ? tree_node_next(reader, &parts[count], err)
		                  : tree_next(reader, &entries[count], err);
		if (rc <= 0)
			return rc < 0 ? rc : count;
		count++;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct larder_err err = { 0 };
	struct tree_reader reader;
	struct buf out = { 0 };
	int rc;

	if (size > 256 * 1024)
		return 0;
	rc = tree_open(&reader, data, size, &err);
	if (rc == 0)
		rc = read_items(&reader, &err);
	if (rc < 0) {
		assert(rc == LARDER_ERR_CORRUPT || rc == LARDER_ERR_VERSION);
		assert((int)err.status == rc && err.message[0] != '\0');
		return 0;
	}

	if (reader.node) {
		rc = tree_node_encode(&out, parts, (size_t)rc);
	} else {
		assert(tree_part_end(entries, 0, (size_t)rc) <= (size_t)rc);
		rc = tree_encode(&out, entries, (size_t)rc);
	}
	assert(rc == 0);
	assert(out.len == size && memcmp(out.data, data, size) == 0);
	buf_release(&out);
	return 0;
}
