/* What the program's main function calls of IOR. */
#pragma once
#include <mpi.h>
#include <stdio.h>
typedef struct mdworkbench_results_t mdworkbench_results_t;
mdworkbench_results_t* md_workbench_run(int argc, char** argv, MPI_Comm world, FILE* out);
