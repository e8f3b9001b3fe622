/* Stands between a process and its disk, by LD_PRELOAD: fails calls on demand, and keeps a journal.
 *
 * Only calls on paths under the watched folder are looked at. A rule lets calls of some kinds on paths of a
 * pattern fail with an errno. The journal has every call that changed a file or a name, and every sync, in the
 * order in which they happened and with the bytes written, so that the state of the disk after a power cut
 * at any moment can be worked out afterwards (see power_cut.py). The clock can be set back as well.
 *
 * Calls made by raw syscall() would not be seen; test_power_cut.py shows that there are none.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { CREATE = 1, WRITE = 2, TRUNCATE = 4, SYNC = 8, LINK = 16, RENAME = 32, UNLINK = 64, MKDIR = 128,
       RMDIR = 256, OPEN = 512 };

struct record { uint32_t kind, path_length, other_length, failed; uint64_t inode; int64_t offset, size; };

#define RULES 8
static struct { int kinds, error, hits, left, skip; char pattern[PATH_MAX]; } rules[RULES];
static char watched[PATH_MAX];
static int journal = -1;
/* Recursive: a wrapper may call another one's function, e.g. open64 within open. */
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

static _Atomic long clock_behind;

/* Called by the process itself, over ctypes. */

void shim_set_clock_back(long seconds) { clock_behind = seconds; }

void shim_watch(const char *folder) { snprintf(watched, sizeof watched, "%s", folder); }

int shim_journal(const char *path) {
    journal = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return journal < 0 ? errno : 0;
}

/* Fails the calls of some kinds on matching paths, the first `skip` excepted, `times` times (-1: always). */
void shim_fail(int kinds, int error, const char *pattern, int skip, int times) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < RULES; i++) {
        if (rules[i].kinds) continue;
        rules[i].kinds = kinds, rules[i].error = error, rules[i].skip = skip, rules[i].left = times;
        snprintf(rules[i].pattern, sizeof rules[i].pattern, "%s", pattern);
        break;
    }
    pthread_mutex_unlock(&lock);
}

/* Ends all faults; returns how many calls failed. */
int shim_heal(void) {
    pthread_mutex_lock(&lock);
    int hits = 0;
    for (int i = 0; i < RULES; i++) hits += rules[i].hits;
    memset(rules, 0, sizeof rules);
    pthread_mutex_unlock(&lock);
    return hits;
}

/* What follows is within the lock. */

static int is_watched(const char *path) {
    size_t length = strlen(watched);
    return length && strncmp(path, watched, length) == 0 && (path[length] == '/' || !path[length]);
}

static int fault(int kind, const char *path) {
    for (int i = 0; i < RULES; i++) {
        if (!(rules[i].kinds & kind) || rules[i].left == 0 || fnmatch(rules[i].pattern, path, 0)) continue;
        if (rules[i].skip > 0) { rules[i].skip--; continue; }
        if (rules[i].left > 0) rules[i].left--;
        rules[i].hits++;
        return rules[i].error;
    }
    return 0;
}

static void put(const void *data, size_t size) {
    const char *at = data;
    while (size) {
        long done = syscall(SYS_write, journal, at, size);
        if (done < 0) abort();
        at += done, size -= (size_t)done;
    }
}

static void note(uint32_t kind, const char *path, const char *other, uint64_t inode, int64_t offset,
                 int64_t size, const void *data, int failed) {
    if (journal < 0) return;
    int saved = errno;
    struct record one = {kind, (uint32_t)strlen(path), (uint32_t)strlen(other), (uint32_t)failed, inode, offset,
                         size};
    put(&one, sizeof one);
    put(path, one.path_length);
    put(other, one.other_length);
    if (data) put(data, (size_t)size);
    errno = saved;
}

static uint64_t inode_of_path(const char *path) {
    struct stat facts;
    return lstat(path, &facts) ? 0 : facts.st_ino;
}

static uint64_t inode_of(int fd) {
    struct stat facts;
    return fstat(fd, &facts) ? 0 : facts.st_ino;
}

static int path_of(int fd, char *path) {
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return is_watched(path);
}

