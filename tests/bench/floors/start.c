/*
 * The floor of starting a job: the system calls that one needs, and nothing else.
 *
 *     start COUNT CGROUP [FILE=VALUE ...] -- PROGRAM [ARGUMENT ...]
 *
 * COUNT times: a job's three cgroups below CGROUP (with each VALUE written to that FILE of the
 * one that has the limits), a child cloned straight into it with the six namespaces of a job, its
 * mounts, exec, wait, and the cgroups removed. Prints what each took, in nanoseconds, a line.
 *
 * The mounts are those of a job of root in the host's tree. One process, not two: no monitor, no
 * log, no record, no store. /proc is of the child's own PID namespace.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
    fprintf(stderr, "start: %s: %s\n", what, strerror(errno));
    _exit(125);
}

static void mounted(const char *type, const char *path, unsigned long flags, const char *data)
{
    if (mount(type, path, type, flags, data) != 0)
        die(path);
}

static void read_only(const char *path)
{
    const unsigned long safe = MS_NOSUID | MS_NODEV | MS_NOEXEC;

    if (mount(path, path, NULL, MS_BIND, NULL) != 0)
        return; /* not on this kernel */
    if (mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | safe, NULL) != 0)
        die(path);
}

static void devices(void)
{
    static const struct { const char *path; int major, minor; } nodes[] = {
        {"/dev/null", 1, 3}, {"/dev/zero", 1, 5}, {"/dev/full", 1, 7},
        {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
    };
    static const char *links[][2] = {
        {"pts/ptmx", "/dev/ptmx"}, {"/proc/self/fd", "/dev/fd"},
        {"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"},
        {"/proc/self/fd/2", "/dev/stderr"}, {"/proc/kcore", "/dev/core"},
    };

    mounted("tmpfs", "/dev", MS_NOSUID, "mode=755,size=64k");
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
        if (mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)) != 0)
            die(nodes[i].path);
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        if (symlink(links[i][0], links[i][1]) != 0)
            die(links[i][1]);
    mkdir("/dev/pts", 0755);
    mkdir("/dev/shm", 0755);
    mkdir("/dev/mqueue", 0755);
    mounted("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,mode=620,ptmxmode=666,gid=5");
    mounted("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
    mounted("mqueue", "/dev/mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

static void tree(void)
{
    const unsigned long safe = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    static const char *hidden[] = {
        "/proc/keys", "/proc/key-users", "/proc/timer_list", "/proc/kmsg",
    };

    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        die("/");
    devices();
    mounted("tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777");
    if (access("/run/user", F_OK) == 0)
        mounted("tmpfs", "/run/user", MS_NOSUID | MS_NODEV, "mode=0755");
    mounted("proc", "/proc", safe, NULL);
    read_only("/proc/sys");
    read_only("/proc/irq");
    read_only("/proc/bus");
    read_only("/proc/fs");
    mounted("sysfs", "/sys", safe, NULL);
    mount(NULL, "/sys", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | safe, NULL);
    mounted("cgroup2", "/sys/fs/cgroup", safe, NULL);
    mount(NULL, "/sys/fs/cgroup", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | safe, NULL);
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        if (mount("/dev/null", hidden[i], NULL, MS_BIND, NULL) != 0 && errno != ENOENT)
            die(hidden[i]);
    if (access("/sys/firmware", F_OK) == 0)
        mounted("tmpfs", "/sys/firmware", safe | MS_RDONLY, "size=4k,mode=555");
}

static void loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) != 0)
        die("lo");
    close(fd);
}

static void made(char *path, size_t size, const char *root, const char *name)
{
    snprintf(path, size, "%s/%s", root, name);
    if (mkdir(path, 0755) != 0)
        die(path);
}

static void written(int directory, const char *setting)
{
    const char *value = strchr(setting, '=');
    char file[256];
    int fd;

    if (value == NULL || (size_t)(value - setting) >= sizeof file)
        die(setting);
    memcpy(file, setting, value - setting);
    file[value - setting] = 0;
    fd = openat(directory, file, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, value + 1, strlen(value + 1)) < 0)
        die(setting);
    close(fd);
}

static void once(const char *root, char **settings, int count, char **program)
{
    char job[4096], monitor[4200], payload[4200], name[64];
    struct clone_args args = {0};
    int directory, status;
    pid_t pid;

    snprintf(name, sizeof name, "floor-%d", (int)getpid());
    made(job, sizeof job, root, name);
    if (count > 0) { /* a cgroup that hands controllers down holds no process */
        int fd = open(job, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        written(fd, "cgroup.subtree_control=+memory +pids");
        for (int i = 0; i < count; i++)
            if (strncmp(settings[i], "cpu.", 4) == 0 || strncmp(settings[i], "io.", 3) == 0)
                written(fd, settings[i]);
        close(fd);
    }
    made(monitor, sizeof monitor, job, "monitor");
    made(payload, sizeof payload, job, "payload");
    directory = open(payload, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        die(payload);
    for (int i = 0; i < count; i++)
        if (strncmp(settings[i], "cpu.", 4) != 0 && strncmp(settings[i], "io.", 3) != 0)
            written(directory, settings[i]);
    args.flags = CLONE_INTO_CGROUP | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC
        | CLONE_NEWUTS | CLONE_NEWCGROUP;
    args.exit_signal = SIGCHLD;
    args.cgroup = directory;
    pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid < 0)
        die("clone3");
    if (pid == 0) {
        tree();
        loopback_up();
        sethostname("floor", 5);
        execvp(program[0], program);
        die(program[0]);
    }
    close(directory);
    if (waitpid(pid, &status, 0) != pid || status != 0)
        die("the program failed");
    if (rmdir(payload) != 0 || rmdir(monitor) != 0 || rmdir(job) != 0)
        die(job);
}

int main(int argc, char **argv)
{
    int settings = 3, end = 3;

    while (end < argc && strcmp(argv[end], "--") != 0)
        end++;
    if (end + 1 >= argc) {
        fputs("usage: start COUNT CGROUP [FILE=VALUE ...] -- PROGRAM [ARGUMENT ...]\n", stderr);
        return 2;
    }
    for (int left = atoi(argv[1]); left > 0; left--) {
        struct timespec a, b;

        clock_gettime(CLOCK_MONOTONIC, &a);
        once(argv[2], argv + settings, end - settings, argv + end + 1);
        clock_gettime(CLOCK_MONOTONIC, &b);
        printf("%lld\n", (b.tv_sec - a.tv_sec) * 1000000000LL + (b.tv_nsec - a.tv_nsec));
    }
    return 0;
}
