// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/containerd/log"
	"github.com/sirupsen/logrus"

	"github.com/paracell/paracell/internal/leakcheck"
)

func TestMain(m *testing.M) { leakcheck.Main(m) }

// logged is what a console makes of some bytes, one JSON object per line.
func logged(t *testing.T, write func(*console)) (lines []map[string]any, c *console) {
	t.Helper()
	var b bytes.Buffer
	logger := logrus.New()
	logger.SetOutput(&b)
	logger.SetLevel(logrus.DebugLevel)
	logger.SetFormatter(&logrus.JSONFormatter{})
	c = newConsole(log.WithLogger(context.Background(), logrus.NewEntry(logger)))
	write(c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		lines = append(lines, object)
	}
	return lines, c
}

func TestConsole(t *testing.T) {
	lines, c := logged(t, func(c *console) {
		fmt.Fprint(c, "[    0.1] Linux\r\n\n\x1b[31mred\x00\n")
		agent := slog.New(slog.NewJSONHandler(c, nil))
		agent.Warn("odd", "container", "c1")
		agent.Error("cannot go on", "error", fmt.Errorf("no\nmemory"))
		fmt.Fprint(c, `{"level":"ERROR"}`+"\n"+`{"broken`+"\nno end of line")
	})
	want := []struct{ level, msg, component, field, value string }{
		{"info", "[    0.1] Linux", "guest", "", ""},
		{"info", "?[31mred?", "guest", "", ""},
		{"warning", "odd", "agent", "agent.container", "c1"},
		{"error", "cannot go on", "agent", "error", "no?memory"},
		{"info", `{"level":"ERROR"}`, "guest", "", ""},
		{"info", `{"broken`, "guest", "", ""},
		{"info", "no end of line", "guest", "", ""},
	}
	if len(lines) != len(want) {
		t.Fatalf("%d lines: %v", len(lines), lines)
	}
	for i, w := range want {
		l := lines[i]
		if l["level"] != w.level || l["msg"] != w.msg || l["component"] != w.component || w.field != "" && l[w.field] != w.value {
			t.Errorf("%v, want %v", l, w)
		}
	}
	if got := c.failure(); got != "cannot go on: no?memory" {
		t.Errorf("failure %q", got)
	}
}

// TestConsoleForgery: a guest cannot set fields that the host sets.
func TestConsoleForgery(t *testing.T) {
	lines, _ := logged(t, func(c *console) {
		fmt.Fprintln(c, `{"level":"INFO","msg":"x","component":"shim","time":"never","id":"other","msg2":{"a":1}}`)
	})
	if len(lines) != 1 || lines[0]["component"] != "agent" || lines[0]["id"] != nil || lines[0]["time"] == "never" {
		t.Errorf("%v", lines)
	}
}

func TestConsoleFlood(t *testing.T) {
	lines, _ := logged(t, func(c *console) {
		for range 5 * burst {
			fmt.Fprintln(c, "flood")
		}
	})
	if len(lines) < burst || len(lines) > 4*burst {
		t.Errorf("%d lines", len(lines))
	}
}

func TestLimiter(t *testing.T) {
	now := time.Now()
	l := limiter{tokens: 1, at: now}
	if ok, _ := l.take(now, 1); !ok {
		t.Error("the first")
	}
	for range 3 {
		if ok, _ := l.take(now, 1); ok {
			t.Error("too many")
		}
	}
	ok, dropped := l.take(now.Add(time.Second), 1)
	if !ok || dropped != 3 {
		t.Errorf("%v, %d", ok, dropped)
	}
	l.take(now.Add(-time.Hour), 1) // a clock that goes back
}

func TestLimiterCountsBytes(t *testing.T) {
	now := time.Now()
	l := limiter{tokens: burst, at: now}
	passed := 0
	for range burst {
		if ok, _ := l.take(now, maxLine); ok {
			passed++
		}
	}
	if want := burst * shortLine / maxLine; passed != want {
		t.Errorf("%d of the longest lines at once, want %d", passed, want)
	}
}

func FuzzParseEntry(f *testing.F) {
	f.Add(`{"time":"t","level":"INFO","msg":"m","k":1}`)
	f.Add(`{"level":"ERROR","msg":"m","error":{"a":["b"]}}`)
	f.Fuzz(func(t *testing.T, line string) {
		e, ok := parseEntry(line)
		if !ok {
			return
		}
		for k, v := range e.fields {
			if strings.ContainsAny(k+v, "\n\r\x1b\x00") || k != "error" && !strings.HasPrefix(k, "agent.") {
				t.Errorf("%q: %q", k, v)
			}
		}
	})
}
