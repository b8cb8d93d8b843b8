/* md-workbench-mayfly: IOR's program with `-a MAYFLY`. */
#include <mpi.h>
#include <stdio.h>

#include "install.h"
#include "md-workbench.h"

int main(int argc, char** argv) {
  if (MayflyIorInstall() != 0) return 1;
  MPI_Init(&argc, &argv);
  md_workbench_run(argc, argv, MPI_COMM_WORLD, stdout);
  MPI_Finalize();
  return 0;
}
