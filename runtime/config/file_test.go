// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadFile(t *testing.T) {
	if _, err := LoadFile(filepath.Join(t.TempDir(), "none.toml")); err == nil {
		t.Error("a named file that does not exist is no error")
	}
	t.Setenv(FileVariable, filepath.Join(t.TempDir(), "none.toml"))
	if _, err := LoadFile(""); err == nil {
		t.Error("a file that the environment names and does not exist is no error")
	}
	if _, err := LoadFile(t.TempDir()); err == nil || !strings.Contains(err.Error(), "regular") {
		t.Errorf("a folder: %v", err)
	}
	for text, want := range map[string]string{
		"":                               "",
		"# only a comment\n":             "",
		"isolation = 'none'\n":           "",
		"memory = '1G'\n":                "",
		"memory = 1073741824\n":          "",
		"vcpus = 1\n":                    "",
		"debug = true\n":                 "",
		"kernel = '/boot/k'\n":           "",
		"kernel_args = ['a=b', 'c']\n":   "",
		"annotations = []\n":             "",
		"annotations = ['kernel']\n":     "",
		"pager = 'off'\n":                "",
		"isolation = 'maybe'\n":          "one of auto",
		"isolation = 'some'\n":           "one of auto, mpk, pagetable, none is needed",
		"platform = 'xen'\n":             "one of auto, process, kvm is needed",
		"rewriting = true\n":             "",
		"rewriting = false\n":            "",
		"rewriting = 'yes'\n":            "a boolean is needed",
		"host_processes = 0\n":           "",
		"host_processes = 100\n":         "",
		"host_processes = 3\n":           "from 16 to 8191",
		"host_processes = 8192\n":        "from 16 to 8191",
		"memory = 'much'\n":              "a number",
		"memory = 0\n":                   "cannot be 0",
		"memory = -1\n":                  "a number",
		"memory = 1.5\n":                 "a size is needed",
		"isolaton = 'none'\n":            `did you mean "isolation"`,
		"kernel-args = []\n":             `did you mean "kernel_args"`,
		"colour = 'red'\n":               `unknown key "colour": keys are annotations,`,
		"vcpus = 'two'\n":                "a number is needed",
		"vcpus = 0\n":                    "from 1 on",
		"vcpus = 999\n":                  "at most",
		"debug = 1\n":                    "a boolean is needed",
		"kernel = 'k'\n":                 "absolute path",
		"kernel_args = 'a'\n":            "a list of strings is needed",
		"kernel_args = [1]\n":            "a list of strings is needed",
		"kernel_args = ['a b']\n":        "without spaces",
		"annotations = ['colour']\n":     "no key",
		"annotations = ['annotations']":  "in the file only",
		"[memory]\nsize = 1\n":           "a size is needed",
		"memory = \n":                    "line 1",
		"debug = true\nmemory = '1G\n":   "line 2",
		"memory = '1G'\nmemory = '2G'\n": "memory",
	} {
		path := writeFile(t, text)
		_, err := LoadFile(path)
		switch {
		case want == "" && err != nil, want != "" && err == nil:
			t.Errorf("%q: %v", text, err)
		case want != "" && (!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path)):
			t.Errorf("%q: %v; %q and the path are expected", text, err, want)
		case want != "" && strings.Contains(err.Error(), "\n"):
			t.Errorf("%q: more than a line: %v", text, err)
		}
	}
}

