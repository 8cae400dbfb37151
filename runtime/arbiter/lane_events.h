/* lane_events: handles messages of lanes (lane.h). */
#ifndef DIRTY_ARBITER_LANE_EVENTS_H
#define DIRTY_ARBITER_LANE_EVENTS_H

#include "arbiter/lane.h"

extern const lane_events arbiter_lane_events;

#endif
