// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

var update = flag.Bool("update", false, "write docs/oci.md and the golden files anew")

// TestEveryFieldIsInTheTable fails when the specification gets a new field.
func TestEveryFieldIsInTheTable(t *testing.T) {
	have := map[string]bool{}
	for _, f := range fields {
		if f.Leaves == "" {
			have[f.Path] = true
		}
		for _, leaf := range strings.Fields(f.Leaves) {
			have[f.Path+"."+leaf] = true
		}
		if f.How == "" {
			t.Errorf("%s: the table does not say how", f.Path)
		}
	}
	used := map[string]bool{}
	leaves(specType, "", func(path string) {
		root, _, _ := strings.Cut(path, ".")
		if all := root + "." + foreign; have[all] {
			path = all
		}
		if !have[path] {
			t.Errorf("%s is not in the table: decide what becomes of it", path)
		}
		used[path] = true
	})
	for path := range have {
		if !used[path] {
			t.Errorf("%s is in the table and not in the specification", path)
		}
	}
}

// base is the smallest specification that can be carried out.
func base() *specs.Spec {
	return &specs.Spec{
		Version: "1.2.0",
		Process: &specs.Process{Args: []string{"true"}, Cwd: "/"},
		Root:    &specs.Root{Path: "/rootfs"},
		Linux:   &specs.Linux{},
	}
}

// set gives the field at a path below v some value.
func set(v reflect.Value, path string) {
	for path != "" || v.Kind() == reflect.Pointer {
		switch {
		case v.Kind() == reflect.Pointer:
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		case strings.HasPrefix(path, "[]"):
			if v.Len() == 0 {
				v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			}
			v, path = v.Index(0), strings.TrimPrefix(path[2:], ".")
		case strings.HasPrefix(path, "{}"):
			e := reflect.New(v.Type().Elem()).Elem()
			set(e, strings.TrimPrefix(path[2:], "."))
			v.Set(reflect.MakeMap(v.Type()))
			v.SetMapIndex(reflect.ValueOf("monotonic"), e)
			return
		default:
			name := path
			if i := strings.IndexAny(path, ".[{"); i >= 0 {
				name = path[:i]
			}
			found := false
			for i := range v.NumField() {
				f := v.Type().Field(i)
				tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				if tag == "" { // embedded
					if _, ok := f.Type.FieldByNameFunc(func(n string) bool { return strings.EqualFold(n, name) }); ok {
						v, found = v.Field(i), true
						break
					}
				}
				if tag == name {
					v, found = v.Field(i), true
					path = strings.TrimPrefix(path[len(name):], ".")
					break
				}
			}
			if !found {
				panic("no field " + path)
			}
		}
	}
	fill(v)
}

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		e := reflect.New(v.Type().Elem()).Elem()
		fill(e)
		v.SetMapIndex(reflect.ValueOf("x"), e)
	default:
		panic(v.Type().String())
	}
}

// TestFateOfEveryField sets one field after the other and looks at what
// becomes of it.
func TestFateOfEveryField(t *testing.T) {
	for _, f := range fields {
		for _, leaf := range append(strings.Fields(f.Leaves), "") {
			path := f.Path
			switch {
			case leaf == foreign:
			case leaf != "":
				path += "." + leaf
			case f.Leaves != "":
				continue
			}
			t.Run(path, func(t *testing.T) { checkFate(t, f, path) })
		}
	}
}

func checkFate(t *testing.T, f Field, path string) {
	s := base()
	if strings.HasSuffix(path, foreign) || slices.Contains([]string{"solaris", "windows", "vm", "zos", "freebsd"}, path) {
		v := reflect.ValueOf(s).Elem()
		for i := range v.NumField() {
			if tag, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ","); tag == f.Path {
				v.Field(i).Set(reflect.New(v.Field(i).Type().Elem()))
			}
		}
	} else {
		set(reflect.ValueOf(s).Elem(), path)
	}
	// Fields that need sensible values beside them.
	switch {
	case path == "ociVersion":
		s.Version = "1.2.1"
	case path == "process.cwd":
		s.Process.Cwd = "/x"
	case strings.HasPrefix(path, "mounts[]"):
		m := &s.Mounts[0]
		m.Destination, m.Type, m.Source = "/mnt", "tmpfs", "x"
	case strings.HasPrefix(path, "linux.devices[]"):
		d := &s.Linux.Devices[0]
		d.Type, d.Major, d.Minor = "c", 1, 3
	case path == "linux.namespaces[].path":
		s.Linux.Namespaces[0].Type = specs.IPCNamespace
	}
	encoded, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	b, err := parse(encoded, "/bundle", "c")
	name := strings.TrimRight(f.Path, "[]{}")
	if f.Fate == Refused {
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), f.How) {
			t.Fatalf("refused, and the error is %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	ignored := slices.ContainsFunc(b.Ignored, func(r string) bool { return strings.HasPrefix(r, name+": ") })
	if ignored != (f.Fate == Ignored) {
		t.Errorf("%s, and the list of ignored fields is %q", f.Fate, b.Ignored)
	}
	guest, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	plain, err := json.Marshal(base())
	if err != nil {
		t.Fatal(err)
	}
	none, err := parse(plain, "/bundle", "c")
	if err != nil {
		t.Fatal(err)
	}
	without, err := none.Encode()
	if err != nil {
		t.Fatal(err)
	}
	seen := string(guest) != string(without)
	switch {
	case slices.Contains([]string{"ociVersion", "linux.namespaces[].path"}, path):
		// Always there, and with the other field.
	case seen != (f.Fate == Guest || f.Fate == Both):
		t.Errorf("%s, and the guest gets\n%s\nwithout it\n%s", f.Fate, guest, without)
	}
}

// TestDocumentedFields compares the table of docs/oci.md with the code's.
func TestDocumentedFields(t *testing.T) {
	const doc = "../../docs/oci.md"
	b, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- fields: begin -->\n", "<!-- fields: end -->"
	head, rest, _ := strings.Cut(string(b), begin)
	table, tail, ok := strings.Cut(rest, end)
	if !ok {
		t.Fatal("docs/oci.md has no table of fields")
	}
	var want strings.Builder
	want.WriteString("| field | where | how, or why not |\n|---|---|---|\n")
	for _, f := range fields {
		path := "`" + f.Path + "`"
		if f.Leaves != "" && f.Leaves != foreign {
			path += ": " + strings.Join(strings.Fields(f.Leaves), ", ")
		}
		fmt.Fprintf(&want, "| %s | %s | %s |\n", path, f.Fate, f.How)
	}
	if *update {
		if err := os.WriteFile(doc, []byte(head+begin+want.String()+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if table != want.String() {
		t.Errorf("docs/oci.md is not current: go test ./runtime/bundle -update\n%s", want.String())
	}
}
