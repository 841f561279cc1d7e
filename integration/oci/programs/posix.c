// SPDX-License-Identifier: Apache-2.0
//
// posix DIR: does what programs do with files, in a new folder below DIR, and
// prints what comes of it: one line per call or property, without anything that
// differs from run to run. Runs as root. The transcript of a file system in a
// cell has to be that of the folder on the host.

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <linux/fs.h>
#include <linux/stat.h>

static const char *topic = "";

// R prints a result: the number, or the name of the error.
#define R(call) ({ errno = 0; long r_ = (long)(call); say(#call, r_); r_; })
// OK prints whether it worked only.
#define OK(call) ({ errno = 0; long r_ = (long)(call); say(#call, r_ < 0 ? r_ : 0); r_; })
// IS prints a truth.
#define IS(cond) printf("%s: %s: %s\n", topic, #cond, (cond) ? "yes" : "NO")

static void say(const char *call, long r)
{
	int e = errno;

	if (r < 0)
		printf("%s: %s = %s\n", topic, call, strerrorname_np(e) ? strerrorname_np(e) : "?");
	else
		printf("%s: %s = %ld\n", topic, call, r);
	fflush(stdout);
}

static void begin(const char *name)
{
	topic = name;
	if (mkdir(name, 0777) || chmod(name, 0777) || chdir(name)) {
		perror(name);
		exit(1);
	}
}

static void end(void)
{
	if (chdir(".."))
		exit(1);
}

static int create(const char *name, const char *text)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		printf("%s: create %s: %s\n", topic, name, strerrorname_np(errno));
	return fd;
}

static void make(const char *name, const char *text) { close(create(name, text)); }

static void show(const char *name)
{
	char b[256];
	int fd = open(name, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, b, sizeof(b) - 1);

	if (n < 0) {
		printf("%s: %s: %s\n", topic, name, strerrorname_np(errno));
	} else {
		b[n] = 0;
		printf("%s: %s has \"%s\"\n", topic, name, b);
	}
	if (fd >= 0)
		close(fd);
}

static struct stat st(const char *name)
{
	struct stat s;

	memset(&s, 0, sizeof(s));
	if (lstat(name, &s))
		printf("%s: lstat %s: %s\n", topic, name, strerrorname_np(errno));
	return s;
}

static void mode(const char *name)
{
	struct stat s = st(name);

	printf("%s: %s mode %o uid %d gid %d size %lld nlink %lu\n", topic, name, s.st_mode, s.st_uid, s.st_gid,
	       S_ISDIR(s.st_mode) ? 0LL : (long long)s.st_size, S_ISDIR(s.st_mode) ? 0UL : (unsigned long)s.st_nlink);
}

// as runs what follows in braces as another user.
#define as(uid, gid, ...) do { \
	fflush(stdout); \
	pid_t p_ = fork(); \
	if (!p_) { \
		gid_t extra_[1] = { 77 }; \
		if (setgroups(1, extra_) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid)) _exit(99); \
		__VA_ARGS__; \
		fflush(stdout); \
		_exit(0); \
	} \
	int w_; waitpid(p_, &w_, 0); \
	if (w_) printf("%s: child %x\n", topic, w_); \
} while (0)

static void opening(void)
{
	begin("open");
	int fd = R(open("f", O_RDWR | O_CREAT | O_EXCL, 0640) >= 0 ? 0 : -1);
	(void)fd;
	R(open("f", O_RDWR | O_CREAT | O_EXCL, 0640));
	mode("f");
	mkdir("d", 0755);
	symlink("f", "l");
	symlink("none", "dangling");
	symlink("loop", "loop");
	R(open("d", O_RDWR));
	R(open("d", O_RDONLY | O_CREAT, 0600));
	OK(open("d", O_RDONLY | O_DIRECTORY));
	R(open("f", O_RDONLY | O_DIRECTORY));
	R(open("l", O_RDONLY | O_NOFOLLOW));
	OK(open("l", O_PATH | O_NOFOLLOW));
	R(open("loop", O_RDONLY));
	R(open("dangling", O_RDONLY));
	OK(open("dangling", O_WRONLY | O_CREAT, 0600));
	mode("none");
	R(open("f/x", O_RDONLY));
	R(open("f/", O_RDONLY));
	R(open("none/", O_RDONLY | O_CREAT, 0600));
	R(open("", O_RDONLY));
	R(open("no/such", O_RDONLY));
	make("t", "0123456789");
	close(open("t", O_WRONLY | O_TRUNC));
	mode("t");
	make("t", "0123456789");
	fd = open("t", O_WRONLY | O_APPEND);
	R(pwrite(fd, "ab", 2, 0));
	R(lseek(fd, 0, SEEK_CUR));
	R(write(fd, "cd", 2));
	show("t");
	close(fd);
	fd = open("t", O_RDONLY);
	R(write(fd, "x", 1));
	R(ftruncate(fd, 0));
	close(fd);
	fd = open("w", O_WRONLY | O_CREAT, 0400);
	R(write(fd, "x", 1));
	R(read(fd, &fd, 1));
	mode("w");
	umask(027);
	close(open("u", O_CREAT | O_WRONLY, 0666));
	mkdir("ud", 0777);
	umask(0);
	mode("u");
	mode("ud");
	umask(022);
	char name[300];
	memset(name, 'n', sizeof(name));
	name[255] = 0;
	OK(open(name, O_CREAT | O_WRONLY, 0600));
	R(unlink(name));
	name[255] = 'n';
	name[256] = 0;
	R(open(name, O_CREAT | O_WRONLY, 0600));
	char *path = malloc(PATH_MAX + 10);
	memset(path, '/', PATH_MAX + 9);
	path[PATH_MAX + 9] = 0;
	R(open(path, O_RDONLY));
	OK(open("odd\nname \\ \xff", O_CREAT | O_WRONLY, 0600));
	R(access("odd\nname \\ \xff", F_OK));
	fd = open("f", O_PATH);
	R(read(fd, name, 1));
	R(fchmod(fd, 0600));
	R(openat(fd, "", O_RDONLY));
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	OK(open(name, O_RDWR));
	end();
}

