// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	t.Setenv(FileVariable, path)
	if _, err := LoadFile(); err == nil {
		t.Error("a named file that does not exist is no error")
	}
	for text, want := range map[string]string{
		"":                      "",
		"isolation = 'none'\n":  "",
		"memory = '1G'\n":       "",
		"isolation = 'maybe'\n": "auto, mpk or none",
		"memory = 'much'\n":     "a number",
		"isolaton = 'none'\n":   "isolaton",
		"vcpus = 'two'\n":       "Vcpus",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadFile()
		if (err == nil) != (want == "") || err != nil && !(strings.Contains(err.Error(), want) && strings.Contains(err.Error(), path)) {
			t.Errorf("%q: %v", text, err)
		}
	}
	c, err := (&File{Isolation: "none", Memory: "1G", Vcpus: 2}).Cell("x")
	if err != nil || c.Isolation != "none" || c.Memory != 1<<30 || c.Vcpus != 2 || !c.Agent || c.Name != "x" {
		t.Errorf("%+v, %v", c, err)
	}
}
