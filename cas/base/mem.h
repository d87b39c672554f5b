#ifndef LARDER_MEM_H
#define LARDER_MEM_H

/*
 * Allocation through the seam (cas/sys.h); sizes are checked for overflow.
 * NULL means out of memory, never a size of zero.
 */
#include <stddef.h>

void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);
void *mem_array(size_t count, size_t size); /* not zeroed */
void *mem_zarray(size_t count, size_t size);
/* realloc of an array; ptr stays valid on NULL */
void *mem_resize(void *ptr, size_t count, size_t size);
char *mem_strdup(const char *s);
void *mem_dup(const void *data, size_t len);
void mem_free(void *ptr); /* NULL is fine */

#endif
