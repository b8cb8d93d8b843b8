/* IOR compiles its backends in. This puts Mayfly's in the place of DUMMY, in the list that IOR looks names up in. */
#pragma once

/* 0, or 1 after a sentence: this IOR has no DUMMY. Before anything of IOR runs. */
int MayflyIorInstall(void);
