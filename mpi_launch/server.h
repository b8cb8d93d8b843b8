// mayflyd from the first line of main to its exit code.
#pragma once

namespace mayfly {

int RunServer(int argc, char** argv);

}  // namespace mayfly
