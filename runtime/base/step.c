#include "base/step.h"

void (*dirty_step_hook)(const char *name);
