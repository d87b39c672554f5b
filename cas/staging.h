#ifndef LARDER_STAGING_H
#define LARDER_STAGING_H

/*
 * Where a restore writes before it is complete: `.<name>.larder-<hex>` beside
 * the destination, the hex digits being those of what is restored. So a second
 * try finds what an interrupted one left, and nothing half done ever has the
 * destination's name.
 *
 * It is used again only if it is ours and nobody else could have written to it;
 * else it is removed. A lock (flock) on it keeps two restores apart.
 */
#include "cas/base/limits.h"
#include "cas/types.h"

struct staging {
	int parent_fd;  /* of the destination and of the staged thing */
	int fd;         /* the staged directory or file; -1: none */
	bool existing;  /* something of an interrupted restore is in it */
	bool replace;   /* there may be something at the destination that goes */
	char name[COMPONENT_LEN_MAX + 1];   /* last component of the destination */
	char staged[COMPONENT_LEN_MAX + 1]; /* beside it */
};

/*
 * EXISTS when there is something at dest and !replace; USAGE when dest has no
 * last component; IO when its directory is not there. `what` is what the staged
 * name is made of.
 */
LARDER_MUST_USE int staging_open(struct staging *out, const char *dest, bool replace,
    const struct larder_id *what, struct larder_err *err);
/* The directory, mode 0700, without ACLs. BUSY when another restore writes it. */
LARDER_MUST_USE int staging_make_dir(struct staging *staging, struct larder_err *err);
/* The file, open for reading and writing. BUSY as above. */
LARDER_MUST_USE int staging_make_file(struct staging *staging, unsigned mode,
    struct larder_err *err);
/* Nothing of that name is left. */
LARDER_MUST_USE int staging_clear(struct staging *staging, struct larder_err *err);
/* Into place. 1: done, but what it replaced could not be removed: the sentence says where it is. */
LARDER_MUST_USE int staging_move(struct staging *staging, struct larder_err *err);
void staging_close(struct staging *staging);

#endif
