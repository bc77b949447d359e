// Stands between a program called "cachewrap" and the C library, so that any one of its operations
// on files fails, or its clock is wrong. Other programs are left alone, and what the program starts
// is not preloaded.
//
//   FAULT_AT      the number of the operation that fails, from 1; none if 0 or not given
//   FAULT_ERRNO   with which error
//   FAULT_STICKY  if set, all later operations fail as well
//   FAULT_REPORT  a file to which "<operations so far> <operations failed>\n" is appended at the end
//   CLOCK_SHIFT   seconds to add to the time of day
//   KEEPER_GATE   a process that leaves its session waits until this file is there
//   KEEPER_STAGE  where it waits: "recording", before anything else, or "storing", when it has said what the inputs are
//
// Operations are calls that name a path or a descriptor of a file; pipes, sockets and what the
// program was started with do not count.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FDS 4096

static int active, error, sticky;
static long at, shift;
static int is_detached, waits_late;
static char report[4096], gate[4096];
static atomic_long operations, failures;
static atomic_char files[FDS];

static long number(const char *name) {
  const char *value = getenv(name);
  return value ? atol(value) : 0;
}

__attribute__((constructor)) static void start(void) {
  if (strcmp(program_invocation_short_name, "cachewrap") != 0) return;
  at = number("FAULT_AT");
  error = (int)number("FAULT_ERRNO");
  sticky = getenv("FAULT_STICKY") != NULL;
  shift = number("CLOCK_SHIFT");
  const char *path = getenv("FAULT_REPORT");
  if (path) snprintf(report, sizeof report, "%s", path);
  path = getenv("KEEPER_GATE");
  if (path) snprintf(gate, sizeof gate, "%s", path);
  path = getenv("KEEPER_STAGE");
  waits_late = path && strcmp(path, "storing") == 0;
  const char *names[] = {"FAULT_AT",    "FAULT_ERRNO", "FAULT_STICKY", "FAULT_REPORT",
                         "CLOCK_SHIFT", "KEEPER_GATE", "KEEPER_STAGE", "LD_PRELOAD"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) unsetenv(names[i]);
  active = 1;
}

__attribute__((destructor)) static void end(void) {
  if (!active || !*report) return;
  active = 0;
  FILE *file = fopen(report, "ae");
  if (!file) return;
  fprintf(file, "%ld %ld\n", atomic_load(&operations), atomic_load(&failures));
  fclose(file);
}

static void wait_at_gate(void) {
  while (active && *gate && syscall(SYS_faccessat, AT_FDCWD, gate, F_OK) != 0) usleep(1000);
}

pid_t setsid(void) {
  pid_t (*next)(void) = (pid_t (*)(void))dlsym(RTLD_NEXT, "setsid");
  pid_t session = next();
  is_detached = 1;
  if (!waits_late) wait_at_gate();
  return session;
}

// What a keeper says of itself is in a file of its own.
static int tells(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  path[length < 0 ? 0 : length] = 0;
  return strstr(path, "/running/keeper-") != NULL;
}

static int fails(void) {
  if (!active) return 0;
  long n = atomic_fetch_add(&operations, 1) + 1;
  if (at == 0 || !(n == at || (sticky && n > at))) return 0;
  atomic_fetch_add(&failures, 1);
  errno = error;
  return 1;
}