static void unnamed(void)
{
	char p[64];

	begin("tmpfile");
	int fd = OK(open(".", O_TMPFILE | O_RDWR, 0640));
	R(write(fd, "hidden", 6));
	struct stat s;
	R(fstat(fd, &s));
	printf("tmpfile: nlink %lu mode %o size %lld\n", (unsigned long)s.st_nlink, s.st_mode, (long long)s.st_size);
	snprintf(p, sizeof(p), "/proc/self/fd/%d", fd);
	OK(open(p, O_RDWR));
	R(linkat(AT_FDCWD, p, AT_FDCWD, "shown", AT_SYMLINK_FOLLOW));
	R(linkat(AT_FDCWD, p, AT_FDCWD, "shown", AT_SYMLINK_FOLLOW));
	show("shown");
	mode("shown");
	close(fd);
	fd = OK(open(".", O_TMPFILE | O_EXCL | O_WRONLY, 0600));
	snprintf(p, sizeof(p), "/proc/self/fd/%d", fd);
	R(linkat(AT_FDCWD, p, AT_FDCWD, "never", AT_SYMLINK_FOLLOW));
	R(open(".", O_TMPFILE | O_RDONLY, 0600));
	R(open("shown", O_TMPFILE | O_RDWR, 0600));
	end();
}

static void unlinked(void)
{
	begin("unlinked");
	int fd = create("f", "content");
	struct stat s;
	R(unlink("f"));
	R(fstat(fd, &s));
	printf("unlinked: nlink %lu size %lld\n", (unsigned long)s.st_nlink, (long long)s.st_size);
	R(pwrite(fd, "C", 1, 0));
	char b[16] = "", p[64];
	R(pread(fd, b, 7, 0));
	IS(!strcmp(b, "Content"));
	R(ftruncate(fd, 3));
	R(lseek(fd, 0, SEEK_END));
	R(fchmod(fd, 0600));
	R(futimens(fd, NULL));
	R(fsetxattr(fd, "user.x", "1", 1, 0));
	R(fgetxattr(fd, "user.x", b, 2));
	R(fchown(fd, 3, 4));
	R(fstat(fd, &s));
	printf("unlinked: uid %d gid %d mode %o\n", s.st_uid, s.st_gid, s.st_mode);
	snprintf(p, sizeof(p), "/proc/self/fd/%d", fd);
	int again = OK(open(p, O_RDWR));
	memset(b, 0, sizeof(b));
	R(pread(again, b, 7, 0));
	IS(!strcmp(b, "Con"));
	R(linkat(AT_FDCWD, p, AT_FDCWD, "back", AT_SYMLINK_FOLLOW));
	make("f", "new");
	show("f");
	close(fd);
	R(pwrite(again, "X", 1, 0));
	show("f");
	close(again);
	int d;
	R(mkdir("d", 0755));
	d = OK(open("d", O_RDONLY | O_DIRECTORY));
	R(rmdir("d"));
	R(openat(d, "x", O_CREAT | O_WRONLY, 0600));
	R(mkdirat(d, "x", 0700));
	R(fstat(d, &s));
	IS(S_ISDIR(s.st_mode));
	close(d);
	mkdir("cwd", 0755);
	R(chdir("cwd"));
	R(rmdir("../cwd"));
	char *cwd = getcwd(NULL, 0);
	IS(cwd == NULL || strstr(cwd, "deleted"));
	R(open("x", O_CREAT | O_WRONLY, 0600));
	OK(open(".", O_RDONLY));
	R(chdir(".."));
	end();
}

static void links(void)
{
	begin("links");
	make("a", "one");
	R(link("a", "b"));
	mode("a");
	IS(st("a").st_ino == st("b").st_ino);
	R(chmod("b", 0600));
	mode("a");
	make("b", "two!");
	show("a");
	R(link("a", "b"));
	R(link("none", "c"));
	mkdir("d", 0755);
	R(link("d", "e"));
	R(link("a", "d/c"));
	mode("d/c");
	R(unlink("a"));
	mode("b");
	R(rename("b", "d/c"));
	mode("b");
	mode("d/c");
	R(unlink("d"));
	R(rmdir("d/c"));
	symlink("d/c", "s");
	R(linkat(AT_FDCWD, "s", AT_FDCWD, "s2", 0));
	mode("s2");
	R(linkat(AT_FDCWD, "s", AT_FDCWD, "hard", AT_SYMLINK_FOLLOW));
	mode("hard");
	char b[8192], target[5000];
	R(readlink("s", b, sizeof(b)));
	R(readlink("s", b, 2));
	R(readlink("hard", b, 2));
	memset(target, 't', sizeof(target));
	target[4095] = 0;
	R(symlink(target, "long"));
	R(readlink("long", b, sizeof(b)));
	target[4095] = 't';
	target[4096] = 0;
	R(symlink(target, "toolong"));
	R(symlink("", "empty"));
	R(symlink("x", "s"));
	R(lchown("s", 5, 6));
	mode("s");
	R(fchmodat(AT_FDCWD, "s", 0600, AT_SYMLINK_NOFOLLOW));
	R(unlink("s2"));
	R(unlink("s/"));
	int fd = open("s", O_PATH | O_NOFOLLOW);
	R(readlinkat(fd, "", b, sizeof(b)));
	close(fd);
	for (int i = 0; i < 45; i++) {
		char from[16], to[16];
		snprintf(from, sizeof(from), "chain%d", i + 1);
		snprintf(to, sizeof(to), "chain%d", i);
		symlink(i == 44 ? "hard" : from, to);
	}
	R(open("chain0", O_RDONLY));
	OK(open("chain10", O_RDONLY));
	end();
}

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#define RENAME_WHITEOUT 4
#endif

