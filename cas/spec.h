#ifndef LARDER_SPEC_H
#define LARDER_SPEC_H

/*
 * What a user names: NAME, NAME@3, NAME//path, NAME@3//path, id:HEX, id:HEX//path.
 * A name has no empty component, so the first "//" is where the path begins; a
 * name does not end in @digits, so what follows the last '@' is a version when it
 * is a number. "NAME//" is the same as NAME; one slash behind a path says that it
 * must be a directory.
 */
#include "cas/base/limits.h"
#include "cas/fetch.h"
#include "cas/reach.h"
#include "cas/store.h"
#include "cas/types.h"

enum { SPEC_ID_DIGITS_MIN = 8 };

/* What was found. A zeroed struct is empty; spec_release() frees. */
struct spec_target {
	enum tree_kind kind;     /* TREE_FILE, TREE_DIR, or what else lies at a path */
	bool list;               /* FILE: id is a file list */
	bool executable;         /* FILE at a path */
	uint64_t bytes;          /* plain bytes; of a DIR only when `whole` */
	struct larder_id id;     /* FILE with bytes, DIR */
	bool has_attrs;          /* DIR: attrs is its attributes object */
	struct larder_id attrs;
	bool has_row;            /* not DIR, inside a directory with attributes: its row */
	struct attrs_row row;    /* lent until release */
	const char *target;      /* SYMLINK: not terminated; lent until release */
	size_t target_len;
	uint32_t major, minor;   /* CHAR, BLOCK */

	/* the version it belongs to; name is "" (and the others 0) for id: */
	char name[NAME_LEN_MAX + 1];
	uint64_t version;
	int64_t created_ns;
	bool whole;              /* no path: the version itself */
	uint64_t files;          /* of the version, when whole */
	bool has_sha256;         /* of the version, when whole */
	struct larder_id sha256;

	struct tree_list tree;   /* storage behind target: the directory it lies in */
	struct attrs_list rows;  /* storage behind row */
};

/*
 * at_ns: as the store was then; 0 or INT64_MAX = now. On failure *out is empty.
 *
 *   USAGE      a name or path that is not allowed, @0, id: with fewer than 8 or more
 *              than 64 digits, or with several objects that begin like that
 *   NOT_FOUND  no such name, version, path or object
 *   CORRUPT    a directory on the way is damaged
 */
LARDER_MUST_USE int spec_resolve(struct spec_target *out, struct larder_store *store,
    struct fetch_reader *reader, const char *spec, int64_t at_ns, struct larder_err *err);
void spec_release(struct spec_target *target);

/* The parts of a spec as text, without asking the store. USAGE as above. */
struct spec_text {
	bool is_id;       /* name is the HEX of id:HEX */
	const char *name; /* not terminated; lent from the spec */
	size_t name_len;
	uint64_t version; /* 0 = the latest */
	const char *head; /* name and version as they were written */
	size_t head_len;
	bool has_path;
	const char *path; /* behind "//", NUL-terminated, maybe with one slash at its end */
};
LARDER_MUST_USE int spec_parse(struct spec_text *out, const char *spec, struct larder_err *err);

/* err_prefix with a spec or path, cut where a long one would push the sentence itself out. */
void spec_prefix(struct larder_err *err, const char *spec);

#endif
