// SPDX-License-Identifier: Apache-2.0

package emulated

import (
	"strings"
	"testing"
)

func TestDemux(t *testing.T) {
	const mark = "\x1ebeef "
	stream := mark + "start\none\x1e two\x1ebee three\n" + mark + "exit 42\nafter"
	for size := 1; size <= len(stream); size++ {
		var sink strings.Builder
		ended := 0
		d := &demux{mark: []byte(mark), sink: &sink, ended: func() { ended++ }}
		for rest := stream; rest != ""; {
			n := min(size, len(rest))
			if got, err := d.Write([]byte(rest[:n])); got != n || err != nil {
				t.Fatalf("Write = %d, %v", got, err)
			}
			rest = rest[n:]
		}
		d.flush()
		if got, want := sink.String(), "one\x1e two\x1ebee three\n"; got != want || d.output.String() != want {
			t.Errorf("pieces of %d: output %q, want %q", size, got, want)
		}
		if !d.done || d.code != 42 || ended != 1 || d.boot == 0 {
			t.Errorf("pieces of %d: done %t, code %d, ended %d times, boot %v", size, d.done, d.code, ended, d.boot)
		}
	}
}

func TestDemuxWithoutEnd(t *testing.T) {
	d := &demux{mark: []byte("\x1ebeef ")}
	d.Write([]byte("cut short \x1ebee"))
	d.flush()
	if d.done || d.output.String() != "cut short \x1ebee" {
		t.Errorf("done %t, output %q", d.done, d.output.String())
	}
}

func TestNewest(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  string
	}{
		{nil, ""},
		{[]string{"lock", "tmp-1", "linux-image-6.12.9+deb12-amd64"}, ""},
		{[]string{"linux-image-6.12.99+deb12-cloud-amd64", "linux-image-6.12.117+deb12-cloud-amd64", "linux-image-6.12.117+deb12-cloud-amd64-unsigned"},
			"linux-image-6.12.117+deb12-cloud-amd64"},
	} {
		if got := newest(c.names); got != c.want {
			t.Errorf("newest(%q) = %q, want %q", c.names, got, c.want)
		}
	}
}

func TestQuote(t *testing.T) {
	if got := quote(`it's "$x"`); got != `'it'\''s "$x"'` {
		t.Errorf("quote: %s", got)
	}
}