static int absolute(int folder, const char *given, char *path) {
    if (given[0] == '/') {
        snprintf(path, PATH_MAX, "%s", given);
    } else {
        char base[PATH_MAX];
        if (folder == AT_FDCWD) { if (!getcwd(base, sizeof base)) base[0] = 0; }
        else path_of(folder, base);
        if (snprintf(path, PATH_MAX, "%s/%s", base, given) >= PATH_MAX) path[0] = 0;
    }
    return is_watched(path);
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define LOCKED pthread_mutex_lock(&lock)
#define DONE(result) do { int kept = errno; pthread_mutex_unlock(&lock); errno = kept; return (result); } while (0)
#define FAIL(kind, path) do { int error = fault(kind, path); if (error) { errno = error; DONE(-1); } } while (0)

/* Opening */

static int opened(int result, int flags, const char *path, int there) {
    if (result >= 0 && !there && (flags & O_CREAT)) note(CREATE, path, "", inode_of(result), 0, 0, NULL, 0);
    else if (result >= 0 && (flags & O_TRUNC)) note(TRUNCATE, path, "", inode_of(result), 0, 0, NULL, 0);
    return result;
}

#define OPENER(name, signature, folder, call) \
    int name signature { \
        REAL(name); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); \
        } \
        LOCKED; \
        char path[PATH_MAX]; \
        if (!absolute(folder, given, path)) { \
            pthread_mutex_unlock(&lock); return real call; \
        } \
        int there = access(path, F_OK) == 0; \
        if ((flags & O_ACCMODE) != O_RDONLY) FAIL(OPEN, path); \
        if ((flags & O_CREAT) && !there) FAIL(CREATE, path); \
        int result = opened(real call, flags, path, there); \
        DONE(result); \
    }
OPENER(open, (const char *given, int flags, ...), AT_FDCWD, (given, flags, mode))
OPENER(open64, (const char *given, int flags, ...), AT_FDCWD, (given, flags, mode))
OPENER(openat, (int folder, const char *given, int flags, ...), folder, (folder, given, flags, mode))
OPENER(openat64, (int folder, const char *given, int flags, ...), folder, (folder, given, flags, mode))

int creat(const char *given, mode_t mode) { return open(given, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *given, mode_t mode) { return open64(given, O_CREAT | O_WRONLY | O_TRUNC, mode); }

/* Writing */

#define WRITER(name, signature, call, bytes, wanted, at) \
    ssize_t name signature { \
        REAL(name); \
        LOCKED; \
        char path[PATH_MAX]; \
        if (!watched[0] || !path_of(fd, path)) { pthread_mutex_unlock(&lock); return real call; } \
        FAIL(WRITE, path); \
        ssize_t done = real call; \
        if (done > 0 && journal >= 0) { \
            note(WRITE, path, "", inode_of(fd), (at) < 0 ? lseek(fd, 0, SEEK_CUR) - done : (at), done, bytes, 0); \
        } \
        DONE(done); \
    }
WRITER(write, (int fd, const void *data, size_t size), (fd, data, size), data, size, (off_t)-1)
WRITER(pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), data, size, at)
WRITER(pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at), data, size, at)

static ssize_t vector(int fd, const struct iovec *parts, int count, off64_t at) {
    ssize_t total = 0;
    for (int i = 0; i < count; i++) {
        ssize_t done = at < 0 ? write(fd, parts[i].iov_base, parts[i].iov_len)
                              : pwrite64(fd, parts[i].iov_base, parts[i].iov_len, at + total);
        if (done < 0) return total ? total : done;
        total += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return total;
}
#define VECTOR(name, signature, call, at) \
    ssize_t name signature { \
        REAL(name); \
        char path[PATH_MAX]; \
        LOCKED; \
        if (!watched[0] || !path_of(fd, path)) { pthread_mutex_unlock(&lock); return real call; } \
        ssize_t done = vector(fd, parts, count, at); \
        DONE(done); \
    }
VECTOR(writev, (int fd, const struct iovec *parts, int count), (fd, parts, count), (off64_t)-1)
VECTOR(pwritev, (int fd, const struct iovec *parts, int count, off_t at), (fd, parts, count, at), at)
VECTOR(pwritev64, (int fd, const struct iovec *parts, int count, off64_t at), (fd, parts, count, at), at)

/* A copy within the kernel would not show its bytes: callers fall back to read and write. */
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t size, unsigned flags) {
    REAL(copy_file_range);
    char path[PATH_MAX];
    if (watched[0] && path_of(to, path)) { errno = ENOSYS; return -1; }
    return real(from, from_at, to, to_at, size, flags);
}
ssize_t sendfile64(int to, int from, off64_t *at, size_t size) {
    ssize_t (*real)(int, int, off64_t *, size_t) = dlsym(RTLD_NEXT, "sendfile64");
    char path[PATH_MAX];
    if (watched[0] && path_of(to, path)) { errno = EINVAL; return -1; }
    return real(to, from, at, size);
}

