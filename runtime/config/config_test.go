// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]uint64{
		"0": 0, "4096": 4096, "1K": 1 << 10, "512M": 512 << 20, "512m": 512 << 20, "2GiB": 2 << 30, "3GB": 3 << 30, "1T": 1 << 40,
		"18446744073709551615": 1<<64 - 1,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "M", "1X", "-1", "1.5G", "1MM", "1 M", "18446744073709551616", "99999999999T", "0x10", "1KM"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	f.Add("512M")
	f.Fuzz(func(_ *testing.T, s string) { _, _ = ParseSize(s) })
}

func TestEnvironment(t *testing.T) {
	c := Default()
	c.Env = []string{"A=1", "HOME=/h", "A=2", "B=x=y"}
	env := c.Environment()
	for _, want := range []string{"A=2", "HOME=/h", "B=x=y", defaultPath} {
		if !slices.Contains(env, want) {
			t.Errorf("%q is missing in %q", want, env)
		}
	}
	if len(env) != 5 {
		t.Errorf("environment %q", env)
	}
}

func TestValidate(t *testing.T) {
	good := Default()
	good.Rootfs, good.Args = "/root", []string{"true"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, bend := range map[string]func(*Cell){
		"a root is needed":     func(c *Cell) { c.Rootfs = "" },
		"exclude each other":   func(c *Cell) { c.Initramfs = "x" },
		"a command is needed":  func(c *Cell) { c.Args = nil },
		"archive's own":        func(c *Cell) { c.Rootfs, c.Initramfs = "", "x" },
		"an absolute path":     func(c *Cell) { c.Cwd = "tmp" },
		`"novalue": KEY=VALUE`: func(c *Cell) { c.Env = []string{"novalue"} },
		`"=x": KEY=VALUE`:      func(c *Cell) { c.Env = []string{"=x"} },
		"--cpus 0: a number":   func(c *Cell) { c.Vcpus = 0 },
		"at most 1 vCPU":       func(c *Cell) { c.Vcpus = 2 },
	} {
		c := good
		bend(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
