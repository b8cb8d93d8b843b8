/* What the program's main function calls of IOR. */
#pragma once
int ior_main(int argc, char** argv);
