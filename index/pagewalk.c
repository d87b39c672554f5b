/*
 * Every page of an LMDB 0.9 file. Nothing of LMDB is called.
 *
 * 1. Nothing read from the file is used before it was compared with what it
 *    must lie within.
 * 2. A page is entered at most once, so that every walk ends.
 * 3. A page that is damaged is left alone with all below it; its siblings are
 *    walked. The figures of its tree are then not compared.
 */
#include "index/pagewalk.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cas/base/buf.h"
#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"
#include "index/pageformat.h"

struct subtree {
	char name[PAGEWALK_TREE_NAME_MAX + 1];
	struct pagewalk_tree tree;
};

struct key {
	const uint8_t *data;
	size_t len;
};

/* A page on the way down, its keys within [low, high). data NULL: no bound. */
struct level {
	uint8_t *page;
	uint64_t number;
	unsigned count, next;
	struct key low, high;
};

struct walk {
	int fd;
	struct pagewalk_meta meta;
	const struct pagewalk_sink *sink;
	struct larder_err *err;
	uint64_t file_pages;
	uint64_t found;   /* how much damage */
	uint8_t *reached; /* a bit per page */
	uint8_t *pages;   /* a page per level */
	struct buf value;

	/* the tree being walked */
	const char *name;
	bool is_free, is_main;
	struct pagewalk_tree counted;
	struct level levels[PAGEWALK_DEPTH_MAX];

	struct subtree trees[PAGEWALK_TREES_MAX];
	size_t tree_count;
};

