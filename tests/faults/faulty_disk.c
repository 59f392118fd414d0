/* System calls below one folder, as a disk that fills up, fails or loses power answers them (see faulty_disk.py).

   FAULTY_FOLDER   the folder
   FAULTY_CONTROL  a file of one int: 0, or the error (ENOSPC, EROFS, EIO) that the disk gives from now on
   FAULTY_SYNCED   a folder for what survives a power cut: the content of each file at its last sync, INODE.data, a
                   hard link INODE.link that keeps the inode's number from being given to another file, and the
                   names in each folder at its last sync, INODE.names */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX], synced[PATH_MAX];
static volatile int *control;

__attribute__((constructor)) static void begin(void) {
    const char *root = getenv("FAULTY_FOLDER"), *kept = getenv("FAULTY_SYNCED"), *file = getenv("FAULTY_CONTROL");
    if (!root || !kept || !file) return;
    snprintf(folder, sizeof folder, "%s/", root);
    snprintf(synced, sizeof synced, "%s", kept);
    int fd = open(file, O_RDONLY);
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(int), PROT_READ, MAP_SHARED, fd, 0);
    if (fd >= 0) close(fd);
    if (page != MAP_FAILED) control = page;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int is_below(const char *path) {
    char whole[PATH_MAX];
    if (!folder[0] || !path) return 0;
    if (path[0] != '/') {
        if (!getcwd(whole, sizeof whole)) return 0;
        size_t length = strlen(whole);
        snprintf(whole + length, sizeof whole - length, "/%s", path);
        path = whole;
    }
    size_t length = strlen(folder) - 1; /* the folder itself counts */
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || !path[length]);
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_below(path);
}

static int fault(void) { return control ? *control : 0; }

/* A full disk still takes what lies in blocks that a file has already. */
static int refused(int fd, off_t end) {
    char path[PATH_MAX];
    struct stat now;
    int error = fault();
    if (!error || !path_of(fd, path)) return 0;
    if (error == ENOSPC && end >= 0 && fstat(fd, &now) == 0 && end <= (off_t)now.st_blocks * 512) return 0;
    errno = error;
    return 1;
}

static off_t after(int fd, size_t count) {
    struct stat now;
    int flags = fcntl(fd, F_GETFL);
    off_t at = flags >= 0 && flags & O_APPEND && fstat(fd, &now) == 0 ? now.st_size : lseek(fd, 0, SEEK_CUR);
    return at < 0 ? -1 : at + (off_t)count;
}

static int refuses_change(const char *path, int fills) {
    int error = fault();
    if (!error || (error == ENOSPC && !fills) || !is_below(path)) return 0;
    errno = error;
    return 1;
}

ssize_t write(int fd, const void *from, size_t count) {
    REAL(write);
    return fault() && refused(fd, after(fd, count)) ? -1 : real(fd, from, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    size_t size = 0;
    for (int i = 0; i < count; i++) size += parts[i].iov_len;
    return fault() && refused(fd, after(fd, size)) ? -1 : real(fd, parts, count);
}

ssize_t pwrite(int fd, const void *from, size_t count, off_t at) {
    REAL(pwrite);
    return fault() && refused(fd, at + (off_t)count) ? -1 : real(fd, from, count, at);
}

ssize_t pwrite64(int fd, const void *from, size_t count, off64_t at) {
    REAL(pwrite64);
    return fault() && refused(fd, at + (off_t)count) ? -1 : real(fd, from, count, at);
}

static int refuses_allocation(int fd) {
    char path[PATH_MAX];
    return fault() && path_of(fd, path) ? fault() : 0;
}

int posix_fallocate(int fd, off_t at, off_t size) {
    REAL(posix_fallocate);
    int error = refuses_allocation(fd);
    return error ? error : real(fd, at, size);
}

int posix_fallocate64(int fd, off64_t at, off64_t size) {
    REAL(posix_fallocate64);
    int error = refuses_allocation(fd);
    return error ? error : real(fd, at, size);
}

static int changes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC); }

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        return changes(flags) && refuses_change(path, 0) ? -1 : real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int at, const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        return changes(flags) && refuses_change(path, 0) ? -1 : real(at, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    return refuses_change(path, 1) ? -1 : real(path, mode);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    return refuses_change(to, 0) ? -1 : real(from, to);
}

