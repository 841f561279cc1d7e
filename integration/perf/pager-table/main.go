// SPDX-License-Identifier: Apache-2.0

// Pager-table measures the pager side by side: what binding costs, what the
// first touch of memory costs, how closely host memory follows a cell's demand
// under the policies, how fast it is back after a burst, and whether programs get
// slower. It needs a built tree and runs from its top, as root:
//
//	go run ./integration/perf/pager-table [-only bind,touch,elastic,burst,slow] [-rounds 5] [-isolation auto] [-out DIR]
//
// It prints Markdown tables and leaves them (table.md), time series (CSV) and
// drawings (SVG) in the folder. The cells get the highest priority, as far as the
// host allows it: other work on the machine would be measured otherwise.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/paracell/paracell/runtime/figures"
)

// table measures.
type table struct {
	ctx       context.Context
	isolation string
	rounds    int
	out       string
	repo      string
	policies  []string
	against   string    // policies of the part slow
	sides     string    // of the part burst
	programs  string    // of the part slow
	text      io.Writer // tables
}

// printf adds to the tables.
func (t *table) printf(format string, args ...any) { fmt.Fprintf(t.text, format, args...) }

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "pager-table:", err)
		os.Exit(1)
	}
}

func run() error {
	only := flag.String("only", "bind,touch,elastic,burst,slow", "parts to run")
	t := &table{}
	flag.IntVar(&t.rounds, "rounds", 5, "rounds of each comparison")
	flag.StringVar(&t.isolation, "isolation", "auto", "isolation of the cells")
	flag.StringVar(&t.out, "out", "build/pager", "folder for series and drawings")
	policies := flag.String("policies", "none,report,report4k,huge,page,page+cold", "policies of the part elastic")
	flag.StringVar(&t.against, "against", "page", "policies that the part slow compares with off")
	flag.StringVar(&t.sides, "sides", "host,off,report4k,huge,page", "sides of the part burst: host, or a policy of the cell")
	flag.StringVar(&t.programs, "programs", "gcc,redis,python,sqlite", "programs of the part slow")
	flag.Parse()
	t.policies = strings.Split(*policies, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	t.ctx = ctx
	var err error
	if t.repo, err = os.Getwd(); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "make", "-s", "-C", "integration/perf").CombinedOutput(); err != nil {
		return fmt.Errorf("build the benchmarks: %w\n%s", err, out)
	}
	if err := os.MkdirAll(t.out, 0o755); err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(t.out, "table.md"))
	if err != nil {
		return err
	}
	defer file.Close()
	t.text = io.MultiWriter(os.Stdout, file)
	t.printf("<!-- SPDX-License-Identifier: Apache-2.0 -->\n# The pager, measured\n\n%d rounds.\n\n", t.rounds)
	parts := map[string]func() error{"touch": t.touch, "elastic": t.elastic, "burst": t.burst, "slow": t.slow, "bind": t.bind}
	for name := range strings.SplitSeq(*only, ",") {
		part, ok := parts[name]
		if !ok {
			return fmt.Errorf("no part %q", name)
		}
		if err := part(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// coldSuffix marks a policy with give-back of page cache.
const coldSuffix = "+cold"

// result of a command in a cell.
type result struct {
	out     string
	samples []figures.Sample
	took    time.Duration
	cpu     time.Duration // of all processes of the cell
}

// cell runs a command in a cell whose root is the host's, with a sample every
// interval.
//
// A policy with "+cold" gives back page cache of idle cells as well.
func (t *table) cell(policy, memory string, interval time.Duration, script string) (*result, error) {
	return t.tracedCell(nil, policy, memory, interval, script)
}

// lookEvery is how often a traced cell is looked at for new tasks.
const lookEvery = 100 * time.Millisecond

// tracedCell watches its tasks, too; trace may be nil.
func (t *table) tracedCell(trace *tracer, policy, memory string, interval time.Duration, script string) (*result, error) {
	const prepare = `mount -t tmpfs tmpfs /tmp && cd /tmp && eval "$0"`
	name := fmt.Sprintf("pager-table-%d", os.Getpid())
	policy, cold := strings.CutSuffix(policy, coldSuffix)
	line := []string{
		"run", fmt.Sprintf("--cold-cache=%t", cold), "--isolation", t.isolation, "--pager", policy, "--memory", memory, "--name", name, "--rootfs", "/", "--read-only",
		"--env", "HOME=/tmp", "--env", "PATH=" + os.Getenv("PATH"), "--", "/bin/sh", "-c", prepare, script,
	}
	group, err := openAccount()
	if err != nil {
		return nil, err
	}
	defer group.close()
	line = group.wrap(append([]string{"bin/paracell"}, line...)...)
	if trace != nil {
		line = trace.wrap(line...)
	}
	cmd := exec.CommandContext(t.ctx, line[0], line[1:]...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var preferring sync.WaitGroup
	preferring.Go(func() { prefer(cmd.Process.Pid) })
	defer preferring.Wait()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	r := &result{}
	var cpuErr error
	var looked time.Time
	w := figures.WatchProcess(figures.Dir, cmd.Process.Pid)
	defer w.Close()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case err := <-ended:
			r.took, r.out = time.Since(began), out.String()
			if r.cpu, cpuErr = group.used(); err == nil {
				err = cpuErr
			}
			if err != nil {
				return nil, fmt.Errorf("cell with pager %s: %w\n%s%s", policy, err, out.Bytes(), errOut.Bytes())
			}
			return r, nil
		case <-ticker.C:
			if time.Since(looked) > lookEvery {
				trace.look(cmd.Process.Pid, true)
				looked = time.Now()
			}
			samples, err := w.Samples()
			if err != nil {
				return nil, err
			}
			r.samples = append(r.samples, samples...)
		}
	}
}

// series writes the samples and their drawing.
func (t *table) series(name string, samples []figures.Sample) error {
	var text, drawing bytes.Buffer
	if err := errors.Join(figures.NewCSV(&text).Write(samples...), figures.Memory(samples).WriteSVG(&drawing)); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(t.out, name+".csv"), text.Bytes(), 0o644),
		os.WriteFile(filepath.Join(t.out, name+".svg"), drawing.Bytes(), 0o644),
	)
}

