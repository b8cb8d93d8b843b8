// The server program of a Mayfly session. See server.h.
#include "server.h"

int main(int argc, char** argv) { return mayfly::RunServer(argc, argv); }
