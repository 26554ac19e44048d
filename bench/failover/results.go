package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// result is what one round of one fault showed of one system, a line in a file of results. Times are in seconds.
type result struct {
	System     string         `json:"system"`
	Fault      string         `json:"fault"`
	Round      int            `json:"round"`
	At         time.Time      `json:"at"`
	Gap        float64        `json:"gap"`                 // longest time without a write
	Stuck      bool           `json:"stuck"`               // no writes until the fault was undone
	New        int            `json:"new"`                 // errors of new sessions, through nodes that live
	NewOf      int            `json:"new_of"`              // new sessions tried
	NewWait    float64        `json:"wait"`                // longest wait for one
	Work       int            `json:"work"`                // errors of statements and transactions
	Idle       int            `json:"idle"`                // errors of the next query of idle sessions
	IdleOf     int            `json:"idle_of"`             // idle sessions
	Two        float64        `json:"two_primaries"`       // for how long rows of two were acknowledged
	Lost       int            `json:"lost"`                // rows acknowledged and not there
	LostFrom   map[string]int `json:"lost_from,omitempty"` // by who acknowledged them
	Extra      int            `json:"unacknowledged"`      // rows there although the client saw an error
	Whole      float64        `json:"redundant_after"`
	Acked      int            `json:"acknowledged"`
	Moved      bool           `json:"moved"`
	Load       float64        `json:"load"`
	Difficulty string         `json:"difficulty,omitempty"`
	Register   string         `json:"register,omitempty"` // the verdict on the registers of a whole cluster's life, in a line of its own
	Operations int            `json:"operations,omitempty"`
}

// A journal is a file to which results are added as they come, so that a run that is ended early is not lost.
type journal struct{ path string }

func newJournal(dir, name string) (*journal, error) {
	if name != "" {
		return &journal{name}, os.MkdirAll(filepath.Dir(name), 0o755)
	}
	return &journal{filepath.Join(dir, "failover-"+time.Now().Format("20060102-150405")+".jsonl")}, os.MkdirAll(dir, 0o755)
}

func (j *journal) add(r result) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(j.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		return err
	}
	return f.Close()
}

// readResults gathers what is in files of results.
func readResults(paths []string) (all []result, err error) {
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for n := 1; lines.Scan(); n++ {
			var r result
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, n, err)
			}
			all = append(all, r)
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return all, nil
}
