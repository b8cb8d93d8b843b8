// mayflyd --rejoin: one member of a living session whose server was killed, brought back beside the others. No MPI: the
// launcher knows nothing of this process.
#pragma once

#include "options.h"
#include "supervisor.h"

namespace mayfly {

// From the parsed command line to the exit code.
int RunRejoin(CommandLine line, const ParentLine& parent);

}  // namespace mayfly
