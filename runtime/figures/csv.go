// SPDX-License-Identifier: Apache-2.0

package figures

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"time"
)

// columns of a time series, in the order of Sample.
var columns = []string{
	"time", "cell", "pid", "policy", "resident", "used", "free_bound",
	"gate_calls", "raw_calls", "faults", "bound", "unbound", "taken", "bind_ns", "unbind_ns",
}

// CSV writes a time series: one line per sample, after a line with the names.
type CSV struct {
	w     *csv.Writer
	begun bool
}

// NewCSV writes to w.
func NewCSV(w io.Writer) *CSV { return &CSV{w: csv.NewWriter(w)} }

// Write adds samples.
func (c *CSV) Write(samples ...Sample) error {
	if !c.begun {
		c.begun = true
		if err := c.w.Write(columns); err != nil {
			return err
		}
	}
	n := func(v uint64) string { return strconv.FormatUint(v, 10) }
	for _, s := range samples {
		err := c.w.Write([]string{
			s.Time.UTC().Format(time.RFC3339Nano), s.Cell, strconv.Itoa(s.Pid), s.Policy, n(s.Resident), n(s.Used), n(s.FreeBound),
			n(s.GateCalls), n(s.RawCalls), n(s.Faults), n(s.Bound), n(s.Unbound), n(s.Taken), n(s.BindNs), n(s.UnbindNs),
		})
		if err != nil {
			return err
		}
	}
	c.w.Flush()
	return c.w.Error()
}

// ReadCSV reads what CSV has written.
func ReadCSV(r io.Reader) ([]Sample, error) {
	reader := csv.NewReader(r)
	reader.FieldsPerRecord = len(columns)
	rows, err := reader.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("time series: %w", err)
	}
	var out []Sample
	for i, row := range rows {
		if i == 0 {
			continue
		}
		s := Sample{Cell: row[1], Policy: row[3]}
		if s.Time, err = time.Parse(time.RFC3339Nano, row[0]); err == nil {
			s.Pid, err = strconv.Atoi(row[2])
		}
		for j, v := range []*uint64{&s.Resident, &s.Used, &s.FreeBound, &s.GateCalls, &s.RawCalls, &s.Faults, &s.Bound, &s.Unbound, &s.Taken, &s.BindNs, &s.UnbindNs} {
			if err == nil {
				*v, err = strconv.ParseUint(row[4+j], 10, 64)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("time series: line %d: %w", i+1, err)
		}
		out = append(out, s)
	}
	return out, nil
}
