// SPDX-License-Identifier: Apache-2.0

package service

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestProgramOfAnotherArchitecture(t *testing.T) {
	root := t.TempDir()
	header := func(class, data byte, machine string) string {
		return "\x7fELF" + string([]byte{class, data, 1}) + strings.Repeat("\x00", 9) + "\x02\x00" + machine + strings.Repeat("\x00", 40)
	}
	for name, content := range map[string]string{
		"bin/arm": header(2, 1, "\xb7\x00"), "bin/s390": header(2, 2, "\x00\x16"), "bin/i386": header(1, 1, "\x03\x00"), "bin/own": header(2, 1, "\x3e\x00"),
		"bin/script": "#! /bin/arm -x\n", "bin/good": "#!/bin/own\n", "bin/lost": "#!/no/such\n", "bin/odd": "#!", "bin/empty": "", "bin/text": "hello",
	} {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	outside := filepath.Join(t.TempDir(), "arm")
	if err := os.WriteFile(outside, []byte(header(2, 1, "\xb7\x00")), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"bin/link": "/bin/arm", "bin/out": outside, "bin/up": "../../../../../../" + outside, "bin/loop": "loop"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(root, "bin/fifo"), 0o755); err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=/no:/bin"}
	for args, want := range map[string]string{
		"/bin/arm": "AARCH64", "arm": "AARCH64", "./arm": "AARCH64", "s390": "S390", "i386": "386", "script": "/bin/arm is", "link": "AARCH64",
		"own": "", "good": "", "lost": "", "odd": "", "empty": "", "text": "", "none": "", "/bin": "", "fifo": "", "out": "", "up": "", "loop": "", "": "",
	} {
		err := checkProgram(root, &specs.Process{Args: []string{args}, Env: env, Cwd: "/bin"})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", args, err, want)
		}
	}
	if err := checkProgram("/no/such/root", &specs.Process{Args: []string{"x"}}); err != nil {
		t.Error(err)
	}
}
