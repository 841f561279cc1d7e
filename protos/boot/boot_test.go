// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"reflect"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	s := &Spec{Args: []string{"sh", "-c", "\x01\"\n"}, Env: []string{"A=b"}, Cwd: "/", Hostname: "h"}
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(b)
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRefuses(t *testing.T) {
	for _, s := range []*Spec{{}, {Args: []string{""}, Cwd: "/"}, {Args: []string{"x"}}, {Args: []string{"x"}, Cwd: "tmp"}} {
		if _, err := s.Encode(); err == nil {
			t.Errorf("%+v was accepted", s)
		}
	}
	for _, b := range []string{"", "{}", "[]", `{"args":["x"],"cwd":1}`} {
		if s, err := Decode([]byte(b)); err == nil {
			t.Errorf("%s: %+v", b, s)
		}
	}
}
