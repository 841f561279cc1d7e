// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Settings are what can be configured about cells: by the administrator in the
// configuration file, and by the user of a container in annotations.
type Settings struct {
	Platform       string
	Isolation      string
	Vcpus          int
	Memory         uint64
	MemoryOverhead uint64
	Kernel         string
	KernelArgs     []string
	Debug          bool
	Pager          string
	ColdCache      bool
	Rewriting      bool
	HostProcesses  int
	// Annotations are the keys that annotations may set.
	Annotations []string

	// sources says where a key was set; absent means nowhere.
	sources map[string]string
}

// Key is one setting.
type Key struct {
	// Name is the key in the file and, after AnnotationPrefix, of the
	// annotation.
	Name string
	// Kind of its value.
	Kind Kind
	// Values says in words what is allowed.
	Values string
	// Help is one sentence.
	Help string
	// Annotation says whether an annotation may set it.
	Annotation Honour

	set func(s *Settings, v value) error
	get func(s *Settings) value
}

// Kind is the type of a value.
type Kind string

// Kinds. A size is written as a string with a suffix, in annotations as well.
const (
	KindString  Kind = "string"
	KindSize    Kind = "size"
	KindNumber  Kind = "number"
	KindBoolean Kind = "boolean"
	KindList    Kind = "list of strings"
)

// Honour says whether an annotation may set a key.
type Honour int

// Keys of annotations.
const (
	// HonourListed: only if the file lists it.
	HonourListed Honour = iota
	// HonourDefault: unless the file has a list without it.
	HonourDefault
	// HonourNever: the file only.
	HonourNever
)

// value is the text of a value, or the texts of a list.
type value struct {
	text string
	list []string
}

// maxVcpus is the largest number of vCPUs that this build can run.
const maxVcpus = 1

// vcpuError says what is wrong with a number of vCPUs.
func vcpuError(n int) error {
	switch {
	case n < 1:
		return fmt.Errorf("%d: a number from 1 on is needed", n)
	case n > maxVcpus:
		return fmt.Errorf("%d: this build runs cells with at most %d vCPU: use a number up to that", n, maxVcpus)
	}
	return nil
}

// Keys are all settings, in the order of the documentation.
func Keys() []Key { return slices.Clone(keys) }

var keys = []Key{
	choice("platform", "what runs a cell's processors", HonourListed,
		func(s *Settings) *string { return &s.Platform }, "auto", "process", "kvm"),
	choice("isolation", "what separates a cell's user from the cell's own kernel", HonourListed,
		func(s *Settings) *string { return &s.Isolation }, "auto", "mpk", "pagetable", "none"),
	{
		Name: "vcpus", Kind: KindNumber, Values: fmt.Sprintf("1 to %d", maxVcpus),
		Help: "number of virtual processors of a cell", Annotation: HonourDefault,
		set: func(s *Settings, v value) error {
			n, err := strconv.Atoi(v.text)
			if err != nil {
				return fmt.Errorf("%q: a number from 1 on is needed", v.text)
			}
			if err := vcpuError(n); err != nil {
				return err
			}
			s.Vcpus = n
			return nil
		},
		get: func(s *Settings) value { return value{text: strconv.Itoa(s.Vcpus)} },
	},
	size("memory", "memory of a cell whose container has no limit; as an annotation: of the cell, whatever the limit", HonourDefault,
		func(s *Settings) *uint64 { return &s.Memory }),
	size("memory_overhead", "what a cell gets beyond the limit of its container, for the guest's kernel and agent", HonourListed,
		func(s *Settings) *uint64 { return &s.MemoryOverhead }),
	{
		Name: "kernel", Kind: KindString, Values: "absolute path",
		Help: "guest kernel; empty means paracell-kernel beside the shim", Annotation: HonourListed,
		set: func(s *Settings, v value) error {
			if v.text != "" && !filepath.IsAbs(v.text) {
				return fmt.Errorf("%q: an absolute path is needed", v.text)
			}
			s.Kernel = v.text
			return nil
		},
		get: func(s *Settings) value { return value{text: s.Kernel} },
	},
	{
		Name: "kernel_args", Kind: KindList, Values: "words",
		Help: "added to the guest kernel's command line", Annotation: HonourListed,
		set: func(s *Settings, v value) error {
			for _, word := range v.list {
				if word == "" || strings.ContainsAny(word, " \t\n\x00") {
					return fmt.Errorf("%q: words without spaces are needed", word)
				}
			}
			s.KernelArgs = v.list
			return nil
		},
		get: func(s *Settings) value { return value{list: s.KernelArgs} },
	},
	boolean("debug", "the guest's console, with its kernel's log, goes to containerd's log", HonourListed,
		func(s *Settings) *bool { return &s.Debug }),
	choice("pager", "how the memory of a cell follows its demand", HonourDefault,
		func(s *Settings) *string { return &s.Pager }, "off", "page", "calm", "huge", "report", "report4k", "none"),
	boolean("cold_cache", "an idle cell gives page cache back that it has not used for long; needs a pager", HonourDefault,
		func(s *Settings) *bool { return &s.ColdCache }),
	boolean("rewriting", "system-call instructions of programs become jumps to the gate", HonourDefault,
		func(s *Settings) *bool { return &s.Rewriting }),
	processesKey,
	{
		Name: "annotations", Kind: KindList, Values: "keys of this table",
		Help: "keys that annotations may set", Annotation: HonourNever,
		set: func(s *Settings, v value) error {
			for _, name := range v.list {
				k, ok := find(name)
				if !ok {
					return fmt.Errorf("%q is no key: keys are %s", name, names())
				}
				if k.Annotation == HonourNever {
					return fmt.Errorf("%q can be set in the file only", name)
				}
			}
			s.Annotations = v.list
			return nil
		},
		get: func(s *Settings) value { return value{list: s.Annotations} },
	},
}

