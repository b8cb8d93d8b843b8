// A wire between two network namespaces, in user space, for kernels without netem: delay, jitter, loss, duplication,
// rate and cuts in either direction, changed while it runs by rewriting its control file.
//
// usage: vwire PID1 IF1 PID2 IF2 CONTROL
//   makes TAP device IF1 in the network namespace of process PID1, IF2 in that of PID2, prints "ready", and forwards
//   frames between them until it is killed. CONTROL holds six integers, read again within 20 ms of a change:
//   delay_us jitter_us loss_ppm duplicate_ppm rate_mbit cut      cut: bit 0 stops 1->2, bit 1 stops 2->1; rate 0: none
//   Frames keep their order within a direction. VWIRE_SEED seeds loss and jitter (default 1).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { kFramesMax = 8192, kFrameBytesMax = 9216, kBatch = 64 };
static const uint64_t kControlPeriodNs = 20 * 1000 * 1000;

struct Frame {
  uint64_t due_ns;
  int bytes;
  unsigned char data[kFrameBytesMax];
};

// Frames head..tail-1 (modulo kFramesMax) wait for their time; the sender was busy until busy_ns (rate limit).
struct Direction {
  struct Frame* frames;
  unsigned head, tail;
  uint64_t busy_ns;
};

struct Control {
  long delay_us, jitter_us, loss_ppm, duplicate_ppm, rate_mbit, cut;
};

static uint64_t NowNs(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int OpenTap(const char* pid, const char* interface) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%s/ns/net", pid);
  int ns = open(path, O_RDONLY | O_CLOEXEC);
  if (ns < 0 || setns(ns, CLONE_NEWNET) != 0) {
    perror(path);
    exit(1);
  }
  close(ns);
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  struct ifreq request;
  memset(&request, 0, sizeof request);
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  snprintf(request.ifr_name, IFNAMSIZ, "%s", interface);
  if (fd < 0 || ioctl(fd, TUNSETIFF, &request) != 0) {
    perror("/dev/net/tun");
    exit(1);
  }
  return fd;
}

// A file that is just being rewritten can be short: what is missing then keeps its value.
static void ReadControl(const char* path, struct Control* control) {
  FILE* file = fopen(path, "r");
  if (file == NULL) return;
  struct Control c = *control;
  if (fscanf(file, "%ld %ld %ld %ld %ld %ld", &c.delay_us, &c.jitter_us, &c.loss_ppm, &c.duplicate_ppm, &c.rate_mbit,
             &c.cut) >= 1) {
    *control = c;
  }
  fclose(file);
}

static void Enqueue(struct Direction* to, const struct Control* control, const unsigned char* data, int bytes) {
  if (to->tail - to->head >= kFramesMax) return;  // a full queue drops, like a switch
  uint64_t start = NowNs();
  if (control->rate_mbit > 0) {
    if (to->busy_ns < start) to->busy_ns = start;
    to->busy_ns += (uint64_t)bytes * 8000 / (uint64_t)control->rate_mbit;
    start = to->busy_ns;
  }
  struct Frame* frame = &to->frames[to->tail++ % kFramesMax];
  frame->due_ns = start + (uint64_t)control->delay_us * 1000;
  if (control->jitter_us > 0) frame->due_ns += (uint64_t)(random() % control->jitter_us) * 1000;
  frame->bytes = bytes;
  memcpy(frame->data, data, (size_t)bytes);
}

static int Happens(long ppm) { return ppm > 0 && random() % 1000000 < ppm; }

static void Receive(int fd, int direction, struct Direction* to, const struct Control* control) {
  unsigned char data[kFrameBytesMax];
  for (int i = 0; i < kBatch; i++) {
    ssize_t bytes = read(fd, data, sizeof data);
    if (bytes <= 0) return;
    if ((control->cut >> direction & 1) != 0 || Happens(control->loss_ppm)) continue;
    Enqueue(to, control, data, (int)bytes);
    if (Happens(control->duplicate_ppm)) Enqueue(to, control, data, (int)bytes);
  }
}

// Sends what is due; returns when the next frame is, or `limit_ns` if that is earlier.
static uint64_t Send(int fd, struct Direction* from, uint64_t limit_ns) {
  const uint64_t now = NowNs();
  while (from->head != from->tail) {
    const struct Frame* frame = &from->frames[from->head % kFramesMax];
    if (frame->due_ns > now) return frame->due_ns < limit_ns ? frame->due_ns : limit_ns;
    if (write(fd, frame->data, (size_t)frame->bytes) < 0 && errno == EAGAIN) return now + 1000000;
    from->head++;
  }
  return limit_ns;
}

int main(int argc, char** argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: vwire PID1 IF1 PID2 IF2 CONTROL (see the head of vwire.c)\n");
    return 2;
  }
  const int fd[2] = {OpenTap(argv[1], argv[2]), OpenTap(argv[3], argv[4])};
  const char* control_path = argv[5];
  struct Control control = {0};
  ReadControl(control_path, &control);
  srandom(getenv("VWIRE_SEED") != NULL ? (unsigned)atoi(getenv("VWIRE_SEED")) : 1);
  prctl(PR_SET_TIMERSLACK, 1000);
  struct Direction directions[2] = {{0}};
  for (int i = 0; i < 2; i++) {
    directions[i].frames = malloc(sizeof(struct Frame) * kFramesMax);
    if (directions[i].frames == NULL) {
      perror("malloc");
      return 1;
    }
  }
  printf("ready\n");
  fflush(stdout);

  struct stat seen = {0};
  uint64_t looked_ns = 0;
  for (;;) {
    uint64_t now = NowNs();
    if (now - looked_ns >= kControlPeriodNs) {
      looked_ns = now;
      struct stat info;
      if (stat(control_path, &info) == 0 &&
          (info.st_mtim.tv_nsec != seen.st_mtim.tv_nsec || info.st_mtim.tv_sec != seen.st_mtim.tv_sec)) {
        seen = info;
        ReadControl(control_path, &control);
      }
    }
    uint64_t next = now + kControlPeriodNs;
    for (int i = 0; i < 2; i++) next = Send(fd[1 - i], &directions[i], next);
    now = NowNs();
    const uint64_t wait_ns = next > now ? next - now : 0;
    const struct timespec wait = {(time_t)(wait_ns / 1000000000u), (long)(wait_ns % 1000000000u)};
    struct pollfd events[2] = {{fd[0], POLLIN, 0}, {fd[1], POLLIN, 0}};
    ppoll(events, 2, &wait, NULL);
    for (int i = 0; i < 2; i++) {
      if ((events[i].revents & POLLIN) != 0) Receive(fd[i], i, &directions[i], &control);
    }
  }
}