static void renames(void)
{
	begin("rename");
	make("a", "A");
	make("b", "B");
	int fd = open("b", O_RDONLY);
	R(rename("a", "b"));
	show("b");
	R(access("a", F_OK));
	char c = 0;
	R(read(fd, &c, 1));
	IS(c == 'B');
	close(fd);
	mkdir("d", 0755);
	mkdir("d/e", 0755);
	mkdir("full", 0755);
	make("full/x", "");
	mkdir("empty", 0755);
	R(rename("d", "full"));
	R(rename("d", "empty"));
	R(rename("empty", "empty/e/f"));
	R(rename("empty", "empty/x"));
	R(rename("b", "empty"));
	R(rename("empty", "b"));
	R(rename("b", "b"));
	R(rename("none", "x"));
	R(rename("b", "no/such"));
	R(rename(".", "x"));
	R(rename("b", ".."));
	R(renameat2(AT_FDCWD, "b", AT_FDCWD, "full", RENAME_NOREPLACE));
	R(renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_NOREPLACE));
	show("c");
	R(renameat2(AT_FDCWD, "c", AT_FDCWD, "full", RENAME_EXCHANGE));
	show("full");
	IS(S_ISDIR(st("c").st_mode));
	show("c/x");
	R(renameat2(AT_FDCWD, "c", AT_FDCWD, "none", RENAME_EXCHANGE));
	R(renameat2(AT_FDCWD, "c", AT_FDCWD, "full", RENAME_EXCHANGE | RENAME_NOREPLACE));
	make("w", "W");
	OK(renameat2(AT_FDCWD, "w", AT_FDCWD, "w2", RENAME_WHITEOUT));
	show("w2");
	printf("rename: whiteout mode %o\n", st("w").st_mode);
	make("h1", "H");
	link("h1", "h2");
	R(rename("h1", "h2"));
	mode("h1");
	mode("h2");
	// A folder that is renamed while it is somebody's working directory.
	mkdir("from", 0755);
	chdir("from");
	R(rename("../from", "../to"));
	make("inside", "I");
	chdir("..");
	show("to/inside");
	end();
}

static void permissions(void)
{
	begin("permissions");
	make("root", "secret");
	chmod("root", 0600);
	make("public", "p");
	chmod("public", 0644);
	make("group", "g");
	chown("group", 0, 77);
	chmod("group", 0640);
	mkdir("closed", 0700);
	make("closed/in", "");
	mkdir("noexec", 0744);
	make("noexec/in", "");
	mkdir("nowrite", 0755);
	make("nowrite/in", "");
	mkdir("sticky", 01777);
	chmod("sticky", 01777);
	make("sticky/roots", "");
	make("theirs", "t");
	chown("theirs", 1000, 1000);
	chmod("theirs", 0644);
	make("suid", "s");
	chown("suid", 1000, 1000);
	chmod("suid", 06755);
	mkdir("setgid", 02777);
	chown("setgid", 0, 50);
	chmod("setgid", 02777);
	as(1000, 1000, {
		R(open("root", O_RDONLY));
		OK(open("public", O_RDONLY));
		R(open("public", O_WRONLY));
		OK(open("group", O_RDONLY));
		R(open("group", O_WRONLY));
		R(access("root", R_OK));
		R(access("public", R_OK));
		R(access("public", W_OK));
		R(access("root", F_OK));
		R(access("closed/in", F_OK));
		R(open("closed", O_RDONLY));
		OK(open("noexec", O_RDONLY));
		R(access("noexec/in", F_OK));
		R(unlink("nowrite/in"));
		R(open("nowrite/new", O_CREAT | O_WRONLY, 0644));
		R(mkdir("nowrite/d", 0755));
		R(rename("nowrite/in", "moved"));
		R(link("public", "nowrite/l"));
		R(unlink("sticky/roots"));
		R(rename("sticky/roots", "sticky/mine"));
		OK(open("sticky/mine", O_CREAT | O_WRONLY, 0644));
		mode("sticky/mine");
		R(unlink("sticky/mine"));
		R(chmod("public", 0777));
		R(chown("public", 1000, 1000));
		R(chmod("theirs", 0606));
		R(chown("theirs", 1001, -1));
		R(chown("theirs", -1, 77));
		R(chown("theirs", -1, 78));
		mode("theirs");
		R(utimensat(AT_FDCWD, "public", NULL, 0));
		R(truncate("public", 0));
		R(setxattr("public", "user.a", "1", 1, 0));
		struct timespec t[2] = { { 1, 0 }, { 2, 0 } };
		R(utimensat(AT_FDCWD, "theirs", t, 0));
		R(mknod("dev", S_IFCHR | 0666, makedev(1, 3)));
		R(mkfifo("fifo", 0644));
		mode("fifo");
		R(chmod("theirs", 02755));
		mode("theirs");
		R(mkdir("setgid/d", 0755));
		mode("setgid/d");
		OK(open("setgid/f", O_CREAT | O_WRONLY, 0644));
		mode("setgid/f");
		OK(open("setgid/sg", O_CREAT | O_WRONLY, 02755));
		mode("setgid/sg");
	});
	mode("suid");
	as(1000, 1000, {
		int fd = open("suid", O_WRONLY);
		R(write(fd, "x", 1));
		close(fd);
	});
	mode("suid");
	chmod("suid", 06755);
	as(1000, 1000, R(truncate("suid", 0)));
	mode("suid");
	chmod("suid", 06755);
	R(chown("suid", 1000, 1001));
	mode("suid");
	chmod("suid", 06755);
	as(1000, 1001, {
		int fd = open("suid", O_RDWR);
		R(ftruncate(fd, 4096));
		char *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		m[0] = 'm';
		munmap(m, 4096);
		R(fallocate(fd, 0, 0, 8192));
	});
	mode("suid");
	R(chown("root", 12345678, 87654321));
	mode("root");
	R(chmod("root", 07777));
	mode("root");
	R(chmod("root", 0));
	OK(open("root", O_RDWR)); // root may
	end();
}

