// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/paracell/paracell/runtime/figures"
)

func run(args ...string) (int, string, string) {
	var out, err bytes.Buffer
	status := Main(args, &out, &err)
	return status, out.String(), err.String()
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args        string
		status      int
		out, errOut string // substrings
	}{
		{"", statusUsage, "", "paracell run"},
		{"help", 0, "paracell run", ""},
		{"--help", 0, "paracell run", ""},
		{"help run", 0, "--rootfs DIR", ""},
		{"run --help", 0, "--rootfs DIR", ""},
		{"run -h", 0, "--rootfs DIR", ""},
		{"check --help", 0, "Exit status", ""},
		{"help nonsense", statusUsage, "", "nonsense"},
		{"nonsense", statusUsage, "", "run, check, top, plot, pager, config, help"},
		{"run", statusUsage, "", "a root is needed"},
		{"run --rootfs /x", statusUsage, "", "a command is needed"},
		{"run --nonsense", statusUsage, "", "-nonsense"},
		{"run --memory x --rootfs /x -- y", statusUsage, "", "memory"},
		{"check x", statusUsage, "", "unexpected argument"},
		{"check --x", statusUsage, "", "-x"},
		{"top --help", 0, "--interval", ""},
		{"top x", statusUsage, "", "unexpected argument"},
		{"top --interval 0s", statusUsage, "", "above 0"},
		{"top --once --interval 1ms --dir /no/such/dir", 0, "CELL", ""},
		{"plot", statusUsage, "", "one file"},
		{"plot /no/such/file", 1, "", "/no/such/file"},
		{"plot /dev/null", 0, "<svg", ""},
		{"pager", statusUsage, "", "are needed"},
		{"pager get x page", statusUsage, "", "are needed"},
		{"pager set x", statusUsage, "", "are needed"},
		{"pager set --dir /no/such/dir x page", 1, "", "no cell \"x\" answers"},
		{"help pager", 0, "CELL is the name", ""},
		{"config --help", 0, "--annotation", ""},
		{"config x", statusUsage, "", "unexpected argument"},
		{"config --keys", 0, "by annotation: allowed by default", ""},
		{"config --annotation memory", statusUsage, "", "KEY=VALUE"},
		{"config --annotation memory=1G", statusUsage, "", "begin with io.paracell."},
		{"config --file /no/such/file", 1, "", "/no/such/file"},
		{"config --file /dev/null", 1, "", "regular"},
	} {
		status, out, errOut := run(strings.Fields(c.args)...)
		if status != c.status || !strings.Contains(out, c.out) || !strings.Contains(errOut, c.errOut) {
			t.Errorf("%q: status %d\n%s%s", c.args, status, out, errOut)
		}
		if c.status == 0 && errOut != "" || c.status != 0 && out != "" {
			t.Errorf("%q: text on the wrong stream", c.args)
		}
	}
}

// TestHelpNamesEveryFlag keeps the help text and the flags together.
func TestHelpNamesEveryFlag(t *testing.T) {
	c, err := parseRun(strings.Fields("--rootfs /r --memory 1G --cpus 1 --isolation none --env A=1 --env B=2 --workdir /w" +
		" --hostname h --name n --kernel k --kernel-arg a=b --kernel-arg c -v -- cmd -v --x"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Rootfs != "/r" || c.Memory != 1<<30 || c.Vcpus != 1 || c.Isolation != "none" || c.Cwd != "/w" || c.Hostname != "h" ||
		c.Name != "n" || c.Kernel != "k" || !c.Verbose || !slices.Equal(c.Env, []string{"A=1", "B=2"}) ||
		!slices.Equal(c.KernelArgs, []string{"a=b", "c"}) || !slices.Equal(c.Args, []string{"cmd", "-v", "--x"}) {
		t.Errorf("%+v", c)
	}
	for _, f := range []string{"rootfs", "initramfs", "memory", "cpus", "isolation", "env", "workdir", "hostname", "name", "kernel", "kernel-arg"} {
		if !strings.Contains(runHelp, "--"+f+" ") {
			t.Errorf("--%s is not in the help text", f)
		}
	}
}

// TestPagerSet: the policy goes to the one cell that is meant.
func TestPagerSet(t *testing.T) {
	dir := t.TempDir()
	got := map[int]string{}
	for i, name := range []string{"one", "twin", "twin"} {
		s, err := figures.Serve(dir, name, figures.Control{
			Take:     func() figures.Sample { return figures.Sample{Cell: name, Pid: 100 + i} },
			SetPager: func(policy string) error { got[100+i] = policy; return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
	}
	for _, c := range []struct {
		cell   string
		status int
		pid    int
	}{{"one", 0, 100}, {"102", 0, 102}, {"twin", 1, 0}, {"nobody", 1, 0}} {
		clear(got)
		var out, errOut bytes.Buffer
		if status := Main([]string{"pager", "set", "--dir", dir, c.cell, "calm"}, &out, &errOut); status != c.status {
			t.Errorf("%s: status %d: %s", c.cell, status, errOut.String())
		}
		if c.pid != 0 && (len(got) != 1 || got[c.pid] != "calm") || c.pid == 0 && len(got) != 0 {
			t.Errorf("%s: %v", c.cell, got)
		}
	}
}

func TestMissingRootIsNamed(t *testing.T) {
	status, _, errOut := run("run", "--kernel", "/proc/self/exe", "--rootfs", "/nonexistent", "--", "x")
	if status != statusFailed || errOut == "" {
		t.Errorf("status %d, %s", status, errOut)
	}
}

func TestCheckPrintsEveryRequirement(t *testing.T) {
	status, out, _ := run("check")
	if status != 0 && status != 1 {
		t.Errorf("status %d", status)
	}
	for _, want := range []string{"platform process", "host kernel", "protection keys", "isolation mpk", "isolation none"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}

func TestConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte("isolation = 'none'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, out, errOut := run("config", "--file", file, "--annotation", "io.paracell.memory=1G")
	for _, want := range []string{
		"isolation = \"none\" # " + file + "\n", "memory = \"1G\" # annotation\n", "vcpus = 1 # default\n",
	} {
		if status != 0 || !strings.Contains(out, want) {
			t.Errorf("status %d, %q is missing in\n%s%s", status, want, out, errOut)
		}
	}
	status, out, errOut = run("config", "--file", file, "--annotation", "io.paracell.isolation=mpk")
	if status != 1 || out != "" || !strings.Contains(errOut, "does not allow it") {
		t.Errorf("status %d, %s%s", status, out, errOut)
	}
}

func TestCheckReadsTheConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.toml")
	t.Setenv("PARACELL_CONFIG", file)
	if err := os.WriteFile(file, []byte("isolaton = 'none'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, out, _ := run("check")
	for _, want := range []string{"containers (" + file + ")\n  no   configuration", `did you mean "isolation"`, "files\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}
