// SPDX-License-Identifier: Apache-2.0

// Instructions counts the instructions of the events between a user and its
// kernel, on every platform with protection keys and with two page tables. All
// runs in an emulated machine whose time stamp counter counts instructions, those
// of its own kernel and of KVM included. The last row is a plain kernel in ring 0:
// the one of the machine itself.
//
//	go run ./integration/perf/instructions [-row "kvm, mpk"]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/paracell/paracell/integration/emulated"
)

// plain is the same for a process of the machine's own kernel.
const plain = `#define _GNU_SOURCE
#include <stdio.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <signal.h>
#include <setjmp.h>
#include <sched.h>
#include <sys/wait.h>
#include <sys/mman.h>
#include <x86intrin.h>
int main(void)
{
	enum { N = 1000 };
	int ab[2], ba[2];
	char c = 0;
	unsigned long t0, t1, t2, t3;
	volatile char *p = mmap(0, N * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise((void *)p, N * 4096, MADV_NOHUGEPAGE);
	for (int i = 0; i < 100; i++) syscall(SYS_getppid);
	t0 = __rdtsc();
	for (int i = 0; i < N; i++) syscall(SYS_getppid);
	t1 = __rdtsc();
	for (int i = 0; i < N; i++) (void)p[i * 4096];
	t2 = __rdtsc();
	pipe(ab); pipe(ba);
	pid_t child = fork();
	if (!child) { for (;;) { if (read(ab[0], &c, 1) != 1) _exit(0); write(ba[1], &c, 1); } }
	for (int i = 0; i < 10; i++) { write(ab[1], &c, 1); read(ba[0], &c, 1); }
	unsigned long t = __rdtsc();
	for (int i = 0; i < N; i++) { write(ab[1], &c, 1); read(ba[0], &c, 1); }
	t3 = __rdtsc() - t;
	kill(child, SIGKILL);
	printf("plain syscall %lu fault %lu pipe %lu\n", (t1 - t0) / N, (t2 - t1) / N, t3 / N / 2);
}
`

var row = flag.String("row", "", "make only this row of the table")

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "instructions:", err)
		os.Exit(1)
	}
}

var (
	speed    = regexp.MustCompile(`gate (\d+) ns, raw (\d+) ns, fault (\d+) ns`)
	switched = regexp.MustCompile(`switch (\d+) ns`)
	plainly  = regexp.MustCompile(`plain syscall (\d+) fault (\d+) pipe (\d+)`)
)

func run() error {
	dir, err := os.MkdirTemp("", "paracell-instructions-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	source, program := filepath.Join(dir, "plain.c"), filepath.Join(dir, "plain")
	if err := os.WriteFile(source, []byte(plain), 0o644); err != nil {
		return err
	}
	if out, err := exec.Command("gcc", "-w", "-O2", "-static", "-o", program, source).CombinedOutput(); err != nil {
		return fmt.Errorf("gcc: %w\n%s", err, out)
	}
	fmt.Println("| | gate | raw system call | fault | switch |")
	fmt.Println("|---|---|---|---|---|")
	for _, c := range []struct{ name, pkg, run, module string }{
		{"process, mpk", "xgate/monitor/process", "TestMonitor", ""},
		{"kvm, mpk", "xgate/monitor/kvm", "TestMonitor/mpk", "kvm-amd"},
		{"kvm, pagetable", "xgate/monitor/kvm", "TestMonitor/pagetable", "kvm-amd"},
	} {
		if *row != "" && *row != c.name {
			continue
		}
		out, err := inMachine(dir, c.pkg, c.run, c.module)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		s, w := speed.FindStringSubmatch(out), switched.FindStringSubmatch(out)
		if s == nil || w == nil {
			return fmt.Errorf("%s: no figures in\n%s", c.name, out)
		}
		fmt.Printf("| %s | %s | %s | %s | %s |\n", c.name, s[1], s[2], s[3], w[1])
	}
	const ring0 = "kernel in ring 0"
	if *row != "" && *row != ring0 {
		return nil
	}
	res, err := emulated.Run(context.Background(), emulated.Machine{
		Files: map[string]string{"/plain": program}, Command: []string{"/plain"}, CountInstructions: true, Timeout: 5 * time.Minute,
	})
	if err != nil {
		return err
	}
	p := plainly.FindStringSubmatch(string(res.Output))
	if p == nil {
		return fmt.Errorf("no figures in\n%s", res.Output)
	}
	fmt.Printf("| "+ring0+" | | %s | %s (first read of a page) | %s (write, switch, read) |\n", p[1], p[2], p[3])
	return nil
}

// inMachine runs a package's tests with the small kernel's tests of speed.
func inMachine(dir, pkg, name, module string) (string, error) {
	exe := filepath.Join(dir, "package.test")
	build := exec.Command("go", "test", "-c", "-o", exe, "./"+pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	const kernel = "xgate/monitor/process/testdata/kernel/kernel.elf"
	m := emulated.Machine{
		Files: map[string]string{
			"/paracell/go.mod": "go.mod", "/paracell/" + pkg + "/package.test": exe, "/paracell/" + kernel: kernel,
		},
		Env:               []string{"PARACELL_EMULATED=1", "MONITOR_TEST=speed handover"},
		Command:           []string{"sh", "-c", "cd /paracell/" + pkg + " && ./package.test -test.v -test.run " + name},
		CountInstructions: true, Timeout: 5 * time.Minute,
	}
	if module != "" {
		m.Modules = []string{module}
	}
	res, err := emulated.Run(context.Background(), m)
	if err == nil && res.ExitCode != 0 {
		err = errors.New("the test failed")
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, res.Output)
	}
	return string(res.Output), err
}