// numbers reads one number per line.
func numbers(text string) (out []float64, err error) {
	for line := range strings.Lines(text) {
		v, err := strconv.ParseFloat(strings.TrimSpace(line), 64)
		if err != nil {
			return nil, fmt.Errorf("odd output: %q", text)
		}
		out = append(out, v)
	}
	if len(out) == 0 {
		return nil, errors.New("no output")
	}
	return out, nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// sequences is the number of times that a script of touch maps and unmaps.
const sequences = 8

// touch: first touch of 64 MiB, with a pause in which the pager takes it back,
// and what the host pays for binding.
func (t *table) touch() error {
	t.printf("## First touch of anonymous memory, and binding\n\nMedians; ns per 4 KiB.\n")
	t.printf("\n| | first time | again | host per frame bound ahead | host per frame taken back |\n|---|---|---|---|---|\n")
	program := filepath.Join(t.repo, "bin/perf/touch")
	sides := []string{"host", "off", "none", "report4k", "huge", "page"}
	first, again, bind, unbind := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
	for range t.rounds {
		for _, side := range sides {
			var text string
			if side == "host" {
				out, err := exec.CommandContext(t.ctx, program, "64", strconv.Itoa(sequences), "150").Output()
				if err != nil {
					return err
				}
				text = string(out)
			} else {
				r, err := t.cell(side, "512M", 20*time.Millisecond, fmt.Sprintf("%s 64 %d 150", program, sequences))
				if err != nil {
					return err
				}
				text = r.out
				if n := len(r.samples); n > 0 {
					s := r.samples[n-1]
					if s.Bound > 0 {
						bind[side] = append(bind[side], float64(s.BindNs)/float64(s.Bound))
					}
					if s.Unbound > 0 {
						unbind[side] = append(unbind[side], float64(s.UnbindNs)/float64(s.Unbound))
					}
				}
			}
			v, err := numbers(text)
			if err != nil {
				return err
			}
			first[side] = append(first[side], v[0])
			again[side] = append(again[side], median(v[1:]))
		}
	}
	for _, side := range sides {
		cost := func(v []float64) string {
			if len(v) == 0 {
				return ""
			}
			return fmt.Sprintf("%.0f", median(v))
		}
		t.printf("| %s | %.0f | %.0f | %s | %s |\n", side, median(first[side]), median(again[side]), cost(bind[side]), cost(unbind[side]))
	}
	t.printf("\n")
	return nil
}

// work is what an agent does, in bursts.
const work = `
git config --global --add safe.directory '*' 2>/dev/null
mark() { echo "$1 $(date +%%s%%N)"; }
mark start; sleep 3
mark clone; git clone -q %[1]s src; sleep 3
mark grep; grep -r func src >/dev/null; git -C src log --stat -20 >/dev/null; rm -rf src; sleep 3
mark python; for i in 1 2 3 4; do python3 -c 'import json, unittest, asyncio
d = {str(i): list(range(20)) for i in range(60000)}
assert json.loads(json.dumps(d)) == d'; done; sleep 3
mark node; for i in 1 2; do node -e 'const a = []; for (let i = 0; i < 400000; i++) a.push({i, s: "x" + i}); JSON.parse(JSON.stringify(a))'; done; sleep 3
mark gcc; for i in 1 2 3; do gcc -O2 -c -o /tmp/o.o %[1]s/integration/programs/testdata/large.c; done
for i in 1 2; do gcc -O1 -c -o /tmp/o$i.o %[1]s/integration/programs/testdata/large.c & done; wait; sleep 3
mark end`

// footprint of a run.
type footprint struct {
	took                  time.Duration // from the first mark to the last
	gibMin                float64       // trapezoid of resident memory
	mean, p99, meanSettle float64       // waste by the definition, and where memory in use was steady for 100 ms
	freeMean, freeP99     float64       // bound and free, by the table, relative to used
	freeSettle            float64       // its mean where memory in use was steady
	freeSettleP99         float64
}

func (t *table) elastic() error {
	t.printf("## Bursts of an agent: clone, grep, python, node, gcc, pauses\n\nCell of 2 GiB; medians; waste = (bound - used) / used.\n")
	all := map[string][]footprint{}
	lines := &figures.Plot{Title: "Host memory of a cell", XLabel: "seconds", YLabel: "MiB"}
	for round := range t.rounds {
		for _, policy := range t.policies {
			r, err := t.cell(policy, "2G", 10*time.Millisecond, fmt.Sprintf(work, t.repo))
			if err != nil {
				return err
			}
			f, samples, err := measure(r)
			if err != nil {
				return err
			}
			all[policy] = append(all[policy], f)
			if round > 0 {
				continue
			}
			if err := t.series("elastic-"+policy, samples); err != nil {
				return err
			}
			l := figures.Line{Name: policy}
			used := figures.Line{Name: "in use (" + policy + ")", Dashed: true}
			for _, s := range samples {
				x := s.Time.Sub(samples[0].Time).Seconds()
				l.X, l.Y = append(l.X, x), append(l.Y, float64(s.Resident)/(1<<20))
				used.X, used.Y = append(used.X, x), append(used.Y, float64(s.Used)/(1<<20))
			}
			lines.Lines = append(lines.Lines, l)
			if policy == "page" {
				lines.Lines = append(lines.Lines, used)
			}
		}
	}
	var drawing bytes.Buffer
	if err := lines.WriteSVG(&drawing); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(t.out, "elastic.svg"), drawing.Bytes(), 0o644); err != nil {
		return err
	}
	t.printf("\n| policy | run time | GiB*min | against huge | mean waste | p99 waste | mean waste when steady for 100 ms | bound and free, mean | p99 | when steady | p99 |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
	get := func(policy string, f func(footprint) float64) float64 {
		var v []float64
		for _, x := range all[policy] {
			v = append(v, f(x))
		}
		return median(v)
	}
	gibMin := func(f footprint) float64 { return f.gibMin }
	huge := get("huge", gibMin)
	for _, p := range t.policies {
		t.printf("| %s | %.2f s | %.4f | %+.0f %% | %.1f %% | %.1f %% | %.2f %% | %.2f %% | %.1f %% | %.2f %% | %.1f %% |\n", p,
			get(p, func(f footprint) float64 { return f.took.Seconds() }), get(p, gibMin), 100*(get(p, gibMin)/huge-1),
			100*get(p, func(f footprint) float64 { return f.mean }), 100*get(p, func(f footprint) float64 { return f.p99 }),
			100*get(p, func(f footprint) float64 { return f.meanSettle }),
			100*get(p, func(f footprint) float64 { return f.freeMean }), 100*get(p, func(f footprint) float64 { return f.freeP99 }),
			100*get(p, func(f footprint) float64 { return f.freeSettle }), 100*get(p, func(f footprint) float64 { return f.freeSettleP99 }))
	}
	t.printf("\n")
	return nil
}

// settle is how long after a change memory may be bound without need.
const settle = 100 * time.Millisecond

// measure looks at the samples between the marks.
func measure(r *result) (f footprint, samples []figures.Sample, err error) {
	var from, to int64
	for line := range strings.Lines(r.out) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		at, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			continue
		}
		switch name {
		case "start":
			from = at
		case "end":
			to = at
		}
	}
	if from == 0 || to == 0 {
		return f, nil, fmt.Errorf("no marks in %q", r.out)
	}
	f.took = time.Duration(to - from)
	for _, s := range r.samples {
		if at := s.Time.UnixNano(); at >= from && at <= to {
			samples = append(samples, s)
		}
	}
	if len(samples) < 10 {
		return f, nil, fmt.Errorf("only %d samples", len(samples))
	}
	var waste, steady, free, freeSteady []float64
	for i, s := range samples {
		waste = append(waste, s.Waste())
		free = append(free, float64(s.FreeBound)/float64(s.Used))
		if i > 0 {
			minutes := s.Time.Sub(samples[i-1].Time).Minutes()
			f.gibMin += minutes * float64(s.Resident+samples[i-1].Resident) / 2 / (1 << 30)
		}
		if steadySince(samples[:i+1]) {
			steady = append(steady, s.Waste())
			freeSteady = append(freeSteady, float64(s.FreeBound)/float64(s.Used))
		}
	}
	f.mean, f.p99 = mean(waste), percentile(waste, 0.99)
	f.meanSettle, f.freeSettle = mean(steady), mean(freeSteady)
	f.freeSettleP99 = percentile(freeSteady, 0.99)
	f.freeMean, f.freeP99 = mean(free), percentile(free, 0.99)
	return f, samples, nil
}

