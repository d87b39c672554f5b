/*
 * Filling struct larder_err. A message is built beside the struct and copied
 * in at the end, so that the old message may be among the arguments.
 */
#include "cas/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void
fill(struct larder_err *err, enum larder_status status, int sys_errno, const char *message)
{
	err->status = status;
	err->sys_errno = sys_errno;
	snprintf(err->message, sizeof err->message, "%s", message);
	err->hint[0] = '\0';
}

int
err_set(struct larder_err *err, enum larder_status status, const char *fmt, ...)
{
	char message[sizeof err->message];
	va_list args;

	if (err == NULL)
		return status;
	va_start(args, fmt);
	vsnprintf(message, sizeof message, fmt, args);
	va_end(args);
	fill(err, status, 0, message);
	return status;
}

static enum larder_status
status_of_errno(int code)
{
	switch (code) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return LARDER_ERR_NO_SPACE;
	case ENOMEM:
		return LARDER_ERR_NOMEM;
	case ENOENT:
		return LARDER_ERR_NOT_FOUND;
	default:
		return LARDER_ERR_IO;
	}
}

int
err_sys(struct larder_err *err, const char *fmt, ...)
{
	int code = errno;
	enum larder_status status = status_of_errno(code);
	char message[sizeof err->message], reason_room[128];
	const char *reason;
	va_list args;
	int len;

	if (err == NULL)
		return status;
	va_start(args, fmt);
	len = vsnprintf(message, sizeof message, fmt, args);
	va_end(args);

	/* The reason is what matters: a very long path gives way to it. */
	reason = strerror_r(code, reason_room, sizeof reason_room);
	if (len < 0)
		len = 0;
	if ((size_t)len + 2 + strlen(reason) >= sizeof message)
		len = (int)(sizeof message - 3 - strlen(reason));
	snprintf(message + len, sizeof message - (size_t)len, ": %s", reason);

	fill(err, status, code, message);
	errno = code;
	return status;
}

int
err_nomem(struct larder_err *err)
{
	return err_set(err, LARDER_ERR_NOMEM, "out of memory");
}

void
err_prefix(struct larder_err *err, const char *fmt, ...)
{
	char message[sizeof err->message];
	size_t len, more;
	va_list args;

	if (err == NULL)
		return;
	va_start(args, fmt);
	vsnprintf(message, sizeof message - 2, fmt, args);
	va_end(args);

	len = strlen(message);
	if (err->message[0] != '\0') {
		message[len++] = ':';
		message[len++] = ' ';
	}
	more = strnlen(err->message, sizeof message - 1 - len); /* the end may be lost */
	memcpy(message + len, err->message, more);
	message[len + more] = '\0';
	memcpy(err->message, message, len + more + 1);
}

void
err_hint(struct larder_err *err, const char *fmt, ...)
{
	char hint[sizeof err->hint];
	va_list args;

	if (err == NULL)
		return;
	va_start(args, fmt);
	vsnprintf(hint, sizeof hint, fmt, args);
	va_end(args);
	snprintf(err->hint, sizeof err->hint, "%s", hint);
}

const char *
err_code(enum larder_status status)
{
	switch (status) {
	case LARDER_OK:
		return "ok";
#define CASE(name, value, code, text)                                                              \
	case LARDER_ERR_##name:                                                                    \
		return code;
		LARDER_STATUS_LIST(CASE)
#undef CASE
	}
	return "unknown";
}

const char *
err_text(enum larder_status status)
{
	switch (status) {
	case LARDER_OK:
		return "done";
#define CASE(name, value, code, text)                                                              \
	case LARDER_ERR_##name:                                                                    \
		return text;
		LARDER_STATUS_LIST(CASE)
#undef CASE
	}
	return "unknown status";
}
