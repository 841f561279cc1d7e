// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestGolden translates the specifications in testdata: what a cell's guest
// gets of them, what the host keeps and what is dropped.
func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.json")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("%v, %v", inputs, err)
	}
	for _, in := range inputs {
		config, err := os.ReadFile(in)
		if err != nil {
			t.Fatal(err)
		}
		b, err := parse(config, "/bundle", "box")
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		var out bytes.Buffer
		e := json.NewEncoder(&out)
		e.SetIndent("", "  ")
		if err := e.Encode(b.Spec); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "rootfs: %s\nmemory limit: %d\n", b.Rootfs, b.MemoryLimit)
		for _, v := range b.Volumes {
			fmt.Fprintf(&out, "volume: %+v\n", v)
		}
		for _, reason := range b.Ignored {
			fmt.Fprintf(&out, "ignored: %s\n", reason)
		}
		golden := strings.TrimSuffix(in, ".json") + ".golden"
		if *update {
			if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, out.Bytes()) {
			t.Errorf("%s is now\n%s", golden, out.Bytes())
		}
	}
}

func TestRefused(t *testing.T) {
	for want, bend := range map[string]func(*specs.Spec){
		"root.path is needed":         func(s *specs.Spec) { s.Root = nil },
		"process.args is needed":      func(s *specs.Spec) { s.Process.Args = nil },
		"no command":                  func(s *specs.Spec) { s.Process = nil },
		"linux is needed":             func(s *specs.Spec) { s.Linux = nil },
		"ociVersion \"2.0.0\"":        func(s *specs.Spec) { s.Version = "2.0.0" },
		"ociVersion is needed":        func(s *specs.Spec) { s.Version = "" },
		"an absolute path":            func(s *specs.Spec) { s.Process.Cwd = "tmp" },
		"does not exist":              func(s *specs.Spec) { s.Mounts[0].Source = "/no/such/file" },
		"type \"ext4\"":               func(s *specs.Spec) { s.Mounts[0] = specs.Mount{Destination: "/d", Type: "ext4", Source: "/dev/sda"} },
		"mount on \"d\"":              func(s *specs.Spec) { s.Mounts[0].Destination = "d" },
		"hooks.createContainer":       func(s *specs.Spec) { s.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/x"}}} },
		"use another action":          func(s *specs.Spec) { s.Linux.Seccomp = &specs.LinuxSeccomp{ListenerPath: "/s"} },
		"annotation " + sandboxMemory: func(s *specs.Spec) { s.Annotations = map[string]string{sandboxMemory: "1G"} },
	} {
		s := base()
		s.Mounts = []specs.Mount{{Destination: "/d", Type: "bind", Source: "/", Options: []string{"rbind"}}}
		bend(s)
		encoded, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parse(encoded, "/bundle", "c"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	for _, c := range []struct {
		annotation string
		limit      int64
		want       uint64
	}{
		{"", 0, 0}, {"", -1, 0}, {"", 4096, 4096}, {"8192", 4096, 8192}, {"0", 4096, 4096}, {"-1", 0, 0},
	} {
		r := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &c.limit}}
		if got, err := memoryLimit(map[string]string{sandboxMemory: c.annotation}, r); err != nil || got != c.want {
			t.Errorf("%+v: %d, %v", c, got, err)
		}
	}
	if got, err := memoryLimit(nil, nil); err != nil || got != 0 {
		t.Errorf("%d, %v", got, err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir, "c"); err == nil || !strings.Contains(err.Error(), "container c") {
		t.Errorf("no config.json: %v", err)
	}
	file := filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir, "c"); err == nil {
		t.Error("half a config.json is no error")
	}
	if err := os.Truncate(file, maxConfig+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir, "c"); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a large config.json: %v", err)
	}
}

func TestAddedProcess(t *testing.T) {
	got, err := Process([]byte(`{"user":{"uid":1,"gid":2},"args":["x"],"cwd":"/","apparmorProfile":"p","capabilities":{"effective":["CAP_CHOWN"]}}`))
	if err != nil || strings.Contains(string(got), "apparmor") || !strings.Contains(string(got), "CAP_CHOWN") {
		t.Errorf("%s, %v", got, err)
	}
	for _, bad := range []string{"", "{", `{"args":[]}`, `[]`} {
		if got, err := Process([]byte(bad)); err == nil {
			t.Errorf("%q: %s", bad, got)
		}
	}
}

func TestNewResources(t *testing.T) {
	host, got, err := Resources([]byte(`{"cpu":{"quota":5,"cpus":"0","burst":3},"memory":{"limit":1048576,"kernel":3},"blockIO":{"weight":10}}`))
	if want := `{"memory":{"limit":1048576},"cpu":{"quota":5},"unified":{"cpu.max.burst":"3"}}`; err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	} else if host.CPU.Cpus != "0" || *host.BlockIO.Weight != 10 {
		t.Errorf("%+v", host)
	}
}

func FuzzSpec(f *testing.F) {
	inputs, _ := filepath.Glob("testdata/*.json")
	for _, in := range inputs {
		b, err := os.ReadFile(in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, config []byte) {
		b, err := parse(config, "/bundle", "c")
		if err != nil {
			return
		}
		if _, err := b.Encode(); err != nil {
			t.Error(err)
		}
		b.CreateHooks()
		b.StartHooks()
	})
}

func FuzzProcess(f *testing.F) {
	f.Add([]byte(`{"user":{"uid":1,"gid":2},"args":["x"],"cwd":"/"}`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = Process(b)
		_, _, _ = Resources(b)
	})
}
