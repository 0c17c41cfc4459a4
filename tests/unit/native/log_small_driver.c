/* The driver of a log whose segments may be 64, so that their bounds come soon. */
#define MOST_SEGMENTS 64
#include "log_driver.c"