static void directories(void)
{
	begin("directories");
	R(mkdir("d", 0755));
	R(mkdir("d", 0755));
	R(mkdir("d/", 0755));
	R(mkdir("e/", 0755));
	R(mkdir("no/such", 0755));
	make("d/f", "");
	R(rmdir("d"));
	R(rmdir("d/."));
	R(rmdir("d/.."));
	R(rmdir("d/f"));
	R(unlink("d/f"));
	R(rmdir("d"));
	mkdir("many", 0755);
	char name[64];
	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "many/file-with-a-rather-long-name-%d", i);
		make(name, "");
	}
	DIR *dir = opendir("many");
	int n = 0, types = 0;
	long place = 0;
	char at[300] = "";
	for (struct dirent *e; (e = readdir(dir)); n++) {
		types += e->d_type == DT_REG;
		if (n == 1500)
			place = telldir(dir);
		if (n == 1501)
			strcpy(at, e->d_name);
	}
	printf("directories: %d entries, %d files\n", n, types);
	seekdir(dir, place);
	struct dirent *e = readdir(dir);
	IS(e && !strcmp(e->d_name, at));
	rewinddir(dir);
	// Removing while reading: everything is seen once.
	int seen = 0;
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		seen++;
		if (unlinkat(dirfd(dir), e->d_name, 0))
			printf("directories: unlink %s: %s\n", e->d_name, strerrorname_np(errno));
	}
	printf("directories: %d removed\n", seen);
	rewinddir(dir);
	n = 0;
	while (readdir(dir))
		n++;
	printf("directories: %d left\n", n);
	make("many/late", "");
	rewinddir(dir);
	n = 0;
	while (readdir(dir))
		n++;
	printf("directories: %d with a late one\n", n);
	closedir(dir);
	R(unlink("many/late"));
	R(rmdir("many"));
	struct stat before = st("."), after;
	usleep(20000);
	make("touch", "");
	after = st(".");
	IS(after.st_mtim.tv_sec != before.st_mtim.tv_sec || after.st_mtim.tv_nsec != before.st_mtim.tv_nsec);
	IS(st(".").st_ino == before.st_ino);
	int fd = open(".", O_RDONLY);
	char b;
	R(read(fd, &b, 1));
	R(fsync(fd));
	R(ftruncate(fd, 0));
	close(fd);
	R(truncate(".", 0));
	// Deep paths.
	int depth = 0;
	for (; depth < 200; depth++)
		if (mkdir("deeper-and-deeper", 0755) || chdir("deeper-and-deeper"))
			break;
	printf("directories: %d deep\n", depth);
	char *cwd = getcwd(NULL, 0);
	printf("directories: cwd of %s\n", cwd && strlen(cwd) > 3600 ? "full length" : "WRONG length");
	for (int i = 0; i < depth; i++)
		if (chdir("..") || rmdir("deeper-and-deeper"))
			printf("directories: back %d: %s\n", i, strerrorname_np(errno));
	end();
}

