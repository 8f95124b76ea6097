/*
 * Preloaded into a process: of some hosts no name server tells anything for HANG_SECONDS, as when those of a
 * domain are away; others are this machine.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **found)
{
    if (host && strstr(host, ".hanging.example")) {
        sleep(atoi(getenv("HANG_SECONDS")));
        return EAI_AGAIN;
    }
    if (host && strstr(host, ".answered.example"))
        host = "127.0.0.1";
    return ((lookup *)dlsym(RTLD_NEXT, "getaddrinfo"))(host, port, hints, found);
}
