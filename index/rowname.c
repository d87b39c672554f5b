/* Rows about names and versions as bytes: the values of names, versions, gids and times. */
#include <assert.h>
#include <string.h>

#include "cas/base/bytes.h"
#include "cas/base/cursor.h"
#include "cas/base/err.h"
#include "index/row.h"

enum {
	VERSION_LIST = 1 << 0,
	VERSION_SHA256 = 1 << 1,
	VERSION_ATTRS = 1 << 2,
	VERSION_FLAGS = (1 << 3) - 1,
};

size_t
row_name_encode(uint8_t out[ROW_NAME_MAX], const struct row_name *row)
{
	uint8_t *p = out;

	assert(row->name_len <= NAME_LEN_MAX);
	p += put_varint(p, row->next);
	p += put_varint(p, row->latest);
	p += put_varint(p, row->versions);
	p += put_varint(p, row->alive);
	if (row->name_len > ROW_NAME_HEAD_LEN) {
		memcpy(p, row->name, row->name_len);
		p += row->name_len;
	}
	return (size_t)(p - out);
}

int
row_name_decode(struct row_name *out, const uint8_t *data, size_t len, struct larder_err *err)
{
	struct cursor c = cursor_of(data, len);
	struct row_name row = { 0 };

	row.next = cursor_varint(&c);
	row.latest = cursor_varint(&c);
	row.versions = cursor_varint(&c);
	row.alive = cursor_varint(&c);
	if (c.bad)
		return row_bad(err, "row of a name", &c, len);
	row.name_len = cursor_left(&c);
	if (row.name_len > 0)
		row.name = (const char *)cursor_bytes(&c, row.name_len);
	if (row.name_len > NAME_LEN_MAX ||
	    (row.name_len > 0 && row.name_len <= ROW_NAME_HEAD_LEN) ||
	    (row.name_len > 0 && memchr(row.name, 0, row.name_len) != NULL))
		return err_set(
		    err, LARDER_ERR_CORRUPT, "row of a name: name of %zu bytes", row.name_len);
	if (row.versions == 0 || row.versions >= row.next || row.alive > row.versions ||
	    row.latest >= row.next || (row.latest == 0) != (row.alive == 0))
		return err_set(
		    err, LARDER_ERR_CORRUPT, "row of a name: figures contradict each other");
	*out = row;
	return LARDER_OK;
}

static unsigned
version_flags(const struct index_version *version)
{
	return (version->list ? VERSION_LIST : 0u) | (version->has_sha256 ? VERSION_SHA256 : 0u) |
	       (id_is_zero(&version->attrs) ? 0u : VERSION_ATTRS);
}

int
row_version_encode(struct buf *out, const struct index_version *version)
{
	unsigned flags = version_flags(version);
	size_t start = out->len;
	int rc;

	rc = buf_append(out, version->gid.bytes, ID16_LEN);
	if (rc == 0)
		rc = buf_append_le64(out, (uint64_t)version->created_ns);
	if (rc == 0)
		rc = buf_append_varint(out, zigzag(version->ended_ns));
	if (rc == 0)
		rc = buf_append_u8(out, version->kind);
	if (rc == 0)
		rc = buf_append_u8(out, (uint8_t)flags);
	if (rc == 0)
		rc = buf_append(out, version->id.bytes, LARDER_ID_LEN);
	if (rc == 0 && (flags & VERSION_ATTRS))
		rc = buf_append(out, version->attrs.bytes, LARDER_ID_LEN);
	if (rc == 0)
		rc = buf_append_varint(out, version->bytes);
	if (rc == 0)
		rc = buf_append_varint(out, version->new_bytes);
	if (rc == 0)
		rc = buf_append_varint(out, version->stored_bytes);
	if (rc == 0)
		rc = buf_append_varint(out, version->files);
	if (rc == 0 && version->has_sha256)
		rc = buf_append(out, version->sha256.bytes, LARDER_ID_LEN);
	if (rc == 0)
		rc = buf_append_varint(out, version->tag_count);
	for (size_t i = 0; rc == 0 && i < version->tag_count; i++) {
		const struct index_tag *tag = &version->tags[i];

		rc = buf_append_lenstr(out, tag->key, strlen(tag->key));
		if (rc == 0)
			rc = buf_append_lenstr(out, tag->value, strlen(tag->value));
	}
	if (rc < 0)
		out->len = start;
	return rc;
}