static void data(void)
{
	char b[8192];

	begin("data");
	int fd = create("f", "start");
	R(pwrite(fd, "far", 3, 5000000000LL));
	R(lseek(fd, 0, SEEK_END));
	R(pread(fd, b, 10, 4999999998LL));
	IS(b[0] == 0 && b[2] == 'f');
	R(lseek(fd, 0, SEEK_DATA));
	IS(lseek(fd, 0, SEEK_HOLE) >= 5 && lseek(fd, 0, SEEK_HOLE) < 5000000000LL);
	IS(lseek(fd, 1 << 20, SEEK_DATA) > (1 << 20));
	R(lseek(fd, 6000000000LL, SEEK_DATA));
	IS(st("f").st_blocks < 1000);
	R(ftruncate(fd, 3));
	R(ftruncate(fd, 10));
	R(pread(fd, b, 20, 0));
	IS(!memcmp(b, "sta\0\0\0\0\0\0\0", 10));
	R(ftruncate(fd, -1));
	R(fallocate(fd, 0, 0, 100));
	R(lseek(fd, 0, SEEK_END));
	R(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 100000));
	R(lseek(fd, 0, SEEK_END));
	memset(b, 'x', sizeof(b));
	R(pwrite(fd, b, 8192, 0));
	R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096));
	R(pread(fd, b, 8192, 0));
	IS(b[4095] == 'x' && b[4096] == 0 && b[8191] == 0);
	R(fallocate(fd, FALLOC_FL_ZERO_RANGE, 10, 20));
	R(pread(fd, b, 40, 0));
	IS(b[9] == 'x' && b[10] == 0 && b[29] == 0 && b[30] == 'x');
	R(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10));
	R(posix_fallocate(fd, 0, 20000));
	R(lseek(fd, 0, SEEK_END));
	struct iovec v[2] = { { "ab", 2 }, { "cd", 2 } };
	R(pwritev(fd, v, 2, 100));
	R(pread(fd, b, 4, 100));
	IS(!memcmp(b, "abcd", 4));
	R(pread(fd, b, 1, 1LL << 40));
	R(pread(fd, b, 1, -1));
	R(pwrite(fd, b, 1, INT64_MAX));
	int to = create("to", "");
	loff_t from_at = 0, to_at = 7;
	R(copy_file_range(fd, &from_at, to, &to_at, 5000, 0));
	R(lseek(to, 0, SEEK_END));
	off_t off = 0;
	R(sendfile(to, fd, &off, 1000));
	R(lseek(to, 0, SEEK_END));
	int p[2];
	if (pipe(p))
		exit(1);
	loff_t s = 0;
	R(splice(fd, &s, p[1], NULL, 4096, 0));
	R(splice(p[0], NULL, to, NULL, 4096, 0));
	R(fsync(to));
	R(fdatasync(to));
	R(syncfs(to));
	R(sync_file_range(to, 0, 0, SYNC_FILE_RANGE_WRITE));
	R(posix_fadvise(to, 0, 0, POSIX_FADV_DONTNEED));
	R(readahead(to, 0, 4096) < 0 ? -1 : 0);
	close(to);
	close(fd);
	char *aligned = aligned_alloc(4096, 8192);
	memset(aligned, 'd', 8192);
	fd = OK(open("direct", O_RDWR | O_CREAT | O_DIRECT, 0644));
	R(pwrite(fd, aligned, 8192, 0));
	memset(aligned, 0, 8192);
	R(pread(fd, aligned, 4096, 4096));
	IS(aligned[0] == 'd' && aligned[4095] == 'd');
	int cached = open("direct", O_RDWR);
	R(pwrite(cached, "cached", 6, 0));
	R(pread(fd, aligned, 4096, 0));
	IS(!memcmp(aligned, "cachedd", 7));
	memset(aligned, 'e', 4096);
	R(pwrite(fd, aligned, 4096, 0));
	R(pread(cached, b, 1, 0));
	IS(b[0] == 'e');
	close(cached);
	close(fd);
	fd = OK(open("sync", O_WRONLY | O_CREAT | O_SYNC, 0644));
	R(write(fd, "s", 1));
	close(fd);
	// Two descriptors, one file.
	int a = open("two", O_RDWR | O_CREAT, 0644), c = open("two", O_RDWR);
	R(write(a, "hello", 5));
	R(read(c, b, 10));
	R(ftruncate(c, 2));
	R(pread(a, b, 10, 0));
	R(write(a, "!", 1));
	R(pread(c, b, 10, 0));
	IS(!memcmp(b, "he\0\0\0!", 6));
	// A limit of the process.
	signal(SIGXFSZ, SIG_IGN);
	struct rlimit old, new;
	getrlimit(RLIMIT_FSIZE, &old);
	new = old;
	new.rlim_cur = 100;
	setrlimit(RLIMIT_FSIZE, &new);
	R(pwrite(a, b, 10, 95));
	R(pwrite(a, b, 10, 100));
	R(ftruncate(a, 200));
	setrlimit(RLIMIT_FSIZE, &old);
	close(a);
	close(c);
	// Appending from several processes loses nothing.
	make("log", "");
	fflush(stdout);
	for (int i = 0; i < 4; i++)
		if (!fork()) {
			int l = open("log", O_WRONLY | O_APPEND);
			for (int k = 0; k < 100; k++)
				if (write(l, "0123456789", 10) != 10)
					_exit(1);
			_exit(0);
		}
	while (wait(NULL) > 0)
		;
	mode("log");
	end();
}