#define CUTTER(name, type) \
    int name(int fd, type size) { \
        REAL(name); \
        LOCKED; \
        char path[PATH_MAX]; \
        if (!watched[0] || !path_of(fd, path)) { pthread_mutex_unlock(&lock); return real(fd, size); } \
        FAIL(TRUNCATE, path); \
        int result = real(fd, size); \
        if (!result) note(TRUNCATE, path, "", inode_of(fd), size, 0, NULL, 0); \
        DONE(result); \
    }
CUTTER(ftruncate, off_t)
CUTTER(ftruncate64, off64_t)

#define SYNCER(name) \
    int name(int fd) { \
        REAL(name); \
        LOCKED; \
        char path[PATH_MAX]; \
        if (!watched[0] || !path_of(fd, path)) { pthread_mutex_unlock(&lock); return real(fd); } \
        int error = fault(SYNC, path); \
        if (error) { \
            /* Linux gives up the unwritten pages of a failed sync: a later sync does not bring them back. */ \
            note(SYNC, path, "", inode_of(fd), 0, 0, NULL, error); \
            errno = error; \
            DONE(-1); \
        } \
        /* Not done for real: tests kill processes, not the machine, and a real sync takes its time. */ \
        note(SYNC, path, "", inode_of(fd), 0, 0, NULL, 0); \
        DONE(0); \
    }
SYNCER(fsync)
SYNCER(fdatasync)

/* The time of day: Python, Rust and SQLite all ask the C library */

int clock_gettime(clockid_t clock, struct timespec *moment) {
    REAL(clock_gettime);
    int result = real(clock, moment);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) moment->tv_sec -= clock_behind;
    return result;
}
int gettimeofday(struct timeval *restrict moment, void *restrict zone) {
    REAL(gettimeofday);
    int result = real(moment, zone);
    if (!result) moment->tv_sec -= clock_behind;
    return result;
}

/* Names */

#define PAIR(name, kind, signature, old_folder, new_folder, call) \
    int name signature { \
        REAL(name); \
        LOCKED; \
        char from[PATH_MAX], to[PATH_MAX]; \
        int mine = absolute(old_folder, old, from) | absolute(new_folder, new, to); \
        if (!mine) { pthread_mutex_unlock(&lock); return real call; } \
        FAIL(kind, to); \
        uint64_t inode = inode_of_path(from); \
        int result = real call; \
        if (!result) note(kind, from, to, inode, 0, 0, NULL, 0); \
        DONE(result); \
    }
PAIR(link, LINK, (const char *old, const char *new), AT_FDCWD, AT_FDCWD, (old, new))
PAIR(linkat, LINK, (int a, const char *old, int b, const char *new, int flags), a, b, (a, old, b, new, flags))
PAIR(rename, RENAME, (const char *old, const char *new), AT_FDCWD, AT_FDCWD, (old, new))
PAIR(renameat, RENAME, (int a, const char *old, int b, const char *new), a, b, (a, old, b, new))
PAIR(renameat2, RENAME, (int a, const char *old, int b, const char *new, unsigned flags), a, b,
     (a, old, b, new, flags))

#define SINGLE(name, kind, signature, folder, call) \
    int name signature { \
        REAL(name); \
        LOCKED; \
        char path[PATH_MAX]; \
        if (!absolute(folder, given, path)) { pthread_mutex_unlock(&lock); return real call; } \
        FAIL(kind, path); \
        uint64_t inode = inode_of_path(path); \
        int result = real call; \
        if (!result) note(kind, path, "", kind == MKDIR ? inode_of_path(path) : inode, 0, 0, NULL, 0); \
        DONE(result); \
    }
SINGLE(unlink, UNLINK, (const char *given), AT_FDCWD, (given))
SINGLE(rmdir, RMDIR, (const char *given), AT_FDCWD, (given))
SINGLE(mkdir, MKDIR, (const char *given, mode_t mode), AT_FDCWD, (given, mode))
SINGLE(mkdirat, MKDIR, (int folder, const char *given, mode_t mode), folder, (folder, given, mode))

int unlinkat(int folder, const char *given, int flags) {
    REAL(unlinkat);
    LOCKED;
    char path[PATH_MAX];
    if (!absolute(folder, given, path)) { pthread_mutex_unlock(&lock); return real(folder, given, flags); }
    int kind = flags & AT_REMOVEDIR ? RMDIR : UNLINK;
    FAIL(kind, path);
    uint64_t inode = inode_of_path(path);
    int result = real(folder, given, flags);
    if (!result) note((uint32_t)kind, path, "", inode, 0, 0, NULL, 0);
    DONE(result);
}
