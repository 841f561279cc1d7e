// SPDX-License-Identifier: Apache-2.0

// Package figures shows what running cells use: every cell answers on a socket
// of its own, and `paracell top` asks all of them. `paracell pager` changes the
// policy of their pagers the same way.
package figures

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Dir is where the sockets of the cells of a host are. Only its owner may look.
const Dir = "/run/paracell/cells"

// Sample are the figures of a cell at one moment. Counters begin with the cell;
// sizes are in bytes.
type Sample struct {
	// Time of the sample.
	Time time.Time
	// Cell is its name, Pid the process that serves it.
	Cell string
	Pid  int
	// Policy of the pager.
	Policy string
	// Resident is host memory bound to the cell, Used what the guest has in
	// use, FreeBound what is bound and free by the pager's table. Without a
	// pager only Resident is known.
	Resident, Used, FreeBound uint64
	// Limit is the host memory that the pager keeps to; 0 without one.
	Limit uint64
	// GateCalls and RawCalls are system calls by gate and by instruction.
	GateCalls, RawCalls, Faults uint64
	// Bound and Unbound are frames bound ahead and taken back; Taken left the
	// guest's free lists.
	Bound, Unbound, Taken uint64
	// BindNs and UnbindNs are what binding and taking back has taken on the
	// host, in ns.
	BindNs, UnbindNs uint64
}

// Waste is (Resident - Used) / Used; 0 if Used is not known.
func (s *Sample) Waste() float64 {
	if s.Used == 0 {
		return 0
	}
	return (float64(s.Resident) - float64(s.Used)) / float64(s.Used)
}

// Control is what a cell can be told to do.
type Control struct {
	// Take gives the figures.
	Take func() Sample
	// SetPager changes the policy of the pager by its name. nil: it cannot.
	SetPager func(policy string) error
}

// Server answers for one cell.
type Server struct {
	listener *net.UnixListener
	control  Control
	done     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil when closed
}

// Serve answers on a socket in dir until Close. The functions of c may be called
// from many goroutines at once, up to the return of Close.
func Serve(dir, name string, c Control) (*Server, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("figures of cell %s: %w", name, err)
	}
	sweep(dir)
	file := fmt.Sprintf("%d-%s", os.Getpid(), strings.Map(plain, name))
	// A socket's path has at most 107 bytes.
	path := filepath.Join(dir, file[:min(len(file), 60)])
	for i := 1; ; i++ {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if errors.Is(err, syscall.EADDRINUSE) && i < 1000 {
			path = filepath.Join(dir, fmt.Sprintf("%s-%d", file[:min(len(file), 60)], i))
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("figures of cell %s: %w", name, err)
		}
		s := &Server{listener: l, control: c, conns: map[net.Conn]struct{}{}}
		s.done.Go(s.accept)
		return s, nil
	}
}

// sweep removes the sockets of processes that were killed.
func sweep(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		text, _, _ := strings.Cut(e.Name(), "-")
		pid, err := strconv.Atoi(text)
		if err == nil && pid > 0 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// plain leaves only what is harmless in the name of a file.
func plain(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_':
		return r
	}
	return '_'
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.conns == nil {
			s.mu.Unlock()
			conn.Close()
			return
		}
		s.conns[conn] = struct{}{}
		s.mu.Unlock()
		s.done.Go(func() { s.answer(conn) })
	}
}

// A line is a request: an empty one for a sample, or setPager and the name of a
// policy, which is answered with a reply.
const (
	setPager = "pager "
	lineMax  = 64 // bytes, with its end
)

// reply to a request that is not for a sample.
type reply struct {
	// Error is empty when it was carried out.
	Error string
}

// answer answers requests until the other side ends.
func (s *Server) answer(conn net.Conn) {
	defer func() {
		conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	r := bufio.NewReaderSize(conn, lineMax)
	encoder := json.NewEncoder(conn)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		if encoder.Encode(s.request(strings.TrimSuffix(string(line), "\n"))) != nil {
			return
		}
	}
}