static void attributes(void)
{
	char b[70000];

	begin("attributes");
	make("f", "x");
	R(setxattr("f", "user.one", "1", 1, 0));
	R(setxattr("f", "user.two", "", 0, 0));
	R(setxattr("f", "user.one", "111", 3, XATTR_CREATE));
	R(setxattr("f", "user.one", "111", 3, XATTR_REPLACE));
	R(setxattr("f", "user.none", "1", 1, XATTR_REPLACE));
	R(getxattr("f", "user.one", NULL, 0));
	R(getxattr("f", "user.one", b, 2));
	R(getxattr("f", "user.one", b, 10));
	IS(!memcmp(b, "111", 3));
	R(getxattr("f", "user.two", b, 10));
	R(getxattr("f", "user.none", b, 10));
	int n = R(listxattr("f", b, sizeof(b)));
	IS(n == 18 && memmem(b, n, "user.one", 9) && memmem(b, n, "user.two", 9));
	R(listxattr("f", NULL, 0));
	R(listxattr("f", b, 3));
	R(removexattr("f", "user.one"));
	R(removexattr("f", "user.one"));
	R(setxattr("f", "nonsense", "1", 1, 0));
	R(setxattr("f", "other.x", "1", 1, 0));
	memset(b, 'v', sizeof(b));
	R(setxattr("f", "user.big", b, 3000, 0));
	R(getxattr("f", "user.big", b, sizeof(b)));
	R(setxattr("f", "user.huge", b, 65537, 0));
	mkdir("d", 0755);
	R(setxattr("d", "user.dir", "1", 1, 0));
	R(getxattr("d", "user.dir", b, 10));
	symlink("f", "l");
	R(lsetxattr("l", "user.x", "1", 1, 0));
	R(setxattr("l", "user.via", "1", 1, 0));
	R(getxattr("f", "user.via", b, 10));
	R(lgetxattr("l", "user.via", b, 10));
	// A POSIX ACL: user::rw-, user:1000:r--, group::---, mask::r--, other::---
	static const unsigned char acl[] = {
		2, 0, 0, 0,
		1, 0, 6, 0, 255, 255, 255, 255,
		2, 0, 4, 0, 0xe8, 3, 0, 0,
		4, 0, 0, 0, 255, 255, 255, 255,
		16, 0, 4, 0, 255, 255, 255, 255,
		32, 0, 0, 0, 255, 255, 255, 255,
	};
	make("acl", "a");
	R(setxattr("acl", "system.posix_acl_access", acl, sizeof(acl), 0));
	mode("acl");
	as(1000, 1000, OK(open("acl", O_RDONLY)));
	as(1001, 1001, R(open("acl", O_RDONLY)));
	as(1000, 1000, R(open("acl", O_WRONLY)));
	R(getxattr("acl", "system.posix_acl_access", b, sizeof(b)));
	IS(!memcmp(b, acl, sizeof(acl)));
	R(chmod("acl", 0600));
	as(1000, 1000, R(open("acl", O_RDONLY)));
	R(setxattr("d", "system.posix_acl_default", acl, sizeof(acl), 0));
	make("d/inherits", "");
	mode("d/inherits");
	R(getxattr("d/inherits", "system.posix_acl_access", b, sizeof(b)));
	mkdir("d/sub", 0777);
	mode("d/sub");
	R(getxattr("d/sub", "system.posix_acl_default", b, sizeof(b)));
	R(removexattr("acl", "system.posix_acl_access"));
	mode("acl");
	// Times.
	struct timespec t[2] = { { 1000000000, 123456789 }, { 1100000000, 987654321 } };
	R(utimensat(AT_FDCWD, "f", t, 0));
	struct stat s = st("f");
	printf("attributes: atime %ld.%09ld mtime %ld.%09ld\n", s.st_atim.tv_sec, s.st_atim.tv_nsec, s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
	IS(s.st_ctim.tv_sec > 1700000000);
	t[0].tv_nsec = UTIME_OMIT;
	t[1].tv_sec = -5;
	R(utimensat(AT_FDCWD, "f", t, 0));
	s = st("f");
	printf("attributes: atime %ld mtime %ld\n", s.st_atim.tv_sec, s.st_mtim.tv_sec);
	t[0].tv_nsec = t[1].tv_nsec = UTIME_NOW;
	R(utimensat(AT_FDCWD, "f", t, 0));
	IS(st("f").st_mtim.tv_sec > 1700000000);
	R(utimensat(AT_FDCWD, "l", t, AT_SYMLINK_NOFOLLOW));
	s = st("f");
	usleep(20000);
	int fd = open("f", O_WRONLY);
	R(write(fd, "new", 3));
	struct stat w = st("f");
	IS(w.st_mtim.tv_nsec != s.st_mtim.tv_nsec || w.st_mtim.tv_sec != s.st_mtim.tv_sec);
	IS(w.st_ctim.tv_nsec != s.st_ctim.tv_nsec || w.st_ctim.tv_sec != s.st_ctim.tv_sec);
	usleep(20000);
	R(chmod("f", 0600));
	s = st("f");
	IS(w.st_mtim.tv_nsec == s.st_mtim.tv_nsec && w.st_mtim.tv_sec == s.st_mtim.tv_sec);
	IS(w.st_ctim.tv_nsec != s.st_ctim.tv_nsec || w.st_ctim.tv_sec != s.st_ctim.tv_sec);
	close(fd);
	struct statx x;
	R(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS | STATX_BTIME, &x));
	IS(x.stx_mask & STATX_BTIME && x.stx_btime.tv_sec > 1700000000);
	struct statvfs v;
	R(statvfs(".", &v));
	IS(v.f_blocks > 0 && v.f_bavail <= v.f_bfree && v.f_files > 0 && v.f_namemax == 255 && v.f_bsize >= 512);
	end();
}

