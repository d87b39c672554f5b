/* Unpredictable bytes through the seam. */
#include "cas/base/random.h"

#include "cas/base/err.h"
#include "cas/base/seam.h"

int
random_bytes(void *buf, size_t len, struct larder_err *err)
{
	if (seam.random_bytes(buf, len) < 0)
		return err_sys(err, "no random bytes");
	return LARDER_OK;
}
