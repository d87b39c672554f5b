#ifndef LARDER_RMTREE_H
#define LARDER_RMTREE_H

/*
 * Remove what stands under a name, whatever it is and however deep, by handles
 * only: no symlink is followed, and at most three directories are open.
 */
#include "cas/types.h"

/* NOT_FOUND when there is nothing. What could be removed is gone after an error too. */
LARDER_MUST_USE int rmtree(int dir_fd, const char *name, struct larder_err *err);

#endif
