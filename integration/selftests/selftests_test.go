// SPDX-License-Identifier: Apache-2.0

package selftests

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paracell/paracell/integration/sidebyside"
	"github.com/paracell/paracell/internal/testenv"
)

const patience = 15 * time.Minute

// script runs the programs that it is given, by name and seconds, in a
// directory of memory: what the tests write must not depend on the disk. Nor must
// the chance of random addresses decide: some tests map at fixed places, where the
// heap is one time in twenty.
const script = `d=$(mktemp -d /dev/shm/selftests.XXXXXX) && cd $d || exit
while read p s; do
	mkdir w && cd w
	timeout -s KILL $s setarch -R $FILES/$p </dev/null >../out 2>&1
	printf '\n@@@ %s %s\n' $p $?
	tr -d '\000' <../out
	cd $d && rm -rf w
done <<'END'
`

// shell is the script that runs programs: lines of a name and a limit in seconds.
func shell(lines []string) string {
	return script + strings.Join(lines, "") + "END\ncd /; rm -rf $d\n"
}

// difference is a line of differences.txt.
type difference struct{ program, test string }

func differences(t *testing.T) []difference {
	b, err := os.ReadFile("differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []difference
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		if program, test, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			d := difference{program, strings.TrimSpace(test)}
			for _, pattern := range []string{d.program, d.test} {
				if _, err := path.Match(pattern, ""); err != nil {
					t.Fatalf("differences.txt: %q: %v", pattern, err)
				}
			}
			all = append(all, d)
		}
	}
	return all
}

// matches says whether the difference is about this test; a star in its name
// stands for anything.
func (d difference) matches(program, test string) bool {
	p, _ := path.Match(d.program, program)
	// A slash is nothing special in the name of a test.
	s, _ := path.Match(d.test, strings.ReplaceAll(test, "/", "_"))
	return p && s
}

func TestSelftests(t *testing.T) {
	testenv.Root(t)
	if testenv.Emulated() {
		t.Skip("the emulated machine has no compiler")
	}
	if !testenv.InCI() && os.Getenv("PARACELL_SELFTESTS") == "" {
		t.Skip("takes minutes; set PARACELL_SELFTESTS=1")
	}
	var complaints bytes.Buffer
	build := exec.Command("./build.sh")
	build.Stderr = &complaints
	dir, err := build.Output()
	if err != nil {
		t.Fatalf("build the tests: %v\n%s", err, complaints.Bytes())
	}
	files := strings.TrimSpace(string(dir))

	b, err := os.ReadFile("programs.txt")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		compile, seconds, ok := strings.Cut(strings.TrimSpace(line), "|")
		if !ok {
			seconds = "15"
		}
		program, _, _ := strings.Cut(compile, " ")
		lines = append(lines, program+" "+seconds+"\n")
	}
	hostOutput := sidebyside.Host(t, files, shell(lines), patience).Output
	cellOutput := sidebyside.Cell(t, files, shell(lines), patience).Output
	if dir := os.Getenv("PARACELL_SELFTESTS_OUTPUT"); dir != "" {
		for name, output := range map[string]string{"host": hostOutput, "cell": cellOutput} {
			if err := os.WriteFile(path.Join(dir, name), []byte(output), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	host, cell := parse(hostOutput), parse(cellOutput)
	known := differences(t)
	short := func(program, test string) bool {
		return cell[program][test] < host[program][test] &&
			!slices.ContainsFunc(known, func(d difference) bool { return d.matches(program, test) })
	}
	// Some of them race with time: they create threads, wait ten milliseconds and
	// want all to have got somewhere. What fails three times fails.
	for range 2 {
		again := slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
			program, _, _ := strings.Cut(line, " ")
			for test := range host[program] {
				if short(program, test) {
					return false
				}
			}
			return true
		})
		if len(again) == 0 {
			break
		}
		t.Logf("once more: %q", again)
		for program, tests := range parse(sidebyside.Cell(t, files, shell(again), patience).Output) {
			for test, n := range tests {
				if cell[program] == nil {
					cell[program] = map[string]int{}
				}
				cell[program][test] = max(cell[program][test], n)
			}
		}
	}
	total, same := 0, 0
	for _, program := range slices.Sorted(maps.Keys(host)) {
		for _, test := range slices.Sorted(maps.Keys(host[program])) {
			h, c := host[program][test], cell[program][test]
			total += h
			same += min(h, c)
			if short(program, test) {
				t.Errorf("%s %s: passed %d times on the host, %d times in the cell", program, test, h, c)
			}
		}
	}
	t.Logf("of %d passes of %d programs on the host the cell has %d", total, len(host), same)
	if total < 1000 {
		t.Errorf("only %d passes on the host: is the script broken?", total)
	}
}