static int is_file(int fd) { return fd >= 0 && fd < FDS && atomic_load(&files[fd]); }
static int fails_on(int fd) { return is_file(fd) && fails(); }
static int counts(const char *path) { return strcmp(path, "/dev/null") != 0; }
static int opened(int fd) {
  if (fd >= 0 && fd < FDS) atomic_store(&files[fd], 1);
  return fd;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                          \
  int name(const char *path, int flags, ...) {              \
    va_list list;                                           \
    va_start(list, flags);                                  \
    mode_t mode = va_arg(list, mode_t);                     \
    va_end(list);                                           \
    if (!counts(path)) return REAL(name)(path, flags, mode); \
    if (fails()) return -1;                                 \
    return opened(REAL(name)(path, flags, mode));           \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                       \
  int name(int dir, const char *path, int flags, ...) {    \
    va_list list;                                          \
    va_start(list, flags);                                 \
    mode_t mode = va_arg(list, mode_t);                    \
    va_end(list);                                          \
    if (fails()) return -1;                                \
    return opened(REAL(name)(dir, path, flags, mode));     \
  }
OPENAT(openat)
OPENAT(openat64)

// The C library has no function for it yet; whoever looks for one finds this.
int openat2(int dir, const char *path, const void *how, size_t size) {
  if (fails()) return -1;
  return opened((int)syscall(SYS_openat2, dir, path, how, size));
}

int close(int fd) {
  if (fd >= 0 && fd < FDS) atomic_store(&files[fd], 0);
  return REAL(close)(fd);
}

// What fails with -1, on a path or on a descriptor.
#define PATH(result, name, params, args, path) \
  result name params {                         \
    if (fails()) return -1;                    \
    return REAL(name) args;                    \
  }
#define FD(result, name, params, args, fd) \
  result name params {                     \
    if (fails_on(fd)) return -1;           \
    return REAL(name) args;                \
  }

FD(ssize_t, read, (int fd, void *to, size_t n), (fd, to, n), fd)
FD(ssize_t, write, (int fd, const void *from, size_t n), (fd, from, n), fd)
FD(ssize_t, readv, (int fd, const struct iovec *to, int n), (fd, to, n), fd)
FD(ssize_t, writev, (int fd, const struct iovec *from, int n), (fd, from, n), fd)
FD(ssize_t, pread64, (int fd, void *to, size_t n, off64_t at), (fd, to, n, at), fd)
ssize_t pwrite64(int fd, const void *from, size_t n, off64_t at) {
  if (fails_on(fd)) return -1;
  ssize_t (*next)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
  ssize_t written = next(fd, from, n, at);
  if (is_detached && waits_late && at != 0 && tells(fd)) wait_at_gate();
  return written;
}
FD(ssize_t, copy_file_range, (int from, off64_t *a, int to, off64_t *b, size_t n, unsigned flags),
   (from, a, to, b, n, flags), from)
FD(int, ftruncate64, (int fd, off64_t size), (fd, size), fd)
FD(int, futimens, (int fd, const struct timespec times[2]), (fd, times), fd)
FD(int, fchmod, (int fd, mode_t mode), (fd, mode), fd)
FD(int, flock, (int fd, int operation), (fd, operation), fd)
FD(int, fstat64, (int fd, struct stat64 *to), (fd, to), fd)
PATH(int, stat64, (const char *path, struct stat64 *to), (path, to), path)
PATH(int, lstat64, (const char *path, struct stat64 *to), (path, to), path)
PATH(int, rename, (const char *from, const char *to), (from, to), to)
PATH(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), to)
PATH(int, link, (const char *from, const char *to), (from, to), to)
PATH(int, mkdirat, (int dir, const char *path, mode_t mode), (dir, path, mode), path)
PATH(int, fstatat64, (int dir, const char *path, struct stat64 *to, int flags), (dir, path, to, flags), path)
PATH(int, unlink, (const char *path), (path), path)
PATH(int, unlinkat, (int dir, const char *path, int flags), (dir, path, flags), path)
PATH(int, mkdir, (const char *path, mode_t mode), (path, mode), path)
PATH(int, rmdir, (const char *path), (path), path)
PATH(int, chmod, (const char *path, mode_t mode), (path, mode), path)
PATH(ssize_t, readlink, (const char *path, char *to, size_t n), (path, to, n), path)

int statx(int dir, const char *path, int flags, unsigned mask, struct statx *to) {
  // Rust asks whether the call is there with a null path; the header promises that there is none.
  const char *volatile given = path;
  int counted = given && *given ? counts(path) : is_file(dir);
  if (counted && fails()) return -1;
  return REAL(statx)(dir, path, flags, mask, to);
}

char *realpath(const char *path, char *to) {
  if (fails()) return NULL;
  return REAL(realpath)(path, to);
}

DIR *opendir(const char *path) {
  if (fails()) return NULL;
  return REAL(opendir)(path);
}

struct dirent64 *readdir64(DIR *dir) {
  if (fails()) return NULL;
  return REAL(readdir64)(dir);
}

int clock_gettime(clockid_t clock, struct timespec *to) {
  int result = REAL(clock_gettime)(clock, to);
  if (active && clock == CLOCK_REALTIME) to->tv_sec += shift;
  return result;
}
