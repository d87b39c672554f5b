/*
 * What a user names. What is accepted has an allowed name and a path that stays
 * inside, and its parts put together are the spec again; what is refused says why.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cas/base/id.h"
#include "cas/object/entry.h"
#include "cas/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_path(const char *path)
{
	assert(path[0] != '/');
	for (const char *at = path; *at != '\0';) {
		size_t len = strcspn(at, "/");

		assert(len > 0);
		assert(!(len == 1 && at[0] == '.') && !(len == 2 && memcmp(at, "..", 2) == 0));
		at += len;
		at += *at == '/';
	}
}

static void
check_name(const struct spec_text *text)
{
	struct larder_id lowest, highest;

	if (text->is_id) {
		assert(text->version == 0 && text->name_len >= SPEC_ID_DIGITS_MIN);
		assert(id_prefix_range(&lowest, &highest, text->name, text->name_len));
	} else {
		assert(entry_name_check(text->name, text->name_len, NULL) == LARDER_OK);
	}
}

/* Name, version and path written again mean the same. */
static void
check_again(const struct spec_text *text)
{
	static char spec[NAME_LEN_MAX + PATH_LEN_MAX + 64];
	struct spec_text again;
	char version[24] = "";

	if (text->version != 0)
		snprintf(version, sizeof version, "@%llu", (unsigned long long)text->version);
	snprintf(spec, sizeof spec, "%s%.*s%s%s%s", text->is_id ? "id:" : "", (int)text->name_len,
	    text->name, version, text->has_path ? "//" : "", text->path);
	assert(spec_parse(&again, spec, NULL) == LARDER_OK);
	assert(again.is_id == text->is_id && again.version == text->version);
	assert(again.name_len == text->name_len && again.has_path == text->has_path);
	assert(memcmp(again.name, text->name, text->name_len) == 0);
	assert(strcmp(again.path, text->path) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *spec = malloc(size + 1);
	struct larder_err err = { 0 };
	struct spec_text text;
	int rc;

	if (spec == NULL)
		return 0;
	memcpy(spec, data, size);
	spec[size] = '\0';
	rc = spec_parse(&text, spec, &err);
	if (rc < 0) {
		assert(rc == LARDER_ERR_USAGE && err.status == LARDER_ERR_USAGE);
		assert(err.message[0] != '\0');
	} else {
		check_name(&text);
		check_path(text.path);
		check_again(&text);
	}
	free(spec);
	return 0;
}
