// The real door, without the rest of its room (and the libraries that need): the tests of this room flush to a real
// directory.
#include "adapt/posix/pfs_tree.cc"