func TestAnnotate(t *testing.T) {
	base, err := LoadFile(writeFile(t, "memory = '256M'\nannotations = ['memory', 'kernel_args', 'debug']\n"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := base.Annotate(map[string]string{
		"io.paracell.memory": "128M", "io.paracell.kernel_args": " a=1  b ", "io.paracell.debug": "true",
		"somebody.else/key": "x", "io.kubernetes.cri.container-type": "sandbox",
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Memory != 128<<20 || !slices.Equal(s.KernelArgs, []string{"a=1", "b"}) || !s.Debug {
		t.Errorf("%+v", s)
	}
	if base.Memory != 256<<20 || base.KernelArgs != nil || base.annotated("memory") {
		t.Errorf("the host's settings have changed: %+v", base)
	}
	for annotation, want := range map[string]string{
		"io.paracell.memoy=1G":         `did you mean "memory"`,
		"io.paracell.=1":               "unknown key",
		"io.paracell.memory=much":      "a number",
		"io.paracell.debug=yes":        "true or false",
		"io.paracell.isolation=none":   "does not allow it",
		"io.paracell.kernel=/k":        "add \"kernel\" to annotations",
		"io.paracell.annotations=x":    "does not allow it",
		"io.paracell.kernel_args=\x00": "without spaces",
	} {
		name, value, _ := strings.Cut(annotation, "=")
		_, err := base.Annotate(map[string]string{name: value})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", annotation, err)
		}
	}
}

// TestSecurityRelevantKeys pins what users of containers can set on a host
// without a list.
func TestSecurityRelevantKeys(t *testing.T) {
	want := []string{"vcpus", "memory", "pager", "cold_cache", "rewriting"}
	if got := Defaults().Annotations; !slices.Equal(got, want) {
		t.Errorf("annotations may set %v by default, want %v", got, want)
	}
}

func TestStringIsAFile(t *testing.T) {
	for _, text := range []string{
		"", "isolation = 'none'\nmemory = '1G'\nkernel = '/a \"b\" \\\\c\u00e9'\nkernel_args = ['x=\"1\"', 'y']\nannotations = []\n",
	} {
		s, err := LoadFile(writeFile(t, text))
		if err != nil {
			t.Fatal(err)
		}
		again, err := LoadFile(writeFile(t, s.String()))
		if err != nil {
			t.Fatalf("%v\n%s", err, s)
		}
		strip := func(s *Settings) string {
			var b strings.Builder
			for line := range strings.Lines(s.String()) {
				b.WriteString(line[:strings.LastIndex(line, " # ")] + "\n")
			}
			return b.String()
		}
		if strip(s) != strip(again) {
			t.Errorf("%s\nis not\n%s", s, again)
		}
	}
}

func TestCellMemory(t *testing.T) {
	defer func(f func() (uint64, error)) { hostMemory = f }(hostMemory)
	hostMemory = func() (uint64, error) { return 8 << 30, nil }
	for _, c := range []struct {
		file, annotation string
		limit, want      uint64 // MiB; limit in KiB
		err              string
	}{
		{want: 512},
		{file: "memory = '1G'", want: 1024},
		{limit: 256 << 10, want: 256 + 64 + 5},
		{file: "memory = '1G'\nmemory_overhead = '32M'", limit: 100 << 10, want: 134},
		{limit: 100<<10 + 1, want: 166},
		{limit: 6 << 10, want: 71},
		{limit: 6<<10 - 1, err: "the minimum of a container in a cell is 6 MiB"},
		{annotation: "300M", limit: 100 << 10, want: 300},
		{annotation: "300M", want: 300},
		{annotation: "10M", err: "memory: 10M make a cell of 10 MiB: the minimum is 64 MiB"},
		{file: "memory_overhead = '1M'", limit: 6 << 10, err: "memory_overhead: 1M make a cell of 7 MiB"},
		{limit: 1 << 43, want: 8 << 10}, // more than the host has
		{limit: 1<<53 - 1, want: 8 << 10},
	} {
		s, err := LoadFile(writeFile(t, c.file))
		if err != nil {
			t.Fatal(err)
		}
		if c.annotation != "" {
			if s, err = s.Annotate(map[string]string{"io.paracell.memory": c.annotation}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.Cell("c", c.limit<<10)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v: %v", c, err)
			}
		} else if err != nil || got.Memory != c.want<<20 {
			t.Errorf("%+v: %d MiB, %v", c, got.Memory>>20, err)
		}
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte("isolation = 'none'\nmemory = '1G'\nkernel_args = ['a']\n"))
	f.Add([]byte("[a]\nb = [1, 2.5, 1979-05-27]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseFile(b, "fuzz")
		if err != nil {
			return
		}
		if _, err := parseFile([]byte(s.String()), "fuzz"); err != nil {
			t.Errorf("%q becomes %q: %v", b, s, err)
		}
	})
}

func FuzzAnnotation(f *testing.F) {
	for _, k := range keys {
		f.Add(AnnotationPrefix+k.Name, "1G")
	}
	base := Defaults()
	base.Annotations = nil
	for _, k := range keys {
		base.Annotations = append(base.Annotations, k.Name)
	}
	f.Fuzz(func(_ *testing.T, name, text string) {
		if s, err := base.Annotate(map[string]string{name: text}); err == nil {
			_, _ = s.Cell("fuzz", 0)
		}
	})
}
