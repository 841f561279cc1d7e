// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/log"
)

const (
	// maxLine bounds a line of the guest's console, in bytes. Longer ones come
	// in pieces.
	maxLine = 4096
	// maxLines is how many lines per second the guest may put into the log of
	// the host, burst how many at once. The rest is counted. A line longer than
	// shortLine, in bytes, counts as several.
	maxLines  = 100
	burst     = 1000
	shortLine = 256
)

// console puts the lines of a guest's console into the log: what the agent says
// (JSON, one object per line) with its level and fields, all else as it is. The
// guest can write anything there.
type console struct {
	*io.PipeWriter
	done chan struct{}

	mu   sync.Mutex
	last string // error of the agent
}

func newConsole(ctx context.Context) *console {
	r, w := io.Pipe()
	c := &console{PipeWriter: w, done: make(chan struct{})}
	logger := log.G(context.WithoutCancel(ctx))
	go func() {
		defer close(c.done)
		c.read(r, logger)
	}()
	return c
}

// Close ends the log; what has been written before is in it.
func (c *console) Close() error {
	err := c.PipeWriter.Close()
	<-c.done
	return err
}

// failure is what the agent has said last of an error, empty if it has not.
func (c *console) failure() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

func (c *console) read(r *io.PipeReader, logger *log.Entry) {
	in := bufio.NewReaderSize(r, maxLine)
	limit := limiter{tokens: burst, at: time.Now()}
	for {
		line, err := in.ReadSlice('\n')
		if text := printable(line); text != "" {
			allowed, dropped := limit.take(time.Now(), len(text))
			if dropped > 0 {
				logger.WithField("component", "guest").Warnf("%d lines of the guest's console are left out", dropped)
			}
			if allowed {
				c.log(logger, text)
			}
		}
		if err != nil && err != bufio.ErrBufferFull {
			r.CloseWithError(err)
			return
		}
	}
}

func (c *console) log(logger *log.Entry, text string) {
	e, ok := parseEntry(text)
	if !ok {
		logger.WithField("component", "guest").Info(text)
		return
	}
	logger = logger.WithField("component", "agent")
	for _, k := range slices.Sorted(maps.Keys(e.fields)) {
		logger = logger.WithField(k, e.fields[k])
	}
	switch e.level {
	case "ERROR":
		c.mu.Lock()
		c.last = e.message
		if err := e.fields["error"]; err != "" {
			c.last += ": " + err
		}
		c.mu.Unlock()
		logger.Error(e.message)
	case "WARN":
		logger.Warn(e.message)
	case "DEBUG":
		logger.Debug(e.message)
	default:
		logger.Info(e.message)
	}
}

// entry is a line of the agent's log.
type entry struct {
	level, message string
	fields         map[string]string
}

// maxFields bounds the fields of an entry.
const maxFields = 16

// parseEntry reads a line as log/slog's JSON handler writes it.
func parseEntry(line string) (entry, bool) {
	if !strings.HasPrefix(line, "{") {
		return entry{}, false
	}
	var object map[string]any
	if json.Unmarshal([]byte(line), &object) != nil || len(object) > maxFields {
		return entry{}, false
	}
	e := entry{fields: map[string]string{}}
	var ok1, ok2 bool
	e.level, ok1 = object["level"].(string)
	e.message, ok2 = object["msg"].(string)
	if !ok1 || !ok2 {
		return entry{}, false
	}
	e.message = printable([]byte(e.message))
	for k, v := range object {
		switch k {
		case "level", "msg", "time":
		default:
			// The prefix keeps the guest from setting fields of the host's.
			e.fields["agent."+printable([]byte(k))] = printable([]byte(fmt.Sprint(v)))
		}
	}
	if err, ok := e.fields["agent.error"]; ok {
		delete(e.fields, "agent.error")
		e.fields["error"] = err
	}
	return e, true
}

// printable is text without what could forge a line or move a cursor.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 || r == '\uFFFD' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(strings.TrimRight(string(b), "\r\n"), "?"))
}

// limiter is a token bucket.
type limiter struct {
	tokens  float64
	at      time.Time
	dropped int
}

// take says whether a line of so many bytes may pass, and how many lines did not
// since the last that did.
func (l *limiter) take(now time.Time, size int) (ok bool, dropped int) {
	cost := max(1, float64(size)/shortLine)
	l.tokens = min(burst, l.tokens+maxLines*now.Sub(l.at).Seconds())
	l.at = now
	if l.tokens < cost {
		l.dropped++
		return false, 0
	}
	l.tokens -= cost
	dropped, l.dropped = l.dropped, 0
	return true, dropped
}
