/* metrics: the arbiter's state as Prometheus text, exposition format 0.0.4. */
#ifndef DIRTY_ARBITER_METRICS_H
#define DIRTY_ARBITER_METRICS_H

#include "arbiter/internal.h"
#include "base/buf.h"

void metrics_append(arbiter *a, dirty_buf *out);

#endif
