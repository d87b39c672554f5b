/*
 * Allocation through the seam. A size of zero gives a pointer all the same, so
 * that NULL means one thing only: out of memory.
 */
#include "cas/base/mem.h"

#include <string.h>

#include "cas/base/seam.h"

void *
mem_alloc(size_t size)
{
	return seam.mem_alloc(size > 0 ? size : 1);
}

void *
mem_zalloc(size_t size)
{
	void *p = mem_alloc(size);

	if (p != NULL)
		memset(p, 0, size);
	return p;
}

void *
mem_array(size_t count, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(count, size, &total))
		return NULL;
	return mem_alloc(total);
}

void *
mem_zarray(size_t count, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(count, size, &total))
		return NULL;
	return mem_zalloc(total);
}

void *
mem_resize(void *ptr, size_t count, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(count, size, &total))
		return NULL;
	return seam.mem_realloc(ptr, total > 0 ? total : 1);
}

char *
mem_strdup(const char *s)
{
	return mem_dup(s, strlen(s) + 1);
}

void *
mem_dup(const void *data, size_t len)
{
	void *p = mem_alloc(len);

	if (p != NULL && len > 0)
		memcpy(p, data, len);
	return p;
}

void
mem_free(void *ptr)
{
	if (ptr != NULL)
		seam.mem_free(ptr);
}
