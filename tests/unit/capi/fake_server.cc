// The server of the client's tests, once more for this program.
#include "unit/client/fake_server.cc"
