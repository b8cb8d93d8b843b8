/* ior-mayfly: IOR's program with `-a MAYFLY`. */
#include <mpi.h>
#include <stdio.h>

#include "install.h"
#include "ior.h"

int main(int argc, char** argv) {
  if (MayflyIorInstall() != 0) return 1;
  return ior_main(argc, argv);
}
