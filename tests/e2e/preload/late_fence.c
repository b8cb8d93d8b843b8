// Preloaded into an MPI program: the rank MAYFLY_TEST_LATE_RANK hears a second late that its first fence of the
// launcher, the one in the middle of MPI_Init, is over. All others are long out of MPI_Init then, if the fence at its
// end does not hold them.
#include <dlfcn.h>
#include <pmix.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pmix_op_cbfunc_t callback;
static void* callback_data;
static int fences;

static void* CallLate(void* status) {
  sleep(1);
  callback((pmix_status_t)(long)status, callback_data);
  return NULL;
}

static void StartCallLate(pmix_status_t status, void* data) {
  (void)data;
  pthread_t thread;
  if (pthread_create(&thread, NULL, CallLate, (void*)(long)status) == 0) pthread_detach(thread);
}

pmix_status_t PMIx_Fence_nb(const pmix_proc_t procs[], size_t nprocs, const pmix_info_t info[], size_t ninfo,
                            pmix_op_cbfunc_t function, void* data) {
  // Open MPI loads the library for its plugin alone: RTLD_NEXT does not know it.
  void* library = dlopen("libpmix.so.2", RTLD_NOW | RTLD_NOLOAD);
  pmix_status_t (*real)(const pmix_proc_t[], size_t, const pmix_info_t[], size_t, pmix_op_cbfunc_t, void*) = NULL;
  if (library != NULL) *(void**)&real = dlsym(library, "PMIx_Fence_nb");
  if (real == NULL) return PMIX_ERR_NOT_SUPPORTED;
  const char* rank = getenv("PMIX_RANK");
  const char* late = getenv("MAYFLY_TEST_LATE_RANK");
  if (fences++ == 0 && rank != NULL && late != NULL && strcmp(rank, late) == 0) {
    callback = function;
    callback_data = data;
    function = StartCallLate;
  }
  return real(procs, nprocs, info, ninfo, function, data);
}