func (s *Server) request(line string) any {
	if line == "" {
		return s.control.Take()
	}
	policy, ok := strings.CutPrefix(line, setPager)
	var err error
	switch {
	case !ok:
		err = fmt.Errorf("request %q is not known", line)
	case s.control.SetPager == nil:
		err = errors.New("the policy of its pager cannot be changed")
	default:
		err = s.control.SetPager(policy)
	}
	if err != nil {
		return reply{err.Error()}
	}
	return reply{}
}

// Close ends the answers and removes the socket.
func (s *Server) Close() error {
	err := s.listener.Close()
	s.mu.Lock()
	conns := s.conns
	s.conns = nil
	for c := range conns {
		c.Close()
	}
	s.mu.Unlock()
	s.done.Wait()
	return err
}

// Watcher asks the cells of a host. Not for concurrent use.
type Watcher struct {
	dir   string
	only  string // beginning of the names of the sockets to ask
	conns map[string]*conn
}

type conn struct {
	net.Conn
	r    *bufio.Reader
	last Sample
}

// Watch asks the cells whose sockets are in dir.
func Watch(dir string) *Watcher { return &Watcher{dir: dir, conns: map[string]*conn{}} }

// WatchProcess asks only the cells that the process serves.
func WatchProcess(dir string, pid int) *Watcher {
	w := Watch(dir)
	w.only = strconv.Itoa(pid) + "-"
	return w
}

// patience bounds how long a cell may take for its answer.
const patience = time.Second

// Samples asks every cell once, all at the same time; they come in the order of
// their names. Cells that do not answer are left out; sockets that nobody
// listens on any more are removed.
func (w *Watcher) Samples() ([]Sample, error) {
	entries, err := os.ReadDir(w.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	type answer struct {
		path   string
		sample Sample
		conn   *conn
		err    error
	}
	answers := make(chan answer)
	asked := 0
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), w.only) {
			continue
		}
		path := filepath.Join(w.dir, e.Name())
		c := w.conns[path]
		asked++
		go func() {
			s, c, err := ask(path, c)
			answers <- answer{path, s, c, err}
		}()
	}
	var out []Sample
	for range asked {
		a := <-answers
		if a.err != nil {
			delete(w.conns, a.path)
			continue
		}
		a.conn.last = a.sample
		w.conns[a.path] = a.conn
		out = append(out, a.sample)
	}
	slices.SortFunc(out, func(a, b Sample) int {
		if c := strings.Compare(a.Cell, b.Cell); c != 0 {
			return c
		}
		return a.Pid - b.Pid
	})
	return out, nil
}

// ask asks one cell, over a connection that there may be already.
func ask(path string, c *conn) (s Sample, _ *conn, err error) {
	if c == nil {
		raw, err := net.DialTimeout("unix", path, patience)
		if errors.Is(err, syscall.ECONNREFUSED) {
			_ = os.Remove(path)
		}
		if err != nil {
			return s, nil, err
		}
		c = &conn{Conn: raw, r: bufio.NewReader(raw)}
	}
	if err = c.request("", &s); err != nil {
		c.Close()
	}
	return s, c, err
}

// request writes a line and reads the answer.
func (c *conn) request(line string, into any) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return err
	}
	answer, err := c.r.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, into)
}

// SetPager changes the policy of the pager of one cell, which has to have
// answered Samples with this cell's name and process.
func (w *Watcher) SetPager(s *Sample, policy string) error {
	if strings.ContainsRune(policy, '\n') || len(setPager)+len(policy) >= lineMax {
		return fmt.Errorf("%q is no name of a policy", policy)
	}
	for _, c := range w.conns {
		if c.last.Cell != s.Cell || c.last.Pid != s.Pid {
			continue
		}
		var r reply
		if err := c.request(setPager+policy, &r); err != nil {
			return fmt.Errorf("cell %s: %w", s.Cell, err)
		}
		if r.Error != "" {
			return fmt.Errorf("cell %s: %s", s.Cell, r.Error)
		}
		return nil
	}
	return fmt.Errorf("cell %s of process %d: does not answer", s.Cell, s.Pid)
}

// Close ends the connections.
func (w *Watcher) Close() {
	for path, c := range w.conns {
		c.Close()
		delete(w.conns, path)
	}
}