/* A length and that many bytes without NUL; false when malformed. */
static bool
cursor_string(struct cursor *c, const char **at, size_t *len)
{
	uint64_t n = cursor_varint(c);
	const uint8_t *p = n <= TAG_LEN_MAX ? cursor_bytes(c, (size_t)n) : NULL;

	if (p == NULL || memchr(p, 0, (size_t)n) != NULL) {
		c->bad = true;
		return false;
	}
	*at = (const char *)p;
	*len = (size_t)n;
	return true;
}

static char *
place_string(char **at, const char *data, size_t len)
{
	char *s = *at;

	memcpy(s, data, len);
	s[len] = '\0';
	*at += len + 1;
	return s;
}

/* Array of tags, strings behind it, all in row->storage. Malformed sets c->bad. */
static int
decode_strings(struct index_version_row *row, struct cursor *c, size_t tag_count, const char *name,
    size_t name_len)
{
	size_t strings_len = cursor_left(c) + 2 * tag_count + name_len + 1;
	struct index_tag *tags;
	char *at;
	int rc;

	rc = buf_resize(&row->storage, tag_count * sizeof *tags + strings_len);
	if (rc < 0)
		return rc;
	tags = (void *)row->storage.data; /* the start of an allocation: aligned for anything */
	at = (char *)(tags + tag_count);
	row->version.name = place_string(&at, name, name_len);
	for (size_t i = 0; i < tag_count; i++) {
		const char *key, *value;
		size_t key_len, value_len;

		if (!cursor_string(c, &key, &key_len) || !cursor_string(c, &value, &value_len))
			break;
		tags[i].key = place_string(&at, key, key_len);
		tags[i].value = place_string(&at, value, value_len);
	}
	row->version.tags = tag_count > 0 ? tags : NULL;
	row->version.tag_count = tag_count;
	return LARDER_OK;
}

int
row_version_decode(struct index_version_row *out, const char *name, size_t name_len,
    uint64_t number, const uint8_t *data, size_t len, struct larder_err *err)
{
	struct cursor c = cursor_of(data, len);
	struct index_version v = { .number = number };
	const uint8_t *gid = cursor_bytes(&c, ID16_LEN);
	uint64_t tag_count;
	unsigned flags;
	int rc;

	out->version = (struct index_version){ 0 };
	v.created_ns = (int64_t)cursor_le64(&c);
	v.ended_ns = unzigzag(cursor_varint(&c));
	v.kind = cursor_u8(&c);
	flags = cursor_u8(&c);
	cursor_id(&c, &v.id);
	if (flags & VERSION_ATTRS)
		cursor_id(&c, &v.attrs);
	v.bytes = cursor_varint(&c);
	v.new_bytes = cursor_varint(&c);
	v.stored_bytes = cursor_varint(&c);
	v.files = cursor_varint(&c);
	if (flags & VERSION_SHA256)
		cursor_id(&c, &v.sha256);
	tag_count = cursor_varint(&c);
	v.list = flags & VERSION_LIST;
	v.has_sha256 = flags & VERSION_SHA256;

	if (c.bad || gid == NULL || flags > VERSION_FLAGS || flags != version_flags(&v) ||
	    tag_count > TAGS_MAX)
		return row_bad(err, "row of a version", &c, len);
	memcpy(v.gid.bytes, gid, ID16_LEN);
	out->version = v;
	rc = decode_strings(out, &c, (size_t)tag_count, name, name_len);
	if (rc == 0 && cursor_done(&c))
		return LARDER_OK;
	out->version = (struct index_version){ 0 };
	return rc < 0 ? buf_err(&out->storage, rc, err) : row_bad(err, "row of a version", &c, len);
}

size_t
row_gid_encode(uint8_t out[ROW_GID_MAX], uint64_t number)
{
	return put_varint(out, number);
}

int
row_gid_decode(uint64_t *number, const uint8_t *data, size_t len, struct larder_err *err)
{
	struct cursor c = cursor_of(data, len);
	uint64_t v = cursor_varint(&c);

	if (!cursor_done(&c) || v == 0)
		return row_bad(err, "number of a version", &c, len);
	*number = v;
	return LARDER_OK;
}

size_t
row_time_encode(uint8_t out[ROW_TIME_MAX], uint64_t number, int64_t ended_ns)
{
	size_t n = put_varint(out, number);

	return n + put_varint(out + n, zigzag(ended_ns));
}

int
row_time_decode(
    uint64_t *number, int64_t *ended_ns, const uint8_t *data, size_t len, struct larder_err *err)
{
	struct cursor c = cursor_of(data, len);
	uint64_t v = cursor_varint(&c);
	int64_t ended = unzigzag(cursor_varint(&c));

	if (!cursor_done(&c) || v == 0)
		return row_bad(err, "times of a version", &c, len);
	*number = v;
	*ended_ns = ended;
	return LARDER_OK;
}