static void locks(void)
{
	begin("locks");
	int fd = create("f", "0123456789");
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2, .l_len = 3 };
	R(fcntl(fd, F_SETLK, &l));
	as(0, 0, {
		int g = open("f", O_RDWR);
		struct flock k = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 2 };
		R(fcntl(g, F_SETLK, &k));
		k.l_start = 4; k.l_len = 0;
		R(fcntl(g, F_SETLK, &k));
		k.l_type = F_RDLCK;
		R(fcntl(g, F_SETLK, &k));
		R(fcntl(g, F_GETLK, &k));
		printf("locks: held by %s, type %d, from %lld, %lld\n", k.l_pid == getppid() ? "the parent" : "SOMEBODY", k.l_type, (long long)k.l_start, (long long)k.l_len);
	});
	close(open("f", O_RDONLY)); // lets go of all locks of the process
	as(0, 0, {
		int g = open("f", O_RDWR);
		struct flock k = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2, .l_len = 3 };
		R(fcntl(g, F_SETLK, &k));
	});
	l.l_type = F_RDLCK;
	int ro = open("f", O_RDONLY), wo = open("f", O_WRONLY);
	R(fcntl(wo, F_SETLK, &l));
	l.l_type = F_WRLCK;
	R(fcntl(ro, F_SETLK, &l));
	l.l_pid = 0;
	R(fcntl(fd, F_OFD_SETLK, &l));
	int other = open("f", O_RDWR);
	R(fcntl(other, F_OFD_SETLK, &l));
	R(fcntl(other, F_SETLK, &l));
	close(fd);
	R(fcntl(other, F_OFD_SETLK, &l));
	R(flock(ro, LOCK_SH | LOCK_NB));
	R(flock(wo, LOCK_EX | LOCK_NB));
	R(flock(ro, LOCK_UN));
	R(flock(wo, LOCK_EX | LOCK_NB));
	as(0, 0, {
		int g = open("f", O_RDONLY);
		R(flock(g, LOCK_SH | LOCK_NB));
		R(flock(wo, LOCK_UN)); // the same open file
		R(flock(g, LOCK_SH | LOCK_NB));
	});
	// Waiting for a lock: it comes when the other ends.
	int p[2], tried[2];
	if (pipe(p) || pipe(tried))
		exit(1);
	fflush(stdout);
	pid_t child = fork();
	if (!child) {
		struct flock k = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 1 };
		int g = open("f", O_RDWR);
		fcntl(g, F_SETLK, &k);
		if (write(p[1], "x", 1) != 1)
			_exit(1);
		if (read(tried[0], &(char){ 0 }, 1) != 1)
			_exit(1);
		usleep(100000);
		_exit(0);
	}
	char c;
	if (read(p[0], &c, 1) != 1)
		exit(1);
	struct flock k = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 1 };
	R(fcntl(other, F_SETLK, &k));
	if (write(tried[1], "x", 1) != 1)
		exit(1);
	R(fcntl(other, F_SETLKW, &k));
	waitpid(child, NULL, 0);
	end();
}

static sigjmp_buf jump;
static void on_fault(int s) { siglongjmp(jump, s); }

static const char *faults(void (*f)(char *), char *p)
{
	int s = sigsetjmp(jump, 1);

	if (s == 0) {
		f(p);
		return "no signal";
	}
	return s == SIGBUS ? "SIGBUS" : s == SIGSEGV ? "SIGSEGV" : "another signal";
}

static void do_read(char *p) { *(volatile char *)p; }
static void do_write(char *p) { *(volatile char *)p = 1; }

static void mappings(void)
{
	char b[16] = "";

	begin("mappings");
	signal(SIGBUS, on_fault);
	signal(SIGSEGV, on_fault);
	int fd = create("f", "");
	R(ftruncate(fd, 5000));
	char *shared = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *private = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	IS(shared != MAP_FAILED && private != MAP_FAILED);
	strcpy(shared, "mapped");
	R(pread(fd, b, 7, 0));
	IS(!strcmp(b, "mapped"));
	R(pwrite(fd, "WR", 2, 2));
	IS(!strcmp(shared, "maWRed"));
	IS(!strcmp(private, "maWRed"));
	strcpy(private, "own");
	IS(!strcmp(shared, "maWRed"));
	R(pwrite(fd, "zz", 2, 0));
	IS(!strcmp(private, "own"));
	IS(shared[4999] == 0 && shared[5000] == 0);
	shared[5001] = 'x'; // beyond the end, in its page
	R(ftruncate(fd, 6000));
	R(pread(fd, b, 1, 5001));
	printf("mappings: after the end %d\n", b[0]);
	printf("mappings: read of the page after the end: %s\n", faults(do_read, shared + 8192));
	printf("mappings: write of the page after the end: %s\n", faults(do_write, shared + 8192));
	R(ftruncate(fd, 9000));
	printf("mappings: now: %s\n", faults(do_write, shared + 8192));
	R(ftruncate(fd, 100));
	printf("mappings: cut off: %s\n", faults(do_read, shared + 4096));
	printf("mappings: cut off, private: %s\n", faults(do_read, private + 4096));
	R(msync(shared, 4096, MS_SYNC));
	as(0, 0, {
		strcpy(shared + 10, "child");
		int g = open("f", O_RDONLY);
		char c[8] = "";
		R(pread(g, c, 6, 10));
		IS(!strcmp(c, "child"));
	});
	IS(!strcmp(shared + 10, "child"));
	R(munmap(shared, 16384));
	R(munmap(private, 16384));
	int ro = open("f", O_RDONLY);
	IS(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ro, 0) == MAP_FAILED);
	char *m = mmap(NULL, 4096, PROT_READ, MAP_SHARED, ro, 0);
	printf("mappings: write to read-only: %s\n", faults(do_write, m));
	R(mprotect(m, 4096, PROT_READ | PROT_WRITE));
	close(ro);
	// A mapping outlives descriptor and name.
	make("gone", "still here");
	int g = open("gone", O_RDWR);
	m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, g, 0);
	close(g);
	unlink("gone");
	IS(!strcmp(m, "still here"));
	strcpy(m, "changed...");
	IS(!strcmp(m, "changed..."));
	R(madvise(m, 4096, MADV_DONTNEED));
	IS(!strcmp(m, "changed..."));
	munmap(m, 4096);
	close(fd);
	// Code.
	fd = create("code", "\xb8\x2a\x00\x00\x00\xc3"); // mov $42, %eax; ret
	pwrite(fd, "\xb8\x2a\x00\x00\x00\xc3", 6, 0);
	m = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	IS(m != MAP_FAILED && ((int (*)(void))m)() == 42);
	close(fd);
	// A hundred pages, written through the mapping and read by another process.
	fd = create("pages", "");
	R(ftruncate(fd, 100 * 4096));
	m = mmap(NULL, 100 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	for (int i = 0; i < 100; i++)
		memset(m + i * 4096, i, 4096);
	munmap(m, 100 * 4096);
	close(fd);
	as(0, 0, {
		int k = open("pages", O_RDONLY);
		char page[4096];
		int good = 0;
		for (int i = 0; i < 100; i++)
			good += read(k, page, 4096) == 4096 && page[0] == i && page[4095] == i;
		printf("mappings: %d pages\n", good);
	});
	end();
}

