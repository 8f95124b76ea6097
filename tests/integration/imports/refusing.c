/*
 * Preloaded into a process: system calls on what lies under REFUSE_ROOT fail.
 *
 * By kind: with the errno that REFUSE_<CALL> names; REFUSE_LONGEST is the length of the longest name there. By number: after refuse_from(n, errno, ...), the n-th call,
 * or that one and all behind it; refuse_calls() says how many there were, refuse_hits() how many failed.
 * With REFUSE_TRACE, the path of a file, every call that creates, writes, syncs or names something is written there.
 */
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
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

enum { READS = 1, WRITES = 2 };

static atomic_long calls, hits, nth = -1;
static int number, is_lasting, kinds;

void refuse_from(long first, int with, int lasting, int of_kinds)
{
    calls = hits = 0;
    number = with;
    is_lasting = lasting;
    kinds = of_kinds;
    nth = first;
}

long refuse_calls(void) { return calls; }
long refuse_hits(void) { return hits; }

/* The path of a descriptor, or of a name relative to one; 0 when it does not lie under REFUSE_ROOT. */
static int below(int descriptor, const char *name, char *path, size_t size)
{
    char link[64];
    const char *root = getenv("REFUSE_ROOT");
    ssize_t length = 0;
    if (!root)
        return 0;
    if (!name || name[0] != '/') {
        snprintf(link, sizeof link, descriptor == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", descriptor);
        if ((length = readlink(link, path, size - 1)) < 0)
            return 0;
    }
    path[length] = 0;
    if (name)
        snprintf(path + length, size - length, "%s%s", length ? "/" : "", name);
    return !strncmp(path, root, strlen(root));
}

static void trace(const char *call, const char *path, const char *other)
{
    static int descriptor = -1;
    char line[9000];
    const char *file = getenv("REFUSE_TRACE");
    if (!file)
        return;
    if (descriptor < 0)
        descriptor = REAL(int, "open", const char *, int, ...)(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int length = snprintf(line, sizeof line, "%s\t%s\t%s\n", call, path, other ? other : "");
    if (REAL(ssize_t, "write", int, const void *, size_t)(descriptor, line, length) < 0)
        abort();
}

static int refused(const char *call, int kind, int descriptor, const char *name)
{
    char path[4400], variable[64];
    int kept = errno;
    if (!below(descriptor, name, path, sizeof path))
        return errno = kept, 0;
    errno = kept;
    /* As eCryptfs does, which takes 143. */
    const char *longest = getenv("REFUSE_LONGEST"), *last = strrchr(path, '/');
    if (name && longest && last && strlen(last + 1) > (size_t)atol(longest))
        return errno = ENAMETOOLONG, 1;
    snprintf(variable, sizeof variable, "REFUSE_%s", call);
    const char *with = getenv(variable);
    if (with)
        return errno = atoi(with), 1;
    if (nth >= 0 && (kinds & kind)) {
        long now = ++calls;
        if (now == nth || (is_lasting && now > nth)) {
            hits++;
            trace("refused", path, call);
            return errno = number, 1;
        }
    }
    return 0;
}

static void done(const char *call, int result, int descriptor, const char *name, int to, const char *new)
{
    char path[4400], other[4400] = "";
    int kept = errno;
    if (getenv("REFUSE_TRACE") && result >= 0 && below(descriptor, name, path, sizeof path)) {
        if (new)
            below(to, new, other, sizeof other);
        trace(call, path, other);
    }
    errno = kept;
}

static int opened(const char *symbol, int descriptor, const char *name, int flags, mode_t mode)
{
    int writes = flags & O_CREAT;
    if (refused("OPEN", writes ? WRITES : READS, descriptor, name))
        return -1;
    int result = REAL(int, symbol, int, const char *, int, ...)(descriptor, name, flags, mode);
    if (writes)
        done("create", result, descriptor, name, 0, 0);
    return result;
}

#define OPENED(descriptor)                                                                                             \
    va_list list;                                                                                                      \
    va_start(list, flags);                                                                                             \
    mode_t mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;                                                          \
    va_end(list);                                                                                                      \
    return opened("openat64", descriptor, name, flags, mode)

int open(const char *name, int flags, ...) { OPENED(AT_FDCWD); }
int open64(const char *name, int flags, ...) { OPENED(AT_FDCWD); }
int openat(int descriptor, const char *name, int flags, ...) { OPENED(descriptor); }
int openat64(int descriptor, const char *name, int flags, ...) { OPENED(descriptor); }

int close(int descriptor)
{
    /* What a server could not take is told as late as here; the descriptor is closed all the same. */
    int is_refused = refused("CLOSE", WRITES, descriptor, 0), with = errno;
    int result = REAL(int, "close", int)(descriptor);
    return is_refused ? (errno = with, -1) : result;
}

#define STATUS(symbol, status_t)                                                                                       \
    int symbol(int descriptor, struct status_t *status)                                                                \
    {                                                                                                                  \
        if (refused("STAT", READS, descriptor, 0))                                                                     \
            return -1;                                                                                                 \
        return REAL(int, #symbol, int, struct status_t *)(descriptor, status);                                         \
    }
STATUS(fstat, stat)
STATUS(fstat64, stat64)

#define STATUS_AT(symbol, status_t)                                                                                    \
    int symbol(int descriptor, const char *name, struct status_t *status, int flags)                                   \
    {                                                                                                                  \
        if (refused("STAT", READS, descriptor, name))                                                                  \
            return -1;                                                                                                 \
        return REAL(int, #symbol, int, const char *, struct status_t *, int)(descriptor, name, status, flags);         \
    }
STATUS_AT(fstatat, stat)
STATUS_AT(fstatat64, stat64)

#define STATVFS(symbol, status_t)                                                                                      \
    int symbol(int descriptor, struct status_t *status)                                                                \
    {                                                                                                                  \
        if (refused("STATVFS", READS, descriptor, 0))                                                                  \
            return -1;                                                                                                 \
        return REAL(int, #symbol, int, struct status_t *)(descriptor, status);                                         \
    }
STATVFS(fstatvfs, statvfs)
STATVFS(fstatvfs64, statvfs64)

#define READ_DIRECTORY(symbol, entry)                                                                                  \
    struct entry *symbol(DIR *directory)                                                                               \
    {                                                                                                                  \
        if (refused("READDIR", READS, dirfd(directory), 0))                                                            \
            return 0;                                                                                                  \
        return REAL(struct entry *, #symbol, DIR *)(directory);                                                        \
    }
READ_DIRECTORY(readdir, dirent)
READ_DIRECTORY(readdir64, dirent64)

#define READ_AT(symbol)                                                                                                \
    ssize_t symbol(int descriptor, void *to, size_t size, off_t at)                                                    \
    {                                                                                                                  \
        if (refused("READ", READS, descriptor, 0))                                                                     \
            return -1;                                                                                                 \
        return REAL(ssize_t, #symbol, int, void *, size_t, off_t)(descriptor, to, size, at);                           \
    }
READ_AT(pread)
READ_AT(pread64)

ssize_t write(int descriptor, const void *from, size_t size)
{
    if (refused("WRITE", WRITES, descriptor, 0))
        return -1;
    ssize_t result = REAL(ssize_t, "write", int, const void *, size_t)(descriptor, from, size);
    done("write", result < 0 ? -1 : 0, descriptor, 0, 0, 0);
    return result;
}

#define TRUNCATE(symbol)                                                                                               \
    int symbol(int descriptor, off_t size)                                                                             \
    {                                                                                                                  \
        if (refused("TRUNCATE", WRITES, descriptor, 0))                                                                \
            return -1;                                                                                                 \
        return REAL(int, #symbol, int, off_t)(descriptor, size);                                                       \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

int fsync(int descriptor)
{
    struct stat status;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    int is_directory = !stat(link, &status) && S_ISDIR(status.st_mode);
    if (refused(is_directory ? "FSYNC_DIRECTORY" : "FSYNC", WRITES, descriptor, 0))
        return -1;
    int result = REAL(int, "fsync", int)(descriptor);
    done("fsync", result, descriptor, 0, 0, 0);
    return result;
}

int fchmod(int descriptor, mode_t mode)
{
    if (refused("CHMOD", WRITES, descriptor, 0))
        return -1;
    return REAL(int, "fchmod", int, mode_t)(descriptor, mode);
}

int flock(int descriptor, int operation)
{
    if (refused("FLOCK", WRITES, descriptor, 0))
        return -1;
    return REAL(int, "flock", int, int)(descriptor, operation);
}

int mkdirat(int descriptor, const char *name, mode_t mode)
{
    if (refused("MKDIR", WRITES, descriptor, name))
        return -1;
    int result = REAL(int, "mkdirat", int, const char *, mode_t)(descriptor, name, mode);
    done("mkdir", result, descriptor, name, 0, 0);
    return result;
}

int unlinkat(int descriptor, const char *name, int flags)
{
    if (refused("UNLINK", WRITES, descriptor, name))
        return -1;
    int result = REAL(int, "unlinkat", int, const char *, int)(descriptor, name, flags);
    done("unlink", result, descriptor, name, 0, 0);
    return result;
}

int linkat(int from, const char *old, int to, const char *name, int flags)
{
    if (refused("LINK", WRITES, from, old))
        return -1;
    int result = REAL(int, "linkat", int, const char *, int, const char *, int)(from, old, to, name, flags);
    done("link", result, from, old, to, name);
    return result;
}

int renameat(int from, const char *old, int to, const char *name)
{
    if (refused("RENAME", WRITES, from, old))
        return -1;
    int result = REAL(int, "renameat", int, const char *, int, const char *)(from, old, to, name);
    done("rename", result, from, old, to, name);
    return result;
}
