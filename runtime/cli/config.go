// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/paracell/paracell/runtime/config"
)

const configHelp = `paracell config - print the settings that containers in cells get

Usage:
  paracell config [--file FILE] [--annotation KEY=VALUE]...
  paracell config --keys

Reads the configuration file as the containerd shim does and prints every
setting with where it comes from, as a file that could take its place. With
--annotation it prints what a container with these annotations gets. Changes
nothing.

Flags:
  --file FILE              the file to read instead of the one that
                           PARACELL_CONFIG names, or /etc/paracell/config.toml
  --annotation KEY=VALUE   an annotation of the container, such as
                           io.paracell.memory=1G; may be repeated
  --keys                   describe the keys instead

Exit status:
  0 if the configuration is good, 1 with a message if it is not, 2 for a usage
  error.
`

func runConfig(args []string, stdout, _ io.Writer) (int, error) {
	var (
		file        string
		annotations stringList
		keys        bool
	)
	fs := newFlags("config")
	fs.StringVar(&file, "file", "", "")
	fs.Var(&annotations, "annotation", "")
	fs.BoolVar(&keys, "keys", false, "")
	if err := parseFlags(fs, args); err != nil {
		return statusUsage, err
	}
	if fs.NArg() != 0 {
		return statusUsage, usageError{fmt.Errorf("unexpected argument %q", fs.Arg(0))}
	}
	if keys {
		return 0, printKeys(stdout)
	}
	given := map[string]string{}
	for _, a := range annotations {
		k, v, ok := strings.Cut(a, "=")
		if !ok {
			return statusUsage, usageError{fmt.Errorf("--annotation %q: KEY=VALUE is needed", a)}
		}
		if !strings.HasPrefix(k, config.AnnotationPrefix) {
			return statusUsage, usageError{fmt.Errorf("--annotation %q: annotations that are settings begin with %s", a, config.AnnotationPrefix)}
		}
		given[k] = v
	}
	s, err := config.LoadFile(file)
	if err == nil {
		s, err = s.Annotate(given)
	}
	if err != nil {
		return 1, err
	}
	_, err = io.WriteString(stdout, s.String())
	return 0, err
}

// printKeys writes one paragraph per key.
func printKeys(w io.Writer) error {
	honour := map[config.Honour]string{
		config.HonourDefault: "allowed by default",
		config.HonourListed:  "only where the file allows it",
		config.HonourNever:   "never",
	}
	for _, k := range config.Keys() {
		_, err := fmt.Fprintf(w, "%s (%s: %s)\n    %s\n    by annotation: %s\n", k.Name, k.Kind, k.Values, k.Help, honour[k.Annotation])
		if err != nil {
			return err
		}
	}
	return nil
}