int unlink(const char *path) {
    REAL(unlink);
    return refuses_change(path, 0) ? -1 : real(path);
}

int statvfs(const char *path, struct statvfs *into) {
    REAL(statvfs);
    int result = real(path, into);
    char below[PATH_MAX];
    snprintf(below, sizeof below, "%s/", path);
    if (result == 0 && fault() == ENOSPC && is_below(below)) into->f_bavail = into->f_bfree = 0;
    return result;
}

int statvfs64(const char *path, struct statvfs64 *into) {
    REAL(statvfs64);
    int result = real(path, into);
    char below[PATH_MAX];
    snprintf(below, sizeof below, "%s/", path);
    if (result == 0 && fault() == ENOSPC && is_below(below)) into->f_bavail = into->f_bfree = 0;
    return result;
}

/* Keep the names in a folder: those that it has now survive a power cut. */
static void keep_names(int fd, ino_t number) {
    char names[PATH_MAX + 40], fresh[PATH_MAX + 60], self[64];
    snprintf(names, sizeof names, "%s/%llu.names", synced, (unsigned long long)number);
    snprintf(fresh, sizeof fresh, "%s.%d", names, (int)getpid());
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    int before = errno;
    DIR *entries = opendir(self);
    FILE *to = fopen(fresh, "w");
    if (entries && to) {
        struct dirent *one;
        while ((one = readdir(entries))) {
            if (strcmp(one->d_name, ".") && strcmp(one->d_name, ".."))
                fprintf(to, "%llu %s\n", (unsigned long long)one->d_ino, one->d_name);
        }
    }
    if (entries) closedir(entries);
    if (to && fclose(to) == 0) rename(fresh, names);
    errno = before;
}

/* Keep what a file holds now, or the names in a folder: it survives a power cut. */
static void keep(int fd) {
    char path[PATH_MAX], link_name[PATH_MAX + 40], data[PATH_MAX + 40], fresh[PATH_MAX + 60], self[64];
    struct stat now;
    if (!folder[0] || !path_of(fd, path) || fstat(fd, &now) != 0) return;
    if (S_ISDIR(now.st_mode)) keep_names(fd, now.st_ino);
    if (!S_ISREG(now.st_mode)) return;
    snprintf(link_name, sizeof link_name, "%s/%llu.link", synced, (unsigned long long)now.st_ino);
    snprintf(data, sizeof data, "%s/%llu.data", synced, (unsigned long long)now.st_ino);
    snprintf(fresh, sizeof fresh, "%s.%d", data, (int)getpid());
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    int before = errno, from = open(self, O_RDONLY), to = open(fresh, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int whole = from >= 0 && to >= 0;
    while (whole) {
        ssize_t copied = copy_file_range(from, NULL, to, NULL, 1 << 30, 0);
        if (copied == 0) break;
        whole = copied > 0;
    }
    if (from >= 0) close(from);
    if (to >= 0) close(to);
    if (whole && rename(fresh, data) == 0) linkat(AT_FDCWD, path, AT_FDCWD, link_name, 0);
    errno = before;
}

static int syncs(int fd, int (*real)(int)) {
    char path[PATH_MAX];
    int error = fault();
    if (error && error != ENOSPC && path_of(fd, path)) {
        errno = error;
        return -1;
    }
    int result = real(fd);
    if (result == 0) keep(fd);
    return result;
}

int fsync(int fd) {
    REAL(fsync);
    return syncs(fd, real);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    return syncs(fd, real);
}