// init closes the cycle keys -> find -> keys.
func init() {
	byName = map[string]Key{}
	for _, k := range keys {
		byName[k.Name] = k
	}
}

var byName map[string]Key

func find(name string) (Key, bool) {
	k, ok := byName[name]
	return k, ok
}

func names() string {
	var all []string
	for name := range byName {
		all = append(all, name)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// unknown is the error of a key that is not there.
func unknown(name string) error {
	for known := range byName {
		if near(name, known) {
			return fmt.Errorf("unknown key %q: did you mean %q? Keys are %s", name, known, names())
		}
	}
	return fmt.Errorf("unknown key %q: keys are %s", name, names())
}

// near says whether two words differ by a letter, or two that are exchanged, or
// in what stands between words only.
func near(a, b string) bool {
	plain := strings.NewReplacer("_", "", "-", "", ".", "")
	a, b = plain.Replace(strings.ToLower(a)), plain.Replace(strings.ToLower(b))
	if a == b {
		return true
	}
	start := 0
	for start < len(a) && start < len(b) && a[start] == b[start] {
		start++
	}
	for len(a) > start && len(b) > start && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	a, b = a[start:], b[start:]
	swapped := len(a) == 2 && len(b) == 2 && a[0] == b[1] && a[1] == b[0]
	return len(a) <= 1 && len(b) <= 1 || swapped
}

func choice(name, help string, honour Honour, field func(*Settings) *string, values ...string) Key {
	return Key{
		Name: name, Kind: KindString, Values: strings.Join(values, ", "), Help: help, Annotation: honour,
		set: func(s *Settings, v value) error {
			if !slices.Contains(values, v.text) {
				return fmt.Errorf("%q: one of %s is needed", v.text, strings.Join(values, ", "))
			}
			*field(s) = v.text
			return nil
		},
		get: func(s *Settings) value { return value{text: *field(s)} },
	}
}

func boolean(name, help string, honour Honour, field func(*Settings) *bool) Key {
	return Key{
		Name: name, Kind: KindBoolean, Values: "true, false", Help: help, Annotation: honour,
		set: func(s *Settings, v value) error {
			if v.text != "true" && v.text != "false" {
				return fmt.Errorf("%q: true or false is needed", v.text)
			}
			*field(s) = v.text == "true"
			return nil
		},
		get: func(s *Settings) value { return value{text: strconv.FormatBool(*field(s))} },
	}
}

func size(name, help string, honour Honour, field func(*Settings) *uint64) Key {
	return Key{
		Name: name, Kind: KindSize, Values: "bytes, with suffix K, M or G", Help: help, Annotation: honour,
		set: func(s *Settings, v value) error {
			n, err := ParseSize(v.text)
			if err != nil {
				return err
			}
			if n == 0 {
				return errors.New("it cannot be 0")
			}
			*field(s) = n
			return nil
		},
		get: func(s *Settings) value { return value{text: FormatSize(*field(s))} },
	}
}
