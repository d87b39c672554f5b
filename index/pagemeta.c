/* The two meta pages of an LMDB 0.9 file, held against themselves and each other. */
#include "cas/base/err.h"
#include "cas/base/file.h"
#include "index/pageformat.h"

#define MAGIC 0xBEEFC0DEu

enum {
	VERSION = 1,
	/*
	 * Pages that a transaction takes from the end and gives back are counted but never
	 * written, so that a sound file may end before its last page: by at most what LMDB lets
	 * one transaction touch.
	 */
	UNWRITTEN_MAX = 131072,
};

bool
tree_plausible(const struct pagewalk_tree *tree, uint64_t last_page)
{
	if (tree->root == PAGEWALK_NO_PAGE)
		return tree->depth == 0 && tree->entries == 0 && tree->branch_pages == 0 &&
		       tree->leaf_pages == 0 && tree->overflow_pages == 0;
	return tree->root >= 2 && tree->root <= last_page && tree->depth >= 1 &&
	       tree->depth <= PAGEWALK_DEPTH_MAX && tree->entries > 0 && tree->leaf_pages > 0 &&
	       tree->leaf_pages <= last_page && tree->branch_pages <= last_page &&
	       tree->overflow_pages <= last_page;
}

static bool
page_size_plausible(uint32_t size)
{
	return size >= PAGEWALK_PAGE_MIN && size <= PAGEWALK_PAGE_MAX && (size & (size - 1)) == 0;
}

int
pagewalk_meta_decode(struct pagewalk_meta *out, const uint8_t *page, size_t len, uint64_t number,
    uint64_t file_len, struct larder_err *err)
{
	const uint8_t *meta = page + PAGEWALK_HEADER_LEN;
	struct pagewalk_meta m;
	uint64_t file_pages, last;

	if (len < PAGEWALK_HEADER_LEN + PAGEWALK_META_LEN)
		return err_set(err, LARDER_ERR_CORRUPT, "meta page cut short: %zu bytes", len);
	if (native32(meta + META_MAGIC) != MAGIC || native32(meta + META_VERSION) != VERSION)
		return err_set(err, LARDER_ERR_CORRUPT, "meta page %d: not LMDB's", (int)number);
	if (native64(page + PAGE_NUMBER) != number || native16(page + PAGE_FLAGS) != PAGE_META ||
	    native64(meta + META_ADDRESS) != 0)
		return err_set(err, LARDER_ERR_CORRUPT, "meta page %d: damaged", (int)number);

	m.map_size = native64(meta + META_MAP_SIZE);
	m.free_pages = tree_at(meta + META_FREE);
	m.main = tree_at(meta + META_MAIN);
	m.last_page = native64(meta + META_LAST_PAGE);
	m.txn = native64(meta + META_TXN);
	m.page_size = m.free_pages.pad;

	if (!page_size_plausible(m.page_size))
		return err_set(err, LARDER_ERR_CORRUPT, "meta page %d: pages of %u bytes",
		    (int)number, m.page_size);
	file_pages = file_len / m.page_size;
	if (m.last_page < 1 || file_pages < 2 || m.last_page >= file_pages + UNWRITTEN_MAX)
		return err_set(err, LARDER_ERR_CORRUPT,
		    "meta page %d: last page %llu in a file of %llu bytes", (int)number,
		    (unsigned long long)m.last_page, (unsigned long long)file_len);
	last = m.last_page < file_pages ? m.last_page : file_pages - 1;
	if (m.free_pages.flags != TREE_INTEGERKEY || m.main.flags != 0 || m.main.pad != 0 ||
	    !tree_plausible(&m.free_pages, last) || !tree_plausible(&m.main, last))
		return err_set(
		    err, LARDER_ERR_CORRUPT, "meta page %d: impossible trees", (int)number);
	*out = m;
	return LARDER_OK;
}

int
pagewalk_metas(struct pagewalk_meta out[2], int fd, struct larder_err *err)
{
	uint8_t page[PAGEWALK_HEADER_LEN + PAGEWALK_META_LEN];
	struct pagewalk_meta m[2];
	uint64_t file_len;
	size_t got;
	int rc, newest;

	rc = file_size(&file_len, fd, "data.mdb", err);
	for (unsigned i = 0; rc == 0 && i < 2; i++) {
		rc = file_pread_some(
		    &got, fd, page, sizeof page, i == 0 ? 0 : m[0].page_size, "data.mdb", err);
		if (rc == 0)
			rc = pagewalk_meta_decode(&m[i], page, got, i, file_len, err);
	}
	if (rc < 0)
		return rc;
	/* Transactions take turns; only a new file has none. */
	newest = m[1].txn > m[0].txn;
	if (m[0].page_size != m[1].page_size ||
	    !((m[0].txn == 0 && m[1].txn == 0) || m[newest].txn == m[!newest].txn + 1) ||
	    (m[newest].txn & 1) != (uint64_t)newest)
		return err_set(err, LARDER_ERR_CORRUPT, "meta pages contradict each other");
	out[0] = m[newest];
	out[1] = m[!newest];
	return LARDER_OK;
}