// steadySince says whether memory in use has not fallen by more than 1 % in the
// last 100 ms.
func steadySince(samples []figures.Sample) bool {
	last := samples[len(samples)-1]
	for i := len(samples) - 1; i >= 0; i-- {
		s := samples[i]
		if float64(s.Used) > 1.01*float64(last.Used) {
			return false
		}
		if last.Time.Sub(s.Time) > settle {
			return true
		}
	}
	return false
}

func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(max(len(v), 1))
}

func percentile(v []float64, p float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return v[min(len(v)-1, int(p*float64(len(v))))]
}

// programs of the comparison with the pager off; each is a script that has its
// files in /tmp and is timed inside the cell.
var programs = []struct{ name, script string }{
	{"gcc", `awk 'BEGIN { for (i = 0; i < 400; i++) printf "int f%d(int *a, int n) { int s = %d; for (int i = 0; i < n; i++) { if (a[i] %% 3 == %d) s += a[i] * %d; else s ^= a[i] << %d; } return s; }\n", i, i, i % 3, i + 7, i % 13 }' >large.c
for i in 1 2 3; do gcc -O2 -c -o o.o large.c; done`},
	{"redis", `redis-server --save "" --port 7777 --daemonize yes >/dev/null; until redis-cli -p 7777 ping >/dev/null 2>&1; do :; done
redis-benchmark -q -p 7777 -n 200000 -P 16 -r 100000 -d 100 -t set,get >/dev/null; redis-cli -p 7777 shutdown nosave`},
	{"python", `for i in 1 2 3; do python3 -c 'import json
d = {str(i): list(range(20)) for i in range(100000)}
for k in range(2): assert json.loads(json.dumps(d)) == d'; done`},
	{"sqlite", `sqlite3 x.db "create table t(a integer primary key, b text, c text); begin; with recursive n(i) as (select 1 union all select i + 1 from n where i < 300000) insert into t select i, hex(randomblob(20)), hex(randomblob(40)) from n; commit; create index j on t(b); select count(*), max(c) from t where b > '8'; delete from t where a % 2; vacuum;" >/dev/null`},
}