static void special(void)
{
	char b[64];

	begin("special");
	R(mkfifo("fifo", 0600));
	mode("fifo");
	fflush(stdout);
	pid_t child = fork();
	if (!child) {
		int w = open("fifo", O_WRONLY);
		_exit(write(w, "through", 7) != 7);
	}
	int fd = open("fifo", O_RDONLY);
	R(read(fd, b, sizeof(b)));
	waitpid(child, NULL, 0);
	R(read(fd, b, sizeof(b)));
	close(fd);
	R(open("fifo", O_WRONLY | O_NONBLOCK));
	R(mknod("null", S_IFCHR | 0666, makedev(1, 3)));
	struct stat s = st("null");
	printf("special: %u:%u\n", major(s.st_rdev), minor(s.st_rdev));
	R(mknod("plain", S_IFREG | 0640, 0));
	mode("plain");
	int sock = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "socket" };
	R(bind(sock, (struct sockaddr *)&a, sizeof(a)));
	R(listen(sock, 1));
	mode("socket");
	int c = socket(AF_UNIX, SOCK_STREAM, 0);
	R(connect(c, (struct sockaddr *)&a, sizeof(a)));
	R(bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof(a)));
	R(open("socket", O_RDONLY));
	close(sock);
	R(connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof(a)));
	R(rename("socket", "socket2"));
	R(unlink("socket2"));
	// Notification of own changes.
	int in = inotify_init1(IN_NONBLOCK);
	R(inotify_add_watch(in, ".", IN_CREATE | IN_DELETE | IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_CLOSE_WRITE));
	make("watched", "x");
	chmod("watched", 0600);
	rename("watched", "watched2");
	unlink("watched2");
	char events[8192];
	ssize_t n = read(in, events, sizeof(events));
	for (char *p = events; p < events + n;) {
		struct inotify_event *e = (struct inotify_event *)p;
		printf("special: event %x %s\n", e->mask, e->len ? e->name : "");
		p += sizeof(*e) + e->len;
	}
	// Programs.
	FILE *f = fopen("script", "w");
	fputs("#!/bin/sh\nexit 7\n", f);
	fclose(f);
	chmod("script", 0755);
	fflush(stdout);
	child = fork();
	if (!child) {
		execl("./script", "script", NULL);
		_exit(errno);
	}
	int status;
	waitpid(child, &status, 0);
	printf("special: script %d\n", WEXITSTATUS(status));
	fd = open("/proc/self/exe", O_RDONLY);
	int copy = open("program", O_WRONLY | O_CREAT, 0755);
	fstat(fd, &s);
	off_t off = 0;
	while (off < s.st_size && sendfile(copy, fd, &off, s.st_size) > 0)
		;
	child = fork();
	if (!child) {
		execl("./program", "program", "--seven", NULL);
		_exit(errno == ETXTBSY ? 100 : 101);
	}
	waitpid(child, &status, 0);
	printf("special: program open for writing %d\n", WEXITSTATUS(status));
	close(copy);
	child = fork();
	if (!child) {
		execl("./program", "program", "--seven", NULL);
		_exit(101);
	}
	waitpid(child, &status, 0);
	printf("special: program %d\n", WEXITSTATUS(status));
	chmod("program", 0644);
	R(execl("./program", "program", NULL));
	int flags = fcntl(create("flags", ""), F_GETFL);
	printf("special: flags %x\n", flags & ~O_LARGEFILE);
	end();
}

int main(int argc, char **argv)
{
	char dir[] = "posix-XXXXXX";

	if (argc > 1 && !strcmp(argv[1], "--seven"))
		return 7;
	umask(022);
	if (argc != 2 || chdir(argv[1]) || !mkdtemp(dir) || chmod(dir, 0755) || chdir(dir)) {
		perror("posix DIR");
		return 2;
	}
	opening();
	unnamed();
	unlinked();
	links();
	renames();
	permissions();
	directories();
	data();
	attributes();
	locks();
	mappings();
	special();
	puts("end");
	return 0;
}
