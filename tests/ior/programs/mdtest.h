/* What the program's main function calls of IOR. */
#pragma once
#include <mpi.h>
#include <stdio.h>
typedef struct mdtest_results_t mdtest_results_t;
mdtest_results_t* mdtest_run(int argc, char** argv, MPI_Comm world, FILE* out);
