#ifndef LARDER_CHECKED_H
#define LARDER_CHECKED_H

/*
 * The file `checked`: when the store was checked last and what came of it. A
 * hint for status: absent or unreadable means never.
 */
#include "cas/types.h"

struct checked {
	int64_t at_ns; /* 0 = never */
	bool read;     /* every byte was read */
	bool clean;
};

void checked_read(struct checked *out, int root_fd);
/*
 * A check that read less and found nothing does not take back what a fuller one
 * found: then the file stays as it is. So it does when it cannot be written.
 */
void checked_write(const struct checked *checked, int root_fd);

#endif
