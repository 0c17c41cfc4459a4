/* A spec between its bytes (spec.c) and the job that it describes (job.c). */
#ifndef RUNNERD_NATIVE_SPEC_H
#define RUNNERD_NATIVE_SPEC_H

#include "fields.h"

/* `job` is the first member, so that one table can name both's. */
struct spec {
    struct job job;
    const char *id, *seccomp;
    bool has_program;
};

/* What a spec need not say must be in `into` before. Texts and lists go into the parse's arena. */
int spec_parse(struct parse *parse, struct spec *into);
/* The file of limits that an update wrote. A field that is not known is a newer runnerd's, which
 * asks it of the cgroups alone: it is skipped. */
int spec_parse_limits(struct parse *parse, struct spec *into);

#endif
