/* daemon.c with stdin in the place of the channel: "1" where runnerd is known and lives. */
#include "native.h"

#include <stdio.h>

int main(void)
{
    return printf("%d\n", daemon_lives(daemon_watch(0))) < 0;
}
