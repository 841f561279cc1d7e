// SPDX-License-Identifier: Apache-2.0

package programs

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/paracell/paracell/integration/sidebyside"
	"github.com/paracell/paracell/internal/testenv"
)

const patience = 3 * time.Minute

// packages names the Debian package of each program.
var packages = map[string]string{
	"gcc": "gcc", "gdb": "gdb", "go": "golang-go", "java": "openjdk-17-jre-headless",
	"javac": "openjdk-17-jdk-headless", "node": "nodejs", "python3": "python3", "strace": "strace",
}

// programs are run by a shell in a directory of their own, in which build,
// also a shell command, has run before on the host in $FILES.
var programs = []struct {
	name  string
	needs string
	build string
	run   string
	// want are lines that have to be in the output, on the host as well.
	want []string
}{
	{
		name: "strace", needs: "strace",
		run: `strace -o t -e trace=write,exit_group echo hello; cat t
			strace -f -e trace=exit_group -o t sh -c '(exit 3); /bin/true; kill -USR1 $$'; echo status $?
			sed 's/^[0-9]* *//; s/si_pid=[0-9]*/si_pid=N/g; s/si_[us]time=[0-9]*\( [/][*][^*]*[*][/]\)*, //g; s/, si_[us]time=[0-9]*\( [/][*][^*]*[*][/]\)*//g' t
			strace -o /dev/null -e inject=write:error=ENOSPC echo lost; echo status $?
			strace -o /dev/null -e inject=getuid,geteuid:retval=42 id -u`,
		want: []string{`write(1, "hello\n", 6)`, "+++ exited with 0 +++", "killed by SIGUSR1", "status 138", "status 1\n42\n"},
	},
	{
		name: "gdb", needs: "gcc gdb",
		build: "gcc -g -O0 -pthread -o debuggee debuggee.c",
		run:   `HOME=/nowhere DEBUGINFOD_URLS= gdb -nx -q -batch -d $FILES -x $FILES/debug.gdb $FILES/debuggee`,
		want:  []string{"Breakpoint 1, add (a=3, b=3)", "$1 = 6", "Value returned is", "Old value = 6", "New value = 10", "$8 = 2"},
	},
	{
		name: "go", needs: "go",
		build: "CGO_ENABLED=0 GOFLAGS= GOCACHE=${GOCACHE:-$HOME/.cache/go-build} go build -o runtimes runtimes.go",
		run:   "$FILES/runtimes",
		want:  []string{"sum 1000", "echoed 2001000", "slept true", "child"},
	},
	{
		name: "node", needs: "node",
		run:  "node $FILES/main.js",
		want: []string{"fib 832040 keys 5000", "worker 75025", "http 100000"},
	},
	{
		name: "java", needs: "java javac",
		build: "javac Main.java",
		run:   "java -version && java -cp $FILES Main",
		want:  []string{"Server VM", "caught 1000"},
	},
	{
		name: "python", needs: "python3",
		run:  "python3 $FILES/main.py",
		want: []string{"statuses [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]", "ticks True"},
	},
	{
		name: "address sanitizer", needs: "gcc",
		build: "gcc -g -fsanitize=address -pthread -o asan sanitize.c",
		run:   `$FILES/asan; echo status $?; $FILES/asan f >o 2>&1; echo status $?; grep -o 'ERROR: AddressSanitizer: [a-z-]*' o; grep -o 'in main .*' o`,
		want:  []string{"done", "heap-use-after-free"},
	},
	{
		name: "thread sanitizer", needs: "gcc",
		build: "gcc -g -fsanitize=thread -pthread -o tsan sanitize.c",
		// The place is random and so is what the sanitizer can stand.
		run:  `for i in 1 2 3 4 5 6; do $FILES/tsan || echo status $?; done; $FILES/tsan r >o 2>&1; echo status $?; grep -o -m1 'WARNING: ThreadSanitizer: data race' o`,
		want: []string{"done", "status 66", "data race"},
	},
	{
		name: "undefined behaviour sanitizer", needs: "gcc",
		build: "gcc -g -fsanitize=undefined -pthread -o ubsan sanitize.c",
		run:   `cd $FILES && ./ubsan && ./ubsan o`,
		want:  []string{"done", "signed integer overflow"},
	},
	{
		name: "large program at a fixed address", needs: "gcc",
		build: "gcc -O1 -no-pie -o large large.c && gcc -O1 -no-pie -static -o large-static large.c",
		run:   "$FILES/large && $FILES/large-static",
		want:  []string{"0x40"},
	},
}

// pids are different in every run.
var pids = regexp.MustCompile(`(process|Thread 0x|LWP) ?[0-9a-f]+`)

func TestPrograms(t *testing.T) {
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			for name := range strings.FieldsSeq(p.needs) {
				testenv.Program(t, name, packages[name])
			}
			files := t.TempDir()
			if err := os.CopyFS(files, os.DirFS("testdata")); err != nil {
				t.Fatal(err)
			}
			if p.build != "" {
				build := exec.Command("sh", "-c", p.build)
				build.Dir = files
				if out, err := build.CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", p.build, err, out)
				}
			}
			normal := func(r sidebyside.Result) sidebyside.Result {
				r.Output = strings.ReplaceAll(r.Output, files, "/mnt")
				r.Output = pids.ReplaceAllString(r.Output, "$1 N")
				return r
			}
			host := normal(sidebyside.Host(t, files, p.run, patience))
			for _, want := range p.want {
				if !strings.Contains(host.Output, want) {
					t.Fatalf("the host, status %d, does not say %q:\n%s", host.Status, want, host.Output)
				}
			}
			if cell := normal(sidebyside.Cell(t, files, p.run, patience)); cell != host {
				t.Errorf("in the cell status %d:\n%s\non the host status %d:\n%s", cell.Status, cell.Output, host.Status, host.Output)
			}
		})
	}
}
