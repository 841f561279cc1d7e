// SPDX-License-Identifier: Apache-2.0

package figures

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sample(cell string, n uint64) Sample {
	return Sample{
		Time: time.Unix(1_700_000_000, 5e8+int64(n)).UTC(), Cell: cell, Pid: 7, Policy: "page", Resident: n << 20, Used: 1 << 20, FreeBound: 3,
		GateCalls: 4, RawCalls: 5, Faults: 6, Bound: 7, Unbound: 8, Taken: 9, BindNs: 10, UnbindNs: 11,
	}
}

func TestServe(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cells")
	for _, name := range []string{"b", "a/../x", "a/../x"} {
		s, err := Serve(dir, name, Control{Take: func() Sample { return sample(name, 2) }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
	}
	// A socket of a process that was killed.
	dead := filepath.Join(dir, "9-dead")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	w := Watch(dir)
	defer w.Close()
	for range 3 {
		got, err := w.Samples()
		if err != nil || len(got) != 3 || got[2] != sample("b", 2) {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if _, err := os.Lstat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Error("the dead socket is still there")
	}
}

func TestSetPager(t *testing.T) {
	dir := t.TempDir()
	var policies []string
	for _, name := range []string{"a", "b"} {
		s, err := Serve(dir, name, Control{Take: func() Sample { return sample(name, 1) }, SetPager: func(policy string) error {
			if policy == "odd" {
				return errors.New("no such policy")
			}
			policies = append(policies, name+" "+policy)
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
	}
	w := Watch(dir)
	defer w.Close()
	b := sample("b", 1)
	if err := w.SetPager(&b, "calm"); err == nil {
		t.Error("a cell that nobody knows was told something")
	}
	if got, err := w.Samples(); len(got) != 2 || err != nil {
		t.Fatal(got, err)
	}
	if err := w.SetPager(&b, "calm"); err != nil || len(policies) != 1 || policies[0] != "b calm" {
		t.Error(err, policies)
	}
	for _, policy := range []string{"odd", "a\nb", strings.Repeat("a", 100)} {
		if err := w.SetPager(&b, policy); err == nil {
			t.Errorf("%q was taken", policy)
		}
	}
	// It still answers.
	if got, err := w.Samples(); len(got) != 2 || err != nil {
		t.Error(got, err)
	}
}

// TestOddRequests: what is no request ends the connection or is answered as such.
func TestOddRequests(t *testing.T) {
	dir := t.TempDir()
	s, err := Serve(dir, "x", Control{Take: func() Sample { return sample("x", 1) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, c := range []struct{ line, want string }{
		{"hello\n", `{"Error":"request \"hello\" is not known"}` + "\n"},
		{"pager page\n", `{"Error":"the policy of its pager cannot be changed"}` + "\n"},
		{strings.Repeat("x", 1000), ""},
	} {
		conn, err := net.Dial("unix", s.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, c.line); err != nil {
			t.Fatal(err)
		}
		if u := conn.(*net.UnixConn); u.CloseWrite() != nil {
			t.Fatal("close")
		}
		if got, _ := io.ReadAll(conn); string(got) != c.want {
			t.Errorf("%.20q: %q", c.line, got)
		}
		conn.Close()
	}
}

func TestCloseRemovesSocket(t *testing.T) {
	dir := t.TempDir()
	s, err := Serve(dir, "x", Control{Take: func() Sample { return sample("x", 1) }})
	if err != nil {
		t.Fatal(err)
	}
	w := Watch(dir)
	defer w.Close()
	if got, _ := w.Samples(); len(got) != 1 {
		t.Fatal(got)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if got, err := w.Samples(); len(got) != 0 || err != nil {
		t.Error(got, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Error(left)
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	// No process has a number above /proc/sys/kernel/pid_max, at most 2^22.
	dead, odd := filepath.Join(dir, "5000000-cell"), filepath.Join(dir, "readme")
	for _, p := range []string{dead, odd} {
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Serve(dir, "x", Control{Take: func() Sample { return sample("x", 1) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := os.Stat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Error("the socket of a dead process is still there")
	}
	if _, err := os.Stat(odd); err != nil {
		t.Error(err)
	}
}

func TestNoCells(t *testing.T) {
	w := Watch(filepath.Join(t.TempDir(), "none"))
	if got, err := w.Samples(); len(got) != 0 || err != nil {
		t.Error(got, err)
	}
}

func TestCSV(t *testing.T) {
	want := []Sample{sample("a", 1), sample(`odd "name", really`, 2)}
	var b bytes.Buffer
	c := NewCSV(&b)
	for _, s := range want {
		if err := c.Write(s); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadCSV(&b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, text := range []string{"a,b\n", "time\n", strings.Join(columns, ",") + "\n1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"} {
		if got, err := ReadCSV(strings.NewReader(text)); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestPlot(t *testing.T) {
	for _, samples := range [][]Sample{nil, {sample("<one>", 1)}, {sample("<one>", 1), sample("<one>", 20), sample("two", 9)}} {
		var b bytes.Buffer
		if err := Memory(samples).WriteSVG(&b); err != nil {
			t.Fatal(err)
		}
		d := xml.NewDecoder(&b)
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestWaste(t *testing.T) {
	s := Sample{Resident: 110, Used: 100}
	if w := s.Waste(); w < 0.0999 || w > 0.1001 {
		t.Error(w)
	}
	if w := (&Sample{Resident: 5}).Waste(); w != 0 {
		t.Error(w)
	}
}
