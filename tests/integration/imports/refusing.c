/* Preloaded into a process: system calls on files under REFUSE_ROOT fail with the errno that REFUSE_<CALL> names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int refused(const char *call, int descriptor)
{
    char link[64], path[4096];
    const char *number = getenv(call), *root = getenv("REFUSE_ROOT");
    if (!number || !root)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    if (strncmp(path, root, strlen(root)))
        return 0;
    errno = atoi(number);
    return errno;
}

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

int fsync(int descriptor)
{
    struct stat status;
    if (!fstat(descriptor, &status) && S_ISDIR(status.st_mode) && refused("REFUSE_FSYNC_DIRECTORY", descriptor))
        return -1;
    if (refused("REFUSE_FSYNC", descriptor))
        return -1;
    return REAL(int, "fsync", int)(descriptor);
}

int fchmod(int descriptor, mode_t mode)
{
    if (refused("REFUSE_CHMOD", descriptor))
        return -1;
    return REAL(int, "fchmod", int, mode_t)(descriptor, mode);
}

int flock(int descriptor, int operation)
{
    if (refused("REFUSE_FLOCK", descriptor))
        return -1;
    return REAL(int, "flock", int, int)(descriptor, operation);
}

int linkat(int from, const char *old, int to, const char *name, int flags)
{
    if (refused("REFUSE_LINK", from))
        return -1;
    return REAL(int, "linkat", int, const char *, int, const char *, int)(from, old, to, name, flags);
}

int renameat(int from, const char *old, int to, const char *name)
{
    if (refused("REFUSE_RENAME", from))
        return -1;
    return REAL(int, "renameat", int, const char *, int, const char *)(from, old, to, name);
}
