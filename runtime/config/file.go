// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

const (
	// FilePath is the configuration of the runtime on a host.
	FilePath = "/etc/paracell/config.toml"
	// FileVariable names an environment variable with another path.
	FileVariable = "PARACELL_CONFIG"
	// AnnotationPrefix is what annotations that are settings begin with.
	AnnotationPrefix = "io.paracell."
	// maxFile bounds the configuration file, in bytes.
	maxFile = 1 << 20
)

// Defaults are the settings of a host without a configuration file.
func Defaults() *Settings {
	s := &Settings{
		Platform: "auto", Isolation: DefaultIsolation, Vcpus: 1,
		Memory: DefaultMemory, MemoryOverhead: DefaultOverhead, Pager: DefaultPager, Rewriting: true,
		sources: map[string]string{},
	}
	for _, k := range keys {
		if k.Annotation == HonourDefault {
			s.Annotations = append(s.Annotations, k.Name)
		}
	}
	return s
}

// Path is where LoadFile looks for the configuration. It has to be there if it is
// named by the caller or the environment.
func Path(explicit string) (path string, named bool) {
	if explicit != "" {
		return explicit, true
	}
	if path = os.Getenv(FileVariable); path != "" {
		return path, true
	}
	return FilePath, false
}

// LoadFile reads the configuration file: explicit if it is not empty, else the
// one that the environment names, else FilePath. Only the last may be missing.
func LoadFile(explicit string) (*Settings, error) {
	path, named := Path(explicit)
	b, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return Defaults(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	s, err := parseFile(b, path)
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	return s, nil
}

func readFile(path string) ([]byte, error) {
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !fi.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case fi.Size() > maxFile:
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return os.ReadFile(path)
}

// Parse reads the content of a configuration file; source names it in messages.
func Parse(b []byte, source string) (*Settings, error) {
	s, err := parseFile(b, source)
	if err != nil {
		return nil, fmt.Errorf("configuration in %s: %w", source, err)
	}
	return s, nil
}

func parseFile(b []byte, source string) (*Settings, error) {
	var table map[string]any
	if err := toml.Unmarshal(b, &table); err != nil {
		var bad *toml.DecodeError
		if errors.As(err, &bad) {
			line, _ := bad.Position()
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		return nil, err
	}
	s := Defaults()
	for _, name := range sorted(table) {
		k, ok := find(name)
		if !ok {
			return nil, unknown(name)
		}
		v, err := k.fromTOML(table[name])
		if err == nil {
			err = k.set(s, v)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		s.sources[name] = source
	}
	return s, nil
}

// fromTOML checks the type of a value.
func (k Key) fromTOML(v any) (value, error) {
	switch v := v.(type) {
	case string:
		if k.Kind == KindString || k.Kind == KindSize {
			return value{text: v}, nil
		}
	case int64:
		if k.Kind == KindNumber || k.Kind == KindSize {
			return value{text: strconv.FormatInt(v, 10)}, nil
		}
	case bool:
		if k.Kind == KindBoolean {
			return value{text: strconv.FormatBool(v)}, nil
		}
	case []any:
		if k.Kind != KindList {
			break
		}
		list := []string{}
		for _, e := range v {
			text, ok := e.(string)
			if !ok {
				return value{}, fmt.Errorf("%v is no string: a %s is needed", e, k.Kind)
			}
			list = append(list, text)
		}
		return value{list: list}, nil
	}
	return value{}, fmt.Errorf("%v: a %s is needed", v, k.Kind)
}

// Annotate returns the settings of a container with these annotations. Those
// without AnnotationPrefix are somebody else's.
func (s *Settings) Annotate(annotations map[string]string) (*Settings, error) {
	out := *s
	out.sources = map[string]string{}
	for name, source := range s.sources {
		out.sources[name] = source
	}
	for _, full := range sorted(annotations) {
		name, ours := strings.CutPrefix(full, AnnotationPrefix)
		if !ours {
			continue
		}
		k, ok := find(name)
		if !ok {
			return nil, fmt.Errorf("annotation %s: %w", full, unknown(name))
		}
		if k.Annotation == HonourNever || !slices.Contains(s.Annotations, name) {
			return nil, fmt.Errorf("annotation %s: the configuration of this host does not allow it (allowed: %s): take it away, or let the administrator add %q to annotations in %s",
				full, allowed(s.Annotations), name, FilePath)
		}
		v := value{text: annotations[full]}
		if k.Kind == KindList {
			v = value{list: strings.Fields(v.text)}
		}
		if err := k.set(&out, v); err != nil {
			return nil, fmt.Errorf("annotation %s: %w", full, err)
		}
		out.sources[name] = annotationSource
	}
	return &out, nil
}

const annotationSource = "annotation"

func allowed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// annotated says whether an annotation has set a key.
func (s *Settings) annotated(name string) bool { return s.sources[name] == annotationSource }

// String is the settings as a configuration file, each with its source.
func (s *Settings) String() string {
	var b strings.Builder
	for _, k := range keys {
		source := s.sources[k.Name]
		if source == "" {
			source = "default"
		}
		fmt.Fprintf(&b, "%s = %s # %s\n", k.Name, k.toTOML(k.get(s)), source)
	}
	return b.String()
}

func (k Key) toTOML(v value) string {
	switch k.Kind {
	case KindNumber, KindBoolean:
		return v.text
	case KindList:
		var quoted []string
		for _, e := range v.list {
			quoted = append(quoted, quote(e))
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	default:
		return quote(v.text)
	}
}

// quote is a TOML string.
func quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, "\\u%04X", r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func sorted[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
