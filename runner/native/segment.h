/* One segment of a log as files: made, written, removed, synced (segment.c, for log.c alone). */
#ifndef RUNNERD_SEGMENT_H
#define RUNNERD_SEGMENT_H

#include <stddef.h>
#include <stdint.h>

/* An open segment. */
struct segment_files { int log_fd, index_fd; };

/* -EEXIST when there is anything in the directory, whose offset is then at its beginning. */
int segment_require_none(int dir_fd);
int segment_create(int dir_fd, uint64_t start, struct segment_files *into);
int segment_remove(int dir_fd, uint64_t start);
void segment_close(const struct segment_files *files);
/* Begin to write to the disk, without waiting if it can be helped. What fails here is seen by
 * the sync at the end. */
void segment_start_writing(const struct segment_files *files);
/* Wait until what is written is on the disk: of an open one, and of one that has a name only.
 * Both of its files, whatever became of the first; the last error. */
int segment_sync(const struct segment_files *files);
int segment_sync_finished(int dir_fd, uint64_t start);
/* All of it, at a position, so that a try after a failure overwrites instead of repeating. */
int segment_write(int fd, const void *data, size_t length, uint64_t position);

#endif
