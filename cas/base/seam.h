#ifndef LARDER_SEAM_H
#define LARDER_SEAM_H

/*
 * The table behind which libc is called; for mem.c, file.c, clock.c and
 * random.c only. Set once by larder_sys_set() before the first store is
 * opened and read without a lock ever after.
 */
#include "cas/sys.h"

extern struct larder_sys seam;

#endif
