/* The whole launcher with the sanitizers: its `main` is that of runner/native/launch.c. */