static void damaged(struct walk *w, uint64_t number, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void
damaged(struct walk *w, uint64_t number, const char *fmt, ...)
{
	char what[128], sentence[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(what, sizeof what, fmt, args);
	va_end(args);
	snprintf(sentence, sizeof sentence, "%s: page %llu: %s", w->name,
	    (unsigned long long)number, what);
	if (w->found++ == 0)
		err_set(w->err, LARDER_ERR_CORRUPT, "%s", sentence);
	if (w->sink->found != NULL)
		w->sink->found(w->sink->context, sentence);
}

/* The first time that anybody comes to this page? */
static bool
reach(struct walk *w, uint64_t number)
{
	uint8_t bit = (uint8_t)(1 << (number & 7)), *byte = &w->reached[number >> 3];

	if (*byte & bit)
		return false;
	*byte |= bit;
	return true;
}

static int
read_page(struct walk *w, uint8_t *out, uint64_t number)
{
	return file_pread_all(
	    w->fd, out, w->meta.page_size, number * w->meta.page_size, "data.mdb", w->err);
}

/* May this number be entered from a page that says so? */
static bool
enter(struct walk *w, uint64_t from, uint64_t number, uint64_t count)
{
	if (number < 2 || number > w->meta.last_page || count > w->meta.last_page ||
	    number + count - 1 > w->meta.last_page || number + count > w->file_pages) {
		damaged(w, from, "leads to page %llu", (unsigned long long)number);
		return false;
	}
	for (uint64_t i = 0; i < count; i++)
		if (!reach(w, number + i)) {
			damaged(w, from, "leads to page %llu, which is in use elsewhere",
			    (unsigned long long)(number + i));
			return false;
		}
	return true;
}

/* ---- nodes ---- */

static const uint8_t *
node_at(const uint8_t *page, unsigned i)
{
	return page + native16(page + PAGEWALK_HEADER_LEN + 2 * i);
}

static struct key
node_key(const uint8_t *node)
{
	return (struct key){ node + NODE_HEADER_LEN, native16(node + NODE_KEY_LEN) };
}

static uint64_t
node_child(const uint8_t *node)
{
	return native32(node + NODE_LEN) | (uint64_t)native16(node + NODE_FLAGS) << 32;
}

/* Bytes of the node in its page, rounded up to even as LMDB has them. */
static size_t
node_len(const uint8_t *node, bool leaf)
{
	size_t len = NODE_HEADER_LEN + native16(node + NODE_KEY_LEN);

	if (leaf)
		len += native16(node + NODE_FLAGS) & NODE_BIG ? 8 : native32(node + NODE_LEN);
	return len + (len & 1);
}

static int
compare(const struct walk *w, struct key a, struct key b)
{
	if (w->is_free) {
		uint64_t x = native64(a.data), y = native64(b.data);

		return (x > y) - (x < y);
	}
	int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);

	return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static bool
key_len_right(const struct walk *w, size_t len)
{
	return w->is_free ? len == 8 : len >= 1 && len <= 511;
}

/* Pointers and nodes of a page lie within it and fill it; keys rise within the bounds. */
static bool
check_nodes(struct walk *w, const struct level *l, bool leaf)
{
	size_t page_size = w->meta.page_size, upper = native16(l->page + PAGE_UPPER), filled = 0;
	struct key last = l->low;

	for (unsigned i = 0; i < l->count; i++) {
		size_t at = native16(l->page + PAGEWALK_HEADER_LEN + 2 * i);
		const uint8_t *node = l->page + at;
		struct key key;

		if (at < upper || at % 2 != 0 || at + NODE_HEADER_LEN > page_size ||
		    native16(node + NODE_KEY_LEN) > page_size ||
		    (leaf && native32(node + NODE_LEN) > UINT32_MAX / 2) ||
		    at + node_len(node, leaf) > page_size) {
			damaged(w, l->number, "node %u lies outside", i);
			return false;
		}
		filled += node_len(node, leaf);
		key = node_key(node);
		if (!leaf && i == 0)
			continue; /* the leftmost has no key, or one that counts for nothing */
		if (!key_len_right(w, key.len)) {
			damaged(w, l->number, "node %u has a key of %zu bytes", i, key.len);
			return false;
		}
		/* The lower bound itself may be a key; a key is there once. */
		if (last.data != NULL) {
			int order = compare(w, key, last);

			if (order < 0 || (order == 0 && last.data != l->low.data)) {
				damaged(w, l->number, "key %u is out of order", i);
				return false;
			}
		}
		if (l->high.data != NULL && compare(w, key, l->high) >= 0) {
			damaged(w, l->number, "key %u belongs elsewhere", i);
			return false;
		}
		last = key;
	}
	if (filled != page_size - upper) {
		damaged(w, l->number, "nodes of %zu bytes in a space of %zu", filled,
		    page_size - upper);
		return false;
	}
	return true;
}

/* ---- values ---- */

static int
read_overflow(struct walk *w, uint64_t from, uint64_t number, size_t len, bool *good)
{
	size_t page_size = w->meta.page_size;
	uint64_t need = (PAGEWALK_HEADER_LEN - 1 + (uint64_t)len) / page_size + 1, count;
	uint8_t header[PAGEWALK_HEADER_LEN];
	int rc;

	*good = false;
	if (number < 2 || number > w->meta.last_page || number >= w->file_pages) {
		damaged(w, from, "leads to page %llu", (unsigned long long)number);
		return LARDER_OK;
	}
	rc = file_pread_all(w->fd, header, sizeof header, number * page_size, "data.mdb", w->err);
	if (rc < 0)
		return rc;
	/* A shorter value may have taken the pages of a longer one. */
	count = native32(header + PAGE_COUNT);
	if (native64(header + PAGE_NUMBER) != number ||
	    native16(header + PAGE_FLAGS) != PAGE_OVERFLOW || count < need) {
		damaged(w, number, "not the overflow page it should be");
		return LARDER_OK;
	}
	if (!enter(w, from, number, count))
		return LARDER_OK;
	w->counted.overflow_pages += count;
	rc = buf_resize(&w->value, len);
	if (rc < 0)
		return buf_err(&w->value, rc, w->err);
	*good = true;
	return len == 0 ? LARDER_OK
			: file_pread_all(w->fd, w->value.data, len,
			      number * page_size + PAGEWALK_HEADER_LEN, "data.mdb", w->err);
}

/* Pages that nobody uses, by the transaction that gave them back: count, then numbers, falling. */
static void
check_free(struct walk *w, const struct level *l, struct key key, const uint8_t *value, size_t len)
{
	uint64_t count = len >= 8 ? native64(value) : 0, last = UINT64_MAX;

	if (len < 8 || len % 8 != 0 || count > len / 8 - 1 || native64(key.data) > w->meta.txn) {
		damaged(w, l->number, "a list of free pages that cannot be");
		return;
	}
	for (uint64_t i = 1; i <= count; i++) {
		uint64_t number = native64(value + 8 * i);

		if (number < 2 || number > w->meta.last_page || number >= last) {
			damaged(
			    w, l->number, "page %llu cannot be free", (unsigned long long)number);
			return;
		}
		if (!reach(w, number))
			damaged(w, l->number, "page %llu is free and in use",
			    (unsigned long long)number);
		last = number;
	}
}

static void
remember_tree(
    struct walk *w, const struct level *l, struct key key, const uint8_t *value, size_t len)
{
	struct subtree *sub = &w->trees[w->tree_count];

	if (len != TREE_LEN || key.len > PAGEWALK_TREE_NAME_MAX ||
	    w->tree_count == PAGEWALK_TREES_MAX) {
		damaged(w, l->number, "a tree that cannot be");
		return;
	}
	memcpy(sub->name, key.data, key.len);
	sub->name[key.len] = '\0';
	sub->tree = tree_at(value);
	if (sub->tree.flags != 0 || sub->tree.pad != 0 ||
	    !tree_plausible(&sub->tree, w->meta.last_page))
		damaged(w, l->number, "tree %s cannot be", sub->name);
	else
		w->tree_count++;
}

static int
visit_row(struct walk *w, const struct level *l, const uint8_t *node)
{
	uint16_t flags = native16(node + NODE_FLAGS);
	struct key key = node_key(node);
	const uint8_t *value = key.data + key.len;
	size_t len = native32(node + NODE_LEN);
	bool good = true;
	int rc;

	if ((flags & ~(NODE_BIG | NODE_TREE)) != 0 || ((flags & NODE_TREE) && !w->is_main) ||
	    len > (w->is_free ? (w->meta.last_page + 2) * 8 : w->sink->value_max)) {
		damaged(w, l->number, "a row of unknown kind, or %zu bytes", len);
		return LARDER_OK;
	}
	if (flags & NODE_BIG) {
		rc = read_overflow(w, l->number, native64(value), len, &good);
		if (rc < 0 || !good)
			return rc;
		value = w->value.data;
	}
	w->counted.entries++;
	if (w->is_free)
		check_free(w, l, key, value, len);
	else if (flags & NODE_TREE)
		remember_tree(w, l, key, value, len);
	else if (w->sink->row != NULL)
		w->sink->row(
		    w->sink->context, w->is_main ? NULL : w->name, key.data, key.len, value, len);
	return LARDER_OK;
}

/* ---- trees ---- */

/* Reads page `number` into its level and checks it: 1, or 0 when it is damaged. */
static int
open_page(
    struct walk *w, unsigned depth, uint64_t from, uint64_t number, struct key low, struct key high)
{
	struct level *l = &w->levels[depth];
	bool leaf = depth + 1u == w->counted.depth;
	unsigned lower, upper;
	int rc;

	*l = (struct level){
		.page = w->pages + (size_t)depth * w->meta.page_size,
		.number = number,
		.low = low,
		.high = high,
	};
	if (!enter(w, from, number, 1))
		return 0;
	rc = read_page(w, l->page, number);
	if (rc < 0)
		return rc;
	lower = native16(l->page + PAGE_LOWER);
	upper = native16(l->page + PAGE_UPPER);
	if (native64(l->page + PAGE_NUMBER) != number ||
	    native16(l->page + PAGE_FLAGS) != (leaf ? PAGE_LEAF : PAGE_BRANCH)) {
		damaged(w, number, "not the page it should be");
		return 0;
	}
	l->count = (lower - PAGEWALK_HEADER_LEN) / 2;
	if (lower < PAGEWALK_HEADER_LEN || lower % 2 != 0 || upper < lower ||
	    upper > w->meta.page_size || l->count < (leaf ? 1u : 2u)) {
		damaged(w, number, "impossible bounds");
		return 0;
	}
	if (leaf)
		w->counted.leaf_pages++;
	else
		w->counted.branch_pages++;
	return check_nodes(w, l, leaf);
}

static int
walk_leaf(struct walk *w, const struct level *l)
{
	for (unsigned i = 0; i < l->count; i++) {
		int rc = visit_row(w, l, node_at(l->page, i));

		if (rc < 0)
			return rc;
	}
	return LARDER_OK;
}

/* The next child of a branch page, with the bounds that it gives to it. */
static int
open_child(struct walk *w, unsigned depth)
{
	struct level *l = &w->levels[depth];
	unsigned i = l->next++;
	struct key low = i > 0 ? node_key(node_at(l->page, i)) : l->low;
	struct key high = i + 1 < l->count ? node_key(node_at(l->page, i + 1)) : l->high;

	return open_page(w, depth + 1, l->number, node_child(node_at(l->page, i)), low, high);
}

static int
walk_tree(struct walk *w, const char *name, const struct pagewalk_tree *tree)
{
	static const struct key none;
	uint64_t found = w->found;
	unsigned depth = 0;
	int rc;

	w->name = name;
	w->counted = (struct pagewalk_tree){ .depth = tree->depth };
	if (tree->root == PAGEWALK_NO_PAGE)
		return LARDER_OK;
	rc = open_page(w, 0, tree->root, tree->root, none, none);
	if (rc <= 0)
		return rc;
	for (;;) {
		struct level *l = &w->levels[depth];

		if (depth + 1u == tree->depth) {
			rc = walk_leaf(w, l);
			if (rc < 0)
				return rc;
		} else if (l->next < l->count) {
			rc = open_child(w, depth);
			if (rc < 0)
				return rc;
			depth += rc == 1;
			continue;
		}
		if (depth == 0)
			break;
		depth--;
	}
	if (w->found == found &&
	    (w->counted.entries != tree->entries || w->counted.leaf_pages != tree->leaf_pages ||
		w->counted.branch_pages != tree->branch_pages ||
		w->counted.overflow_pages != tree->overflow_pages))
		damaged(w, tree->root, "its tree has not what its figures say");
	return LARDER_OK;
}

static int
walk_all(struct walk *w)
{
	int rc;

	w->is_main = true;
	rc = walk_tree(w, "main", &w->meta.main);
	w->is_main = false;
	for (size_t i = 0; rc == 0 && i < w->tree_count; i++)
		rc = walk_tree(w, w->trees[i].name, &w->trees[i].tree);
	w->is_free = true;
	if (rc == 0)
		rc = walk_tree(w, "free", &w->meta.free_pages);
	return rc;
}

int
pagewalk(int fd, const struct pagewalk_meta *meta, const struct pagewalk_sink *sink,
    struct larder_err *err)
{
	struct walk *w = mem_zalloc(sizeof *w);
	uint64_t file_len;
	int rc;

	if (w == NULL)
		return err_nomem(err);
	w->fd = fd;
	w->meta = *meta;
	w->sink = sink;
	w->err = err;
	buf_init(&w->value, (size_t)(meta->last_page + 2) * 8 + sink->value_max);
	rc = file_size(&file_len, fd, "data.mdb", err);
	if (rc == 0) {
		w->file_pages = file_len / meta->page_size;
		w->reached = mem_zalloc((size_t)(meta->last_page / 8) + 1);
		w->pages = mem_array(PAGEWALK_DEPTH_MAX, meta->page_size);
		rc = w->reached == NULL || w->pages == NULL ? err_nomem(err) : walk_all(w);
	}
	if (rc == 0 && w->found > 0)
		rc = LARDER_ERR_CORRUPT;
	buf_release(&w->value);
	mem_free(w->pages);
	mem_free(w->reached);
	mem_free(w);
	return rc;
}