// slow: run times with the pager off and on.
func (t *table) slow() error {
	t.printf("## Run times, pager off and on\n\nS; cells of 2 GiB; the sides in turns. Processor time is that of all host processes of a cell, the pager included, from its start to its end. The pairs are neighbours in time: the median of their ratios.\n")
	t.printf("\n| program | side | median | best | ratio of medians | of best | of pairs | processor time | best | ratio of medians | of best | of pairs |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	sides := append([]string{"off"}, strings.Split(t.against, ",")...)
	for _, p := range programs {
		if !slices.Contains(strings.Split(t.programs, ","), p.name) {
			continue
		}
		times, cpu := map[string][]float64{}, map[string][]float64{}
		for range t.rounds {
			for _, policy := range sides {
				r, err := t.cell(policy, "2G", time.Second, "b=$(date +%s%N); "+p.script+"\ne=$(date +%s%N); echo $((e - b))")
				if err != nil {
					return err
				}
				v, err := numbers(r.out)
				if err != nil {
					return err
				}
				times[policy] = append(times[policy], v[len(v)-1]/1e9)
				cpu[policy] = append(cpu[policy], r.cpu.Seconds())
			}
		}
		for _, side := range sides {
			t.printf("| %s | %s | %s | %s |\n", p.name, side, against(times[side], times["off"]), against(cpu[side], cpu["off"]))
		}
	}
	t.printf("\n")
	return nil
}

// against is a part of a line: values, and what they are relative to others.
func against(v, other []float64) string {
	pairs := make([]float64, len(v))
	for i := range v {
		pairs[i] = v[i] / other[i]
	}
	return fmt.Sprintf("%.3f | %.3f | %.3f | %.3f | %.3f", median(v), slices.Min(v), median(v)/median(other), slices.Min(v)/slices.Min(other), median(pairs))
}
